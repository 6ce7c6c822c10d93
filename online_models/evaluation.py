"""How good probabilities are: AUC, log loss, calibration, over a whole run or as it goes.

Progressive validation judges each score by the label that came later, and by then the model had not
learned from it (Blum, Kalai, Langford, COLT 1999). Beside every figure stands that of always
predicting the rate seen so far: the simple rule that a model has to beat.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import log

import numpy as np
from numpy.typing import ArrayLike

# A probability of exactly 0 or 1 that is wrong costs log(1e15) = 34.5, not infinity (as scikit-learn).
_EDGE = 1e-15
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
    p = min(max(p, _EDGE), 1.0 - _EDGE)
    return -log(p) if label else -log(1.0 - p)


def log_loss(labels: Sequence[bool], scores: Sequence[float]) -> float | None:
    """Mean log loss, in nats; None of nothing."""
    if not labels:
        return None
    return sum(map(loss_of, labels, scores)) / len(labels)


def base_rate_log_loss(labels: Sequence[bool]) -> float | None:
    """Mean log loss of predicting, for each label, the rate of those before it."""
    if not labels:
        return None
    positives, total = _PRIOR_POSITIVES, 0.0
    for seen, label in enumerate(labels):
        total += loss_of(label, positives / (seen + _PRIOR_COUNT))
        positives += label
    return total / len(labels)


class BinnedAUC:
    """Streaming AUC from counts in bins of equal width on the log odds.

    River's streaming ROCAUC has bins of equal width in the probability; at a base rate of 1 % all
    scores fall into one, and it reads 0.500. Log odds spread them evenly.

    Parameters
    ----------
    bins
        Of width 24 / bins; scores beyond odds of e^12 to 1 share the outermost bins.
    """

    _LIMIT = 12.0

    def __init__(self, bins: int = 2000) -> None:
        self._scale = bins / (2 * self._LIMIT)
        self._last = bins - 1
        self.counts: tuple[list[int], list[int]] = ([0] * bins, [0] * bins)

    def update(self, label: bool, p: float) -> None:
        """Count a score."""
        p = min(max(p, _EDGE), 1.0 - _EDGE)
        place = int((log(p / (1.0 - p)) + self._LIMIT) * self._scale)
        self.counts[label][min(max(place, 0), self._last)] += 1

    def get(self) -> float | None:
        """Return the AUC, scores of a bin counted as ties; None until both classes were seen."""
        negatives, positives = np.asarray(self.counts[0], dtype=float), np.asarray(self.counts[1], dtype=float)
        pairs = negatives.sum() * positives.sum()
        if not pairs:
            return None
        below = np.cumsum(negatives) - negatives / 2.0
        return float((positives * below).sum() / pairs)


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

    def _mean(self, total: float) -> float | None:
        return total / self.n if self.n else None

    @property
    def log_loss(self) -> float | None:
        """Mean log loss of the scores."""
        return self._mean(self._loss)

    @property
    def base_log_loss(self) -> float | None:
        """Mean log loss of always predicting the rate seen so far."""
        return self._mean(self._base_loss)

    @property
    def mean_score(self) -> float | None:
        """Mean score; beside the rate of positives it shows whether the scores are too high or too low."""
        return self._mean(self._score_sum)

    @property
    def auc(self) -> float | None:
        """AUC of the scores."""
        return self._auc.get()

    def state(self) -> list[object]:
        """Return everything as plain values."""
        sums = [self._loss, self._base_loss, self._score_sum]
        return [self.n, self.positives, sums, *(_sparse(counts) for counts in self._auc.counts)]

    def restore(self, state: Sequence[object]) -> None:
        """Take up what `state` gave."""
        n, positives, sums, *counts = state
        self.n, self.positives = int(n), int(positives)  # type: ignore[call-overload]
        self._loss, self._base_loss, self._score_sum = sums  # type: ignore[misc]
        self._auc = BinnedAUC()
        for held, saved in zip(self._auc.counts, counts, strict=True):
            for place, count in saved:  # type: ignore[attr-defined]
                held[place] = count


def _sparse(counts: Sequence[int]) -> list[tuple[int, int]]:
    return [(place, count) for place, count in enumerate(counts) if count]
