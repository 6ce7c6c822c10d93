"""The desk of a partition that has bid, where the configuration has no `bidding:` any more, or not for now.

Nobody bids, and events are like any other. But what was bid is still owed, and what was drawn is not drawn again: so
the books go on, for whoever puts bidding back on the same day. Notices are booked, and a bid without one waits as long
as was declared when it was made. What the log tells of grants and campaigns is passed over: the ledger and the topic
tell it again. Nothing is told to the market's learner, and frequency caps do not count what is won meanwhile.
"""

from __future__ import annotations

from typing import Any

from online_models.bidding.bidder import Bidder
from online_models.bidding.campaigns import Checked
from online_models.bidding.declaration import REMEMBER_MS
from online_models.bidding.desk import Desk
from online_models.errors import ConfigError
from online_models.features import FeatureSet
from online_models.step import Collected
from online_models.timers import Timers
from schemas.campaigns import Campaign
from schemas.events import BidLoss, BidWin
from schemas.user_state import BiddingMeta, UserState


class ClosedDesk(Desk):
    """Settles what was bid before.

    Parameters
    ----------
    meta
        What the store held.
    """

    def __init__(self, meta: BiddingMeta, *, features: FeatureSet, timers: Timers, topic: str, partition: int) -> None:
        super().__init__(
            _Nobody(),
            check=_no_campaign,
            declared={},
            features=features,
            telling=None,
            timers=timers,
            topic=topic,
            partition=partition,
            notice_window_ms=meta.notice_window_ms or REMEMBER_MS,
            meta=meta,
        )
        self._stored_window_ms = meta.notice_window_ms

    def meta(self, stream_time_ms: int) -> BiddingMeta:
        """Return what the store must hold to continue from here."""
        meta = super().meta(stream_time_ms)
        meta.notice_window_ms = self._stored_window_ms
        return meta

    def notice(
        self, event: BidWin | BidLoss, user: UserState, out: Collected
    ) -> tuple[BidWin | BidLoss, list[Any] | None]:
        """Book what an exchange tells of a bid, and leave the event as it came."""
        if user.bidding is not None:  # otherwise it is of another bidder's
            super().notice(event, user, out)
        return event, None


class _Nobody(Bidder):
    """Has no campaign."""

    def __init__(self) -> None:
        self.campaigns = {}


def _no_campaign(campaign: Campaign) -> Checked:
    raise ConfigError((), "Expected `bidding:` in the configuration")
