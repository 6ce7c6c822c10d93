"""Desks: opens the desk of each partition, by what the configuration says of bidding."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from online_models.bidding.bidder import Bidder
from online_models.bidding.campaigns import Checked, check_campaign
from online_models.bidding.closed import ClosedDesk
from online_models.bidding.declaration import Bidding
from online_models.bidding.desk import Desk
from online_models.bidding.market import MARKET, MarketReader
from online_models.bidding.pot import Pot
from online_models.bound import BoundObjective
from online_models.crowd import CrowdView
from online_models.features import FeatureSet
from online_models.objectives import Objective
from online_models.telling import Telling
from online_models.timers import Timers
from schemas.campaigns import Campaign
from schemas.user_state import PartitionMeta


class Desks:
    """What bidding is made of, wherever it is done.

    Parameters
    ----------
    granted
        Only what the ledger grants may be spent, see `Allowances`. False: all desks that are opened here share the
        whole budget, see `Pot`.
    """

    def __init__(
        self, bidding: Bidding, features: FeatureSet, objectives: Sequence[Objective], *, granted: bool
    ) -> None:
        self._bidding = bidding
        self._features = features
        self._objectives = objectives
        self._pot = None if granted else Pot()

    def check(self, campaign: Campaign) -> Checked:
        """Check a campaign against the configuration; raises ConfigError."""
        return check_campaign(campaign, self._bidding, features=self._features, objectives=self._objectives)

    def bidder(self, bound: Mapping[str, BoundObjective], crowd: CrowdView, replicas: Mapping[str, Any]) -> Bidder:
        """Return a bidder without campaigns."""
        return Bidder(self._bidding, bound, self._features, MarketReader(replicas[MARKET], self._bidding), crowd)

    def desk(
        self,
        bound: Mapping[str, BoundObjective],
        crowd: CrowdView,
        replicas: Mapping[str, Any],
        *,
        telling: Telling,
        timers: Timers,
        topic: str,
        partition: int,
        meta: PartitionMeta | None,
    ) -> Desk:
        """Return the desk of a partition."""
        return Desk(
            self.bidder(bound, crowd, replicas),
            check=self.check,
            declared={one.campaign: one for one in self._bidding.campaigns},
            features=self._features,
            telling=telling,
            timers=timers,
            topic=topic,
            partition=partition,
            notice_window_ms=self._bidding.notice_window_ms,
            meta=meta.bidding if meta else None,
            pot=self._pot,
        )


def open_desk(
    bidding: Desks | None,
    bound: Mapping[str, BoundObjective],
    crowd: CrowdView,
    replicas: Mapping[str, Any],
    *,
    features: FeatureSet,
    telling: Telling | None,
    timers: Timers,
    topic: str,
    partition: int,
    meta: PartitionMeta | None,
) -> tuple[Desk | None, Desk | None]:
    """Return the desk of a partition, and who settles what it has bid.

    They are the same; without bidding there is no desk, and a closed one settles, if the partition has bid before.
    """
    if bidding is not None and telling is not None:
        desk = bidding.desk(
            bound, crowd, replicas, telling=telling, timers=timers, topic=topic, partition=partition, meta=meta
        )
        return desk, desk
    if meta is not None and meta.bidding is not None:
        return None, ClosedDesk(meta.bidding, features=features, timers=timers, topic=topic, partition=partition)
    return None, None
