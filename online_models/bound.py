"""An objective made ready to run: its conditions resolved to positions, its model at hand."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from operator import attrgetter
from typing import Any, NamedTuple, Protocol

from online_models.features import FeatureSet
from online_models.objectives import Match, Objective
from online_models.replica import Linear, LinearReplica
from online_models.serving import Served
from online_models.uncertainty import Uncertainty
from online_models.validation.baselines import Rule
from schemas.events import EventBase
from schemas.examples import Shadows

Vectorize = Callable[[Sequence[Any]], dict[str, float]]
# (values, k) -> (probability, the k first reasons)
ScoreValues = Callable[[Sequence[Any], int], tuple[float, list[tuple[str, float]]]]


class Replica(Protocol):
    """The read-only model of one objective."""

    @property
    def name(self) -> str: ...
    @property
    def version(self) -> int: ...
    def score_one(self, x: dict[str, float], n_reasons: int) -> tuple[float, list[tuple[str, float]]]: ...
    def uncertainty(self) -> Uncertainty | None: ...
    def linear(self) -> Linear | None: ...


class Variant(NamedTuple):
    """The declared model of an objective, or a challenger."""

    name: str
    replica: Replica
    vectorize: Vectorize
    score: ScoreValues


def _score_values(replica: Replica, features: FeatureSet, seen: Sequence[str], vectorize: Vectorize) -> ScoreValues:
    """Return how a replica scores feature values; of weights, without making a vector first."""
    if not isinstance(replica, LinearReplica):
        return lambda values, k: replica.score_one(vectorize(values), k)
    score = features.linear_scorer(seen)

    def score_by_weights(values: Sequence[Any], k: int) -> tuple[float, list[tuple[str, float]]]:
        if not replica.version:
            return replica.prior, []
        return score(values, replica.weights.get, replica.intercept, k)

    return score_by_weights


class BoundObjective:
    """An objective, its conditions resolved to positions and its models at hand.

    Parameters
    ----------
    replicas
        By the names of the objective's variants, see `Objective.variants`.
    served
        Says which variant is served.
    """

    def __init__(
        self, objective: Objective, features: FeatureSet, replicas: Mapping[str, Replica], served: Served
    ) -> None:
        self.objective = objective
        self._features = features
        self.name = objective.name
        self.closes_after_ms = objective.closes_after_ms
        self.key_of = key_of(objective.match)
        self.served = served
        self.immediate = objective.labels == "immediate"
        self.variants: dict[str, Variant] = {}
        for name, variant in objective.variants.items():
            if variant.name not in replicas:
                continue  # a challenger that is left out
            seen = variant.feature_names(features.names)
            replica, vectorize = replicas[variant.name], features.vectorizer(seen)  # one function for the same names
            self.variants[name] = Variant(name, replica, vectorize, _score_values(replica, features, seen, vectorize))
        self.declared = self.variants[""]
        self.alone = len(self.variants) == 1
        self.vectorize = self.declared.vectorize
        self.others = {
            name: one.vectorize for name, one in self.variants.items() if one.vectorize is not self.vectorize
        }
        self.conditions = [(features.position(test.feature), test.holds) for test in objective.when]

    @property
    def shown(self) -> Variant:
        """The variant that is served."""
        return self.declared if self.alone else self.variants[self.served.variant]

    def rule(self) -> Callable[[Sequence[Any]], float] | None:
        """Return the hand-written rule, from feature values to its score; None: nobody wrote one."""
        return Rule(self.objective.rule, self._features).score if self.objective.rule else None

    def shadows(self, shown: Variant, values: Sequence[Any]) -> Shadows:
        """Return what the variants that are not served say: name to (probability, version)."""
        said = {}
        for name, one in self.variants.items():
            if one is not shown:
                said[name] = self.corrected(one.score(values, 0)[0]), one.replica.version
        return said

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


def key_of(match: Match) -> Callable[[EventBase], str | None]:
    """Return what tells what a trigger and its outcome must share; None of an event that cannot match at all."""
    if match == "user":
        return lambda event: ""
    return attrgetter("item_id" if match == "item" else "session_id")


def by_event_type(
    bound: Sequence[BoundObjective], types_of: Callable[[Objective], tuple[str, ...]]
) -> dict[str, list[BoundObjective]]:
    """Index objectives by the event types that `types_of` tells."""
    index: dict[str, list[BoundObjective]] = {}
    for one in bound:
        for kind in types_of(one.objective):
            index.setdefault(kind, []).append(one)
    return index
