"""Builds what an objective needs to learn and to be scored, with nothing learned: for workers, replays and audits."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from online_models.bidding.market import MARKET, Market
from online_models.calibration import Calibrator
from online_models.contest import Contest
from online_models.crowd import CROWD, CrowdCounts
from online_models.crowd_distribution import CrowdDistributor, CrowdReplica
from online_models.distribution import Distributor, make_distributor
from online_models.estimators import Estimator, SparseFTRL
from online_models.learning import LearningCore
from online_models.objectives import Objective, objective_of
from online_models.rankings import by_uncertainty
from online_models.replica import Follower, LinearReplica, OpaqueReplica, ReplicaSet
from online_models.serving import Served
from streams.settings import Settings


def new_cores(objectives: Sequence[Objective], settings: Settings) -> Iterator[LearningCore]:
    """Build the learners of objectives and of their challengers, with nothing learned."""
    for objective in objectives:
        for name, variant in objective.variants.items():
            estimator = settings.new_model(variant)
            lineage = settings.lineage(variant)
            calibrator = variant.new_calibrator()
            yield LearningCore(
                variant.name,
                lineage=lineage,
                estimator=estimator,
                distributor=_new_distributor(
                    variant.name,
                    lineage,
                    estimator,
                    informed=by_uncertainty(settings.rankings, objective.name),
                    calibrator=calibrator,
                ),
                publish_examples=settings.learning.publish_examples,
                judging=objective.name not in (CROWD, MARKET),
                variant=name,
                own_features=settings.has_own_features(variant),
                contest=None if name else new_contest(objective, settings),
                calibrator=calibrator,
                former_lineage=settings.former_lineage(variant),
                start=variant.begins_at,
                former_start=settings.former_start(variant),
            )


def _new_distributor(
    name: str, lineage: str, estimator: Estimator, *, informed: bool, calibrator: Calibrator | None
) -> Distributor:
    if isinstance(estimator, CrowdCounts | Market):
        return CrowdDistributor(name, lineage=lineage, counts=estimator)
    return make_distributor(name, lineage=lineage, estimator=estimator, informed=informed, calibrator=calibrator)


def new_contest(objective: Objective, settings: Settings) -> Contest | None:
    """Return the contest of an objective's challengers; None if it has none."""
    if not objective.challengers:
        return None
    variants = objective.variants
    return Contest(
        objective.name,
        {name: settings.lineage(one) for name, one in variants.items()},
        objective.promotion,
        closes_after_ms=objective.closes_after_ms,
        former={name: settings.former_lineage(one) for name, one in variants.items()},
    )


def new_replicas(settings: Settings) -> ReplicaSet:
    """Build the replicas of all objectives and of their challengers, with nothing learned."""
    return ReplicaSet(
        {one.name: _new_replica(one, settings) for one in settings.variants},
        {one.name: Served(one.variants) for one in settings.objectives},
        {one.name: settings.former_lineage(one) for one in settings.variants},
    )


def _new_replica(objective: Objective, settings: Settings) -> Follower:
    lineage = settings.lineage(objective)
    if objective.name == CROWD:
        return CrowdReplica(settings.features.crowd_tables, lineage=lineage)
    if objective.name == MARKET:
        return CrowdReplica({}, lineage=lineage, name=Market.name)
    spare = settings.new_model(objective)
    if isinstance(spare, SparseFTRL):
        asked = by_uncertainty(settings.rankings, objective_of(objective.name))
        precision = spare.prior_precision if asked else None
        return LinearReplica(lineage=lineage, name=spare.name, prior=objective.prior, prior_precision=precision)
    return OpaqueReplica(lineage=lineage, spare=spare, prior=objective.prior)
