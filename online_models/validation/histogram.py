"""All metrics of a stream of judged scores from one histogram, in bounded memory.

Bins have equal width on the log odds, as in `online_models.evaluation.BinnedAUC`, so that they separate
scores at a base rate of 0.1 % as well as at 50 %. Scores that share a bin count as ties. Log loss is not
binned: it is a sum. Counts are whole numbers, so histograms of parts of a stream can be added.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

_LIMIT = 16.0
_EDGE = 1e-15
_GROUPS = 15


class OperatingPoint(NamedTuple):
    """Where precision and recall are measured.

    Attributes
    ----------
    threshold
        Act on scores of at least this; None: by budget.
    budget
        Act on this share of the triggers, the best scored.
    """

    threshold: float | None = None
    budget: float = 0.1


class ScoreHistogram:
    """Judged scores, counted.

    Parameters
    ----------
    bins_per_unit
        Bins for each unit of the log odds; 64 keep AUC right to about a thousandth.
    """

    def __init__(self, point: OperatingPoint, bins_per_unit: int = 64) -> None:
        self._point = point
        self._bins_per_unit = bins_per_unit
        size = int(2 * _LIMIT * bins_per_unit)
        self._counts = np.zeros((2, size), dtype=np.int64)
        self._score_sums = np.zeros(size)
        self._loss = 0.0
        self._over: Ints = np.zeros(2, dtype=np.int64)  # scores at or above the threshold: negatives, positives

    @property
    def n(self) -> int:
        """Scores judged."""
        return int(self._counts.sum())

    @property
    def positives(self) -> int:
        """Those whose outcome came."""
        return int(self._counts[1].sum())

    def add(self, labels: NDArray[np.bool_], scores: Floats) -> None:
        """Count scores; arrays of equal length, probabilities."""
        clipped = np.clip(scores, _EDGE, 1.0 - _EDGE)
        place = ((np.log(clipped / (1.0 - clipped)) + _LIMIT) * self._bins_per_unit).astype(np.int64)
        np.clip(place, 0, self._counts.shape[1] - 1, out=place)
        for label in (0, 1):
            self._counts[label] += np.bincount(place[labels == label], minlength=self._counts.shape[1])
        self._score_sums += np.bincount(place, weights=scores, minlength=len(self._score_sums))
        self._loss += float(-np.log(np.where(labels, clipped, 1.0 - clipped)).sum())
        if self._point.threshold is not None:
            over = scores >= self._point.threshold
            self._over += [int((over & ~labels).sum()), int((over & labels).sum())]

    def merge(self, other: ScoreHistogram) -> None:
        """Add what another one has counted."""
        self._counts += other._counts
        self._score_sums += other._score_sums
        self._loss += other._loss
        self._over += other._over

    # ---------------------------------------------------------------- what it tells

    @property
    def log_loss(self) -> float | None:
        """Mean log loss, in nats."""
        return self._loss / self.n if self.n else None

    def auc(self) -> float | None:
        """Area under the ROC curve, None until both classes were seen."""
        negatives, positives = self._counts.astype(float)
        pairs = negatives.sum() * positives.sum()
        if not pairs:
            return None
        return float((positives * (np.cumsum(negatives) - negatives / 2.0)).sum() / pairs)

    def average_precision(self) -> float | None:
        """Mean of the precision over the positives, from the best score down; None without positives."""
        negatives, positives = self._counts[:, ::-1].astype(float)
        total = positives.sum()
        if not total:
            return None
        hits = np.cumsum(positives)
        precision = hits / np.maximum(hits + np.cumsum(negatives), 1.0)
        return float((positives * precision).sum() / total)

    def at_point(self) -> dict[str, float | None]:
        """Return accuracy, precision, recall and lift at the operating point.

        A budget that ends within a bin takes its share of the bin.
        """
        n, positives = self.n, self.positives
        if not n:
            return dict.fromkeys(("accuracy", "precision", "recall", "lift"))
        false, true = map(float, self._over) if self._point.threshold is not None else self._within_budget()
        acted = false + true
        precision = true / acted if acted else None
        return {
            "accuracy": (true + (n - positives) - false) / n,
            "precision": precision,
            "recall": true / positives if positives else None,
            "lift": precision / (positives / n) if precision is not None and positives else None,
        }

    def _within_budget(self) -> tuple[float, float]:
        """Return (negatives, positives) among the share of the triggers that was scored best."""
        wanted = self._point.budget * self.n
        best_first = self._counts[:, ::-1].astype(float)
        sizes = best_first.sum(axis=0)
        before = np.cumsum(sizes) - sizes
        share = np.clip((wanted - before) / np.maximum(sizes, 1.0), 0.0, 1.0)
        negatives, positives = (best_first * share).sum(axis=1)
        return float(negatives), float(positives)

    def calibration_curve(self, groups: int = _GROUPS) -> list[dict[str, Any]]:
        """Return mean score and rate of groups of about equal size, by rising score."""
        sizes = self._counts.sum(axis=0)
        n = self.n
        if not n:
            return []
        group = np.minimum(((np.cumsum(sizes) - sizes / 2.0) * groups / n).astype(int), groups - 1)
        found = []
        for number in range(groups):
            within = group == number
            size = int(sizes[within].sum())
            if size:
                found.append(
                    {
                        "mean_score": float(self._score_sums[within].sum()) / size,
                        "rate": float(self._counts[1][within].sum()) / size,
                        "n": size,
                    }
                )
        return found

    def calibration_error(self) -> float | None:
        """Expected calibration error: mean distance of rate and mean score over groups of equal size.

        Naeini, Cooper, Hauskrecht (AAAI 2015), with groups of equal size in place of equal width.
        """
        curve = self.calibration_curve()
        total = sum(one["n"] for one in curve)
        if not total:
            return None
        return float(sum(abs(one["mean_score"] - one["rate"]) * one["n"] for one in curve) / total)

    def metrics(self) -> dict[str, Any]:
        """Return all of them, by name."""
        return {
            "n": self.n,
            "positives": self.positives,
            "log_loss": self.log_loss,
            "auc": self.auc(),
            "average_precision": self.average_precision(),
            "calibration_error": self.calibration_error(),
            **self.at_point(),
        }

    # ---------------------------------------------------------------- to go on later

    def state(self) -> list[Any]:
        """Return everything as plain values: bins that are not empty."""
        used = np.nonzero(self._counts.sum(axis=0))[0]
        return [
            used.tolist(),
            self._counts[:, used].tolist(),
            self._score_sums[used].tolist(),
            self._loss,
            self._over.tolist(),
        ]

    def restore(self, state: Sequence[Any]) -> None:
        """Take up what `state` gave."""
        used, counts, sums, self._loss, over = state
        self._counts[:, used] = counts
        self._score_sums[used] = sums
        self._over = np.array(over, dtype=np.int64)
