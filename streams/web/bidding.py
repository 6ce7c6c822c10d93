"""Bids over HTTP: decided by this worker, paid out of its own slices of the budgets.

The bid is written to the log with its request and stands there; the partition books it, with what was set aside for it.
A visitor's earlier bids are those of the stored state, some milliseconds behind, so a frequency cap may be passed by
requests that come within that time.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Mapping
from typing import Any

from online_models.bidding.bidder import Bidder
from online_models.bidding.campaigns import Checked
from online_models.bidding.desks import Desks
from online_models.bidding.money import micros_of_cpm
from online_models.bound import BoundObjective
from online_models.crowd import CrowdView
from schemas.api import CampaignsAnswer
from schemas.bids import BID, BidDecision
from schemas.events import BidRequest
from schemas.user_state import UserState
from streams.budgets import CampaignDay, Ledger, Purse
from streams.budgets.purse import Limits
from streams.campaign_feed import CampaignFeed
from streams.campaign_states import Known, known_campaigns, states_of
from streams.settings import Settings
from streams.stores import Unavailable

# A slice is not smaller than this part of the budget, nor than the highest bid that was made.
_LEAST_SLICE_OF = 4_096


class NoBidding(ValueError):
    """The configuration has no section `bidding:`."""


class HttpBidder:
    """Decides about bid requests that come over HTTP.

    Parameters
    ----------
    desks
        What bidding is made of.
    """

    def __init__(
        self,
        settings: Settings,
        desks: Desks,
        bound: Mapping[str, BoundObjective],
        crowd: CrowdView,
        replicas: Mapping[str, Any],
        *,
        feed: CampaignFeed,
        ledger: Ledger,
    ) -> None:
        assert settings.bidding is not None
        self._declared = settings.bidding.campaigns
        self._desks = desks
        self._feed = feed
        self._ledger = ledger
        self._revision = -1
        self._known: dict[str, Known] = {}
        self._highest: dict[str, int] = {}
        self._bidder: Bidder = desks.bidder(bound, crowd, replicas)
        self._refilling: asyncio.Future[None] | None = None
        self.purse = Purse(ledger, self._limits)

    def decide(self, request: BidRequest, slots: list[Any], user: UserState | None) -> BidDecision:
        """Return the decision; what the bid can cost is set aside. Raises Unavailable before campaigns are known."""
        if not self._feed.is_read:
            raise Unavailable("the campaigns are being read")
        self._look_up()
        decision, _ = self._bidder.decide(request, slots, user.bidding if user else None, self._set_aside)
        return decision

    def _set_aside(self, campaign: Checked, day: str, amount: int) -> bool:
        self._highest[campaign.name] = max(amount, self._highest.get(campaign.name, 0))
        enough = self.purse.reserve(campaign.name, day, amount)
        if not enough and (self._refilling is None or self._refilling.done()):
            self._refilling = asyncio.ensure_future(self.refill())
        return enough

    def release(self, decision: BidDecision) -> None:
        """Free what was set aside for a decision that is certain not to be in the log."""
        if decision.reason == BID and decision.campaign is not None:
            self.purse.release(decision.campaign, decision.day, micros_of_cpm(decision.price))

    async def refill(self) -> None:
        """Draw what bids will need; while the ledger is away, what is held is used up."""
        with contextlib.suppress(Unavailable):
            await self.purse.refill()

    def _look_up(self) -> None:
        """Take up the campaigns that have changed."""
        if self._revision == self._feed.revision:
            return
        self._revision = self._feed.revision
        known = known_campaigns(self._declared, self._feed.campaigns, self._desks.check)
        self._known = known
        self._bidder.campaigns = {name: one.campaign for name, one in known.items() if one.campaign is not None}

    def _limits(self) -> dict[CampaignDay, Limits]:
        self._look_up()
        now_ms = time.time_ns() // 1_000_000
        found = {}
        for name, campaign in self._bidder.campaigns.items():
            day = campaign.day(now_ms)
            if campaign.why_not_on(day) is None:
                unit = max(campaign.budget // _LEAST_SLICE_OF, self._highest.get(name, 1))
                found[CampaignDay(name, day)] = Limits(campaign.budget, unit)
        return found

    async def campaigns(self) -> CampaignsAnswer:
        """Return how the campaigns stand today; raises Unavailable."""
        self._look_up()
        known = self._known
        found = await states_of(known, self._ledger, time.time_ns() // 1_000_000)
        for state in found:
            if known[state.campaign].campaign is not None:
                state.multiplier = self._bidder.market.pace(state.campaign).multiplier
        return CampaignsAnswer(campaigns=found)
