"""An objective made ready to run: its conditions resolved to positions, its model at hand."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

from online_models.features import FeatureSet
from online_models.objectives import Objective


class Replica(Protocol):
    """The read-only model of one objective."""

    @property
    def name(self) -> str: ...
    @property
    def version(self) -> int: ...
    def score_one(self, x: dict[str, float], n_reasons: int) -> tuple[float, list[tuple[str, float]]]: ...


class BoundObjective:
    """An objective, its conditions resolved to positions and its model at hand."""

    def __init__(self, objective: Objective, features: FeatureSet, replica: Replica) -> None:
        self.objective = objective
        self.replica = replica
        self.immediate = objective.labels == "immediate"
        self.vectorize: Callable[[Sequence[Any]], dict[str, float]] = features.vectorizer(
            objective.feature_names(features.names)
        )
        self.conditions = [(features.position(test.feature), test.holds) for test in objective.when]

    def applies(self, values: Sequence[Any]) -> bool:
        """Tell whether a trigger with these feature values passes all conditions."""
        for position, holds in self.conditions:  # noqa: SIM110 - runs for each event, and all() would double its cost
            if not holds(values[position]):
                return False
        return True

    def corrected(self, p: float) -> float:
        """Undo the fake negatives: each positive was also learned as a negative (arXiv:1907.06558, eq. 4)."""
        if not self.immediate:
            return p
        return min(p / (1.0 - p), 1.0) if p < 1.0 else 1.0


def by_event_type(
    bound: Sequence[BoundObjective], types_of: Callable[[Objective], tuple[str, ...]]
) -> dict[str, list[BoundObjective]]:
    """Index objectives by the event types that `types_of` tells."""
    index: dict[str, list[BoundObjective]] = {}
    for one in bound:
        for kind in types_of(one.objective):
            index.setdefault(kind, []).append(one)
    return index
