"""The scoring core of a partition, as the configuration says: the same live, in a replay and in an audit.

Whatever of the settings tells on a score is taken from them here alone, so that no way to score differs from another.
"""

from __future__ import annotations

from collections.abc import Mapping

from online_models.bidding.desks import Desks
from online_models.bound import Replica
from online_models.scoring import ScoringCore
from online_models.serving import Served
from online_models.step import Observer
from schemas.user_state import PartitionMeta
from streams.settings import Settings


def scoring_core(
    settings: Settings,
    *,
    topic: str,
    partition: int,
    replicas: Mapping[str, Replica],
    served: Mapping[str, Served],
    desks: Desks | None = None,
    meta: PartitionMeta | None = None,
    timers: Mapping[str, int] | None = None,
    observer: Observer | None = None,
    shadowing: bool = True,
    asking_rules: bool = False,
) -> ScoringCore:
    """Return the core of a partition; parameters but these are as of `ScoringCore`.

    Parameters
    ----------
    desks
        What answers bid requests; None: as live, so that only what the ledger grants may be spent.
    """
    return ScoringCore(
        topic=topic,
        partition=partition,
        features=settings.features,
        objectives=settings.objectives,
        rankings=settings.rankings,
        bidding=settings.desks(granted=True) if desks is None else desks,
        replicas=replicas,
        served=served,
        meta=meta,
        timers=timers,
        n_reasons=settings.worker.n_reasons,
        observer=observer,
        shadowing=shadowing,
        asking_rules=asking_rules,
    )
