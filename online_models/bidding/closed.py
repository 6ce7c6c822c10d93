"""The desk of a partition that has bid, where the configuration has no `bidding:` any more, or not for now.

Nobody bids, and events are like any other. But what was bid is still owed, and what was drawn is not drawn again: so
the books go on, for whoever puts bidding back on the same day. What was promised before, and is met in the log only
now, is set aside: an answer over HTTP, or a bid that was published and not stored before a crash. Notices are booked,
and a bid without one waits as long as was declared when it was made. What the log tells of grants and campaigns is
passed over: the ledger and the topic tell it again. Nothing is told to the market's learner, and frequency caps do not
count what is won meanwhile.
"""

from __future__ import annotations

from typing import Any

from online_models.bidding import past_bids
from online_models.bidding.bidder import Bidder
from online_models.bidding.campaigns import Checked
from online_models.bidding.declaration import REMEMBER_MS
from online_models.bidding.desk import ANSWERED, Desk
from online_models.errors import ConfigError
from online_models.features import FeatureSet
from online_models.step import Collected
from online_models.timers import Timers
from schemas.bids import BID, AnsweredBid
from schemas.campaigns import Campaign
from schemas.events import BidLoss, BidRequest, BidWin
from schemas.user_state import BiddingMeta, UserBids, UserState


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

    def answer(self, request: BidRequest, source_ts: int, user: UserState, out: Collected) -> bool:
        """Set aside what a bid can cost that was promised elsewhere or before, and leave the event as it came."""
        bid_id = self._id_of(request, out.offset)
        decision = self._standing(request, bid_id)
        if decision is None or decision.reason != BID or decision.campaign is None:
            return False
        bids = user.bidding or UserBids()
        flags = [ANSWERED] if isinstance(decision, AnsweredBid) else []
        bid = self._bid(decision, bid_id, request, source_ts, flags, out.offset)
        if not self._moved_in(bid, bids):
            past_bids.prune(bids, out.stream_time_ms)
            self._open(bid, request, user, bids, out)
        return False

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
