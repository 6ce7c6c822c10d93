"""What the reasons of many scores say together, and which of their names may be shown.

A reason names a feature as models see it: ``price``, ``category=shoes``, ``taste=3*position=0`` of a cross.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from online_models.features import FeatureSet


class Weight(NamedTuple):
    """How much a declared feature says in a number of scores.

    Attributes
    ----------
    mean_share
        Sum of its shares by magnitude, in logits, over the number of scores; a score that does not name it counts 0.
    named_by
        Share of the scores that name it among their reasons, 0 to 1.
    """

    feature: str
    mean_share: float
    named_by: float


class ReasonNames:
    """Reads the names of reasons.

    Examples
    --------
    >>> from online_models.features import compile_features
    >>> names = ReasonNames(compile_features({
    ...     "item": {"field": "item_id"}, "words": {"field": "query"}, "both": {"cross": ["item", "words"]}}))
    >>> names.feature("item=7"), names.feature("item=7*words=red shoes")
    ('item', 'both')
    >>> names.shown("item=7"), names.shown("item=7*words=red shoes")
    ('item=7', 'both=…')
    """

    def __init__(self, features: FeatureSet) -> None:
        self._base = frozenset(features.base_names)
        self._crosses = {frozenset(members): name for name, members in features.cross_members.items()}
        self._personal = features.personal

    def feature(self, reason: str) -> str:
        """Return the declared feature that a reason is about."""
        members = self._members(reason)
        return self._crosses.get(members) or reason.partition("*")[0].partition("=")[0]

    def _members(self, reason: str) -> frozenset[str]:
        return self._base.intersection(part.partition("=")[0] for part in reason.split("*"))

    def shown(self, reason: str) -> str:
        """Return a reason without a visitor's own words, id or address."""
        return f"{self.feature(reason)}=…" if self._members(reason) & self._personal else reason

    def weights(self, reasons: Sequence[Iterable[tuple[str, float]]], most: int) -> list[Weight]:
        """Return the features with the largest mean share in the reasons of some scores, largest first."""
        sums: dict[str, list[float]] = {}
        for of_score in reasons:
            for name, share in of_score:
                found = sums.setdefault(self.feature(name), [0.0, 0.0])
                found[0] += abs(share)
                found[1] += 1.0
        total = len(reasons) or 1
        weights = [Weight(name, share / total, min(times / total, 1.0)) for name, (share, times) in sums.items()]
        return sorted(weights, key=lambda one: (-one.mean_share, one.feature))[:most]
