"""An objective made ready to run: its conditions resolved to positions, its model at hand."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from operator import attrgetter
from typing import Any, NamedTuple, Protocol

from online_models.attribution import kept_grace_ms
from online_models.calibration import calibrated, slice_name
from online_models.features import FeatureSet
from online_models.kept_values import KeptValues
from online_models.objectives import Match, Objective
from online_models.replica import Linear, LinearReplica
from online_models.serving import Served
from online_models.uncertainty import Uncertainty
from online_models.validation.baselines import Rule
from schemas.events import EventBase
from schemas.examples import RawShadows, Shadows
from schemas.models import Calibration

# A model that has seen fake negatives says 0.5 of what is certain, and more where it is wrong: naive Bayes, or early.
# No score is to say that nothing else can come, as with the models of River (`online_models.estimators.river_model`).
_MOST = 1.0 - 1e-6

Vectorize = Callable[[Sequence[Any]], dict[str, float]]
# (values, k) -> (probability, the k first reasons)
ScoreValues = Callable[[Sequence[Any], int], tuple[float, list[tuple[str, float]]]]


class Replica(Protocol):
    """The read-only model of one objective."""

    @property
    def name(self) -> str: ...
    @property
    def version(self) -> int: ...
    @property
    def calibration(self) -> Calibration | None: ...
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
        return score(values, replica.weights, replica.intercept, k)

    return score_by_weights


class BoundObjective:
    """An objective, its conditions resolved to positions and its models at hand.

    Parameters
    ----------
    replicas
        By the names of the objective's variants, see `Objective.variants`.
    served
        Says which variant is served.

    Attributes
    ----------
    asks_the_crowd
        Whether one of its conditions is on what all visitors do.
    kept
        Packs the values of a trigger that are needed when it gets its label.
    """

    def __init__(
        self, objective: Objective, features: FeatureSet, replicas: Mapping[str, Replica], served: Served
    ) -> None:
        self.objective = objective
        self._features = features
        self.name = objective.name
        self.closes_after_ms = objective.closes_after_ms
        self.grace_ms = kept_grace_ms(objective)
        self.key_of = key_of(objective.match)
        self.served = served
        self.immediate = objective.labels == "immediate"
        self.calibrating = objective.calibration
        by = self.calibrating.by if self.calibrating else None
        self.sliced = by is not None
        self._slice_at = None if by is None else features.position(by)
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
        self.asks_the_crowd = any(position in features.crowd_positions for position, _ in self.conditions)
        # By the variant's name, where the values stand that it must have to learn from a trigger.
        self._needs = {
            name: features.positions_behind(one.feature_names(features.names))
            for name, one in objective.variants.items()
            if name in self.variants
        }
        if self._slice_at is not None:
            self._needs[""] |= {self._slice_at}
        ruling = {features.position(test.feature) for tests, _ in objective.rule for test in tests}
        self.kept = KeptValues(ruling.union(*self._needs.values()), len(features.base_names))

    def learns_without(self, variant: str, lacking: frozenset[int]) -> bool:
        """Tell whether a variant can learn from a trigger of which the values at some positions were not kept."""
        return self._needs[variant].isdisjoint(lacking)

    @property
    def shown(self) -> Variant:
        """The variant that is served."""
        return self.declared if self.alone else self.variants[self.served.variant]

    def rule(self) -> Callable[[Sequence[Any]], float] | None:
        """Return the hand-written rule, from feature values to its score; None: nobody wrote one."""
        return Rule(self.objective.rule, self._features).score if self.objective.rule else None

    def shadows(self, shown: Variant, values: Sequence[Any]) -> tuple[Shadows, RawShadows]:
        """Return what the variants that are not served say: name to (probability, version), and to its raw value."""
        said: Shadows = {}
        raws: RawShadows = {}
        for name, one in self.variants.items():
            if one is not shown:
                p, raw = self.told(one, one.score(values, 0)[0], values)
                said[name] = p, one.replica.version
                if raw is not None:
                    raws[name] = raw
        return said, raws

    def told(self, variant: Variant, p: float, values: Sequence[Any]) -> tuple[float, float | None]:
        """Return what is told of a model's output: the score, and what it was calibrated from; None: it was not."""
        if self.immediate and variant.replica.version:  # the prior, which is said before, has no fake negatives
            p = self.corrected(p)
        if self.calibrating is None:
            return p, None
        known = variant.replica.calibration
        return (p if known is None else calibrated(known, p, self.slice_of(values))), p

    def score(self, variant: Variant, values: Sequence[Any]) -> float:
        """Return the score alone that a variant gives feature values."""
        return self.told(variant, variant.score(values, 0)[0], values)[0]

    def slice_of(self, values: Sequence[Any]) -> str | None:
        """Return the slice of the calibration that feature values belong to; None: the whole."""
        return None if self._slice_at is None else slice_name(values[self._slice_at])

    def applies(self, values: Sequence[Any]) -> bool:
        """Tell whether a trigger with these feature values passes all conditions."""
        for position, holds in self.conditions:  # noqa: SIM110 - runs for each event, and all() would double its cost
            if not holds(values[position]):
                return False
        return True

    def corrected(self, p: float) -> float:
        """Undo the fake negatives: each positive was also learned as a negative (arXiv:1907.06558, eq. 4)."""
        return min(p / (1.0 - p), _MOST) if p < 1.0 else _MOST


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
