"""The last scores that were judged: how good they were, beside the simple rules.

What `Judge` is to a replay this is to a live worker: figures of the last scores only, so that a model that has gone
bad is seen while it happens. A count and not a time makes the window, so that the figures vary as much on a quiet day
as on a busy one.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from online_models.evaluation import roc_auc

# At 5 % of positives the AUC of so many is right to about a hundredth, and its sort takes some two milliseconds.
WINDOW = 20_000
GROUPS = 10

_EDGE = 1e-15
_Floats = NDArray[np.float64]


class Figures(NamedTuple):
    """What the window shows; None: not known, because nothing was judged, or only one class, or there is no rule.

    Attributes
    ----------
    base_log_loss
        Of predicting, for each score, the rate of all labels before it.
    """

    n: int
    positives: int
    log_loss: float | None
    base_log_loss: float | None
    rule_log_loss: float | None
    auc: float | None
    rule_auc: float | None


class RecentScores:
    """A ring of judged scores of one objective.

    Examples
    --------
    >>> recent = RecentScores()
    >>> _ = recent.add(np.array([False, True]), np.array([0.1, 0.9]), None)
    >>> recent.figures().auc
    1.0
    """

    def __init__(self, size: int = WINDOW) -> None:
        self._labels = np.zeros(size, dtype=bool)
        self._scores, self._losses, self._base_losses = np.zeros(size), np.zeros(size), np.zeros(size)
        self._rule_scores = np.full(size, np.nan)
        self.seen = 0
        self._positives = 0

    def add(self, labels: NDArray[np.bool_], scores: _Floats, rule: _Floats | None) -> _Floats:
        """Take judged scores in the order of their labels, and what the rule said; return their log losses."""
        before = self._positives + np.cumsum(labels) - labels
        base = (before + 1.0) / (self.seen + np.arange(len(labels)) + 2.0)
        losses = _losses(labels, scores)
        place = (self.seen + np.arange(len(labels))) % len(self._labels)
        self._labels[place] = labels
        self._scores[place] = scores
        self._losses[place] = losses
        self._base_losses[place] = _losses(labels, base)
        self._rule_scores[place] = np.nan if rule is None else rule
        self.seen += len(labels)
        self._positives += int(labels.sum())
        return losses

    def figures(self) -> Figures:
        """Return what the window shows."""
        n = min(self.seen, len(self._labels))
        labels, rule = self._labels[:n], self._rule_scores[:n]
        positives = int(labels.sum())
        if not n:
            return Figures(0, 0, None, None, None, None, None)
        ruled = not np.isnan(rule).any()
        both = 0 < positives < n
        return Figures(
            n=n,
            positives=positives,
            log_loss=float(self._losses[:n].mean()),
            base_log_loss=float(self._base_losses[:n].mean()),
            rule_log_loss=float(_losses(labels, rule).mean()) if ruled else None,
            auc=roc_auc(labels, self._scores[:n]) if both else None,
            rule_auc=roc_auc(labels, rule) if both and ruled else None,
        )

    def calibration(self, groups: int = GROUPS) -> list[dict[str, Any]]:
        """Return mean score, rate and count of groups of about equal size, by rising score.

        Equal scores stay together.
        """
        n = min(self.seen, len(self._labels))
        if not n:
            return []
        labels, scores = self._labels[:n], self._scores[:n]
        edges = np.unique(np.quantile(scores, np.arange(1, groups) / groups))
        group = np.searchsorted(edges, scores)
        sizes = np.bincount(group, minlength=len(edges) + 1)
        sums = np.bincount(group, weights=scores, minlength=len(sizes))
        hits = np.bincount(group, weights=labels, minlength=len(sizes))
        return [
            {"mean_score": float(total / size), "rate": float(hit / size), "n": int(size)}
            for size, total, hit in zip(sizes, sums, hits, strict=True)
            if size
        ]


def _losses(labels: NDArray[np.bool_], scores: _Floats) -> _Floats:
    clipped = np.clip(scores, _EDGE, 1.0 - _EDGE)
    losses: _Floats = -np.log(np.where(labels, clipped, 1.0 - clipped))
    return losses
