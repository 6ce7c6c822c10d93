"""How good probabilities are: AUC, log loss, calibration, over a whole run or as it goes.

Progressive validation judges each score by the label that came later, and by then the model had not
learned from it (Blum, Kalai, Langford, COLT 1999). Beside every figure stands that of always
predicting the rate seen so far: the simple rule that a model has to beat.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Sequence
from math import log
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

# A probability of exactly 0 or 1 that is wrong costs log(1e15) = 34.5, not infinity (as River).
_EDGE = 1e-15
_UPPER_EDGE = 1.0 - _EDGE
# Laplace's rule: before anything is known the base rate is 1/2.
_PRIOR_POSITIVES, _PRIOR_COUNT = 1.0, 2.0


def roc_auc(labels: ArrayLike, scores: ArrayLike) -> float:
    """Area under the ROC curve, exact, ties counted half (Mann-Whitney).

    Parameters
    ----------
    labels
        Booleans, both values present.
    scores
        As many finite numbers; only their order matters.

    Raises
    ------
    ValueError
        Only one class is there.

    Examples
    --------
    >>> roc_auc([False, True, True], [0.1, 0.1, 0.9])
    0.75
    """
    y = np.asarray(labels, dtype=bool)
    positives = int(y.sum())
    negatives = len(y) - positives
    if not positives or not negatives:
        raise ValueError("AUC needs at least one positive and one negative")
    _, group, sizes = np.unique(np.asarray(scores, dtype=float), return_inverse=True, return_counts=True)
    mean_rank = np.cumsum(sizes) - (sizes - 1) / 2.0
    rank_sum = float(mean_rank[group][y].sum())
    return (rank_sum - positives * (positives + 1) / 2.0) / (positives * negatives)


def loss_of(label: bool, p: float) -> float:
    """Log loss of one prediction, in nats."""
    p = min(max(p, _EDGE), _UPPER_EDGE)
    return -log(p) if label else -log(1.0 - p)


def log_loss(labels: Sequence[bool], scores: Sequence[float]) -> float | None:
    """Mean log loss, in nats; None of nothing."""
    if not labels:
        return None
    return sum(map(loss_of, labels, scores)) / len(labels)


def base_rate_log_loss(labels: Sequence[bool]) -> float | None:
    """Mean log loss of predicting, for each label, the rate of those before it (Laplace: (k + 1) / (n + 2)).

    Examples
    --------
    >>> base_rate_log_loss([True]) == log(2)
    True
    """
    if not labels:
        return None
    positives, total = _PRIOR_POSITIVES, 0.0
    for seen, label in enumerate(labels):
        total += loss_of(label, positives / (seen + _PRIOR_COUNT))
        positives += label
    return total / len(labels)


class BinnedAUC:
    """Streaming AUC from counts in bins of equal width on the log odds.

    River's streaming ROCAUC has thresholds of equal distance in the probability; at a base rate of
    1 % nearly all scores lie between two of them, and it reads 0.500. Log odds spread them evenly. A
    bin is 1/256 wide, less than half a percent of the odds, and scores beyond odds of e^16 to 1 share
    the outermost bins. Counts are whole numbers: any order of updates, and any way of merging
    partial counts, gives the same result.

    Examples
    --------
    >>> auc = BinnedAUC()
    >>> for label, p in [(False, 0.001), (True, 0.003), (False, 0.002), (True, 0.004)]:
    ...     auc.update(label, p)
    >>> auc.get()
    1.0
    """

    LIMIT = 16
    BINS_PER_UNIT = 256
    BINS = 2 * LIMIT * BINS_PER_UNIT

    def __init__(self) -> None:
        self.counts = tuple(array("q", bytes(8 * self.BINS)) for _ in (False, True))

    def update(self, label: bool, p: float) -> None:
        """Count a score; p is a probability."""
        p = min(max(p, _EDGE), _UPPER_EDGE)
        place = int((log(p / (1.0 - p)) + self.LIMIT) * self.BINS_PER_UNIT)
        self.counts[bool(label)][min(max(place, 0), self.BINS - 1)] += 1

    def merge(self, other: BinnedAUC) -> None:
        """Add what another one has counted."""
        for own, others in zip(self.counts, other.counts, strict=True):
            np.frombuffer(own, dtype=np.int64)[:] += np.frombuffer(others, dtype=np.int64)

    def get(self) -> float | None:
        """Return the AUC, scores of a bin counted as ties; None until both classes were seen."""
        negatives, positives = (np.frombuffer(counts, dtype=np.int64).astype(float) for counts in self.counts)
        pairs = negatives.sum() * positives.sum()
        if not pairs:
            return None
        below = np.cumsum(negatives) - negatives / 2.0
        return float((positives * below).sum() / pairs)

    def state(self) -> list[list[tuple[int, int]]]:
        """Return (bin, count) of the bins that are not empty: of the negatives, then of the positives."""
        return [[(place, count) for place, count in enumerate(counts) if count] for counts in self.counts]

    def restore(self, state: Sequence[Sequence[Sequence[int]]]) -> None:
        """Take up what `state` gave."""
        self.counts = tuple(array("q", bytes(8 * self.BINS)) for _ in (False, True))
        for counts, saved in zip(self.counts, state, strict=True):
            for place, count in saved:
                counts[place] = count


class ProgressiveMetrics:
    """Judges published scores as their labels come."""

    def __init__(self) -> None:
        self.n = 0
        self.positives = 0
        self._loss = 0.0
        self._base_loss = 0.0
        self._score_sum = 0.0
        self._auc = BinnedAUC()

    def update(self, label: bool, score: float) -> None:
        """Judge one score."""
        base_rate = (self.positives + _PRIOR_POSITIVES) / (self.n + _PRIOR_COUNT)
        self._base_loss += loss_of(label, base_rate)
        self._loss += loss_of(label, score)
        self._score_sum += score
        self._auc.update(label, score)
        self.n += 1
        self.positives += label

    def update_many(self, judged: Iterable[tuple[bool, float]]) -> None:
        """Judge (label, score) in their order: the same bits as `update`, one by one, in a fraction of the time."""
        n, positives = self.n, self.positives
        base_loss, loss, score_sum = self._base_loss, self._loss, self._score_sum
        of_negatives, of_positives = self._auc.counts
        limit, bins_per_unit, last = self._auc.LIMIT, self._auc.BINS_PER_UNIT, self._auc.BINS - 1
        for label, score in judged:
            p = score if _EDGE <= score <= _UPPER_EDGE else min(max(score, _EDGE), _UPPER_EDGE)
            base_rate = (positives + _PRIOR_POSITIVES) / (n + _PRIOR_COUNT)
            place = int((log(p / (1.0 - p)) + limit) * bins_per_unit)
            if place > last:
                place = last
            elif place < 0:
                place = 0
            if label:
                base_loss -= log(base_rate)
                loss -= log(p)
                of_positives[place] += 1
                positives += 1
            else:
                base_loss -= log(1.0 - base_rate)
                loss -= log(1.0 - p)
                of_negatives[place] += 1
            score_sum += score
            n += 1
        self.n, self.positives = n, positives
        self._base_loss, self._loss, self._score_sum = base_loss, loss, score_sum

    def _mean(self, total: float) -> float | None:
        return total / self.n if self.n else None

    @property
    def log_loss(self) -> float | None:
        """Mean log loss of the scores, in nats."""
        return self._mean(self._loss)

    @property
    def base_log_loss(self) -> float | None:
        """Mean log loss of always predicting the rate seen so far, as `base_rate_log_loss`."""
        return self._mean(self._base_loss)

    @property
    def mean_score(self) -> float | None:
        """Mean score, to be held against `rate`."""
        return self._mean(self._score_sum)

    @property
    def rate(self) -> float | None:
        """Share of positives."""
        return self._mean(self.positives)

    @property
    def calibration(self) -> float | None:
        """Mean score over rate: above 1 the scores promise too much, below 1 too little; None without positives."""
        return self._score_sum / self.positives if self.positives else None

    @property
    def auc(self) -> float | None:
        """AUC of the scores, see `BinnedAUC`."""
        return self._auc.get()

    def state(self) -> list[Any]:
        """Return everything as plain values."""
        return [self.n, self.positives, self._loss, self._base_loss, self._score_sum, self._auc.state()]

    def restore(self, state: Sequence[Any]) -> None:
        """Take up what `state` gave."""
        self.n, self.positives, self._loss, self._base_loss, self._score_sum, counts = state
        self._auc.restore(counts)
