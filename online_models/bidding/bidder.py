"""Bidder: what an impression is worth to each campaign, and which bid goes out.

The one place that says value, pace, price, choose. It knows neither offsets nor whose money it is: the desk of a
partition and the HTTP API ask it in the same way, and tell it what is affordable.

1. Campaigns whose flight, targeting and frequency cap let them take the request are asked; nobody else counts it.
2. Value: what a click or a conversion is worth, times the chance of one, as the models say and calibration has it.
3. Pace: the campaign takes part or not, by a draw that the request's id decides; the value is scaled.
4. Price: what is offered; shaded where the winner pays its bid; within the campaign's bounds, and not below the floor.
5. The highest price goes out, if the budget allows for it; else the next.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from online_models.bidding.campaigns import TARGETING, Checked
from online_models.bidding.declaration import Bidding
from online_models.bidding.money import cpm_of, micros_of_cpm
from online_models.bidding.pacing import Pace, takes_part
from online_models.bound import BoundObjective
from online_models.crowd import CrowdView
from online_models.exploration import Chance
from online_models.features import FeatureSet
from online_models.objectives import variant_name
from schemas.bids import BID, BidDecision, Considered
from schemas.campaigns import Auction
from schemas.events import BidRequest, Impression
from schemas.user_state import UserBids

# Why no bid is made, beside the reasons of `campaigns`.
NO_CAMPAIGN, CAPPED, PACED = "no_campaign", "frequency_cap", "paced"
BELOW_MINIMUM, BELOW_FLOOR, BUDGET = "below_minimum", "below_floor", "budget"
OUTBID = "outbid"
# What came closest to a bid is the reason that none was made.
_CLOSENESS = (NO_CAMPAIGN, TARGETING, CAPPED, PACED, BELOW_MINIMUM, BELOW_FLOOR, BUDGET)


class MarketView(Protocol):
    """What is known of the market, as whoever bids sees it.

    Attributes
    ----------
    version
        Offset of `examples` up to which (exclusive) it was learned; 0: nothing is known.
    """

    @property
    def version(self) -> int: ...
    def pace(self, campaign: str) -> Pace: ...
    def win_rate(self, key: str, bid: float) -> float: ...
    def expected_cost(self, key: str, bid: float, auction: Auction) -> float: ...
    def shade(self, key: str, value: float, *, low: float, high: float) -> float: ...


class Offer(NamedTuple):
    """A bid that a campaign would make, in currency for one impression, and what it goes by."""

    campaign: Checked
    day: str
    value: float
    price: float
    multiplier: float
    p_click: float
    p_conversion: float | None
    values: list[Any]

    @property
    def reserved(self) -> int:
        """The most that it can cost, in micros."""
        return micros_of_cpm(cpm_of(self.price))


# Whether a campaign can set this much aside on that day, in micros.
Affordable = Callable[[Checked, str, int], bool]


class Bidder:
    """Decides about bid requests.

    Parameters
    ----------
    bound
        Objectives by name.
    market
        Pacing and prices.

    Attributes
    ----------
    campaigns
        Those that may bid, by name; whoever owns the bidder changes them.
    """

    def __init__(
        self,
        bidding: Bidding,
        bound: Mapping[str, BoundObjective],
        features: FeatureSet,
        market: MarketView,
        crowd: CrowdView,
    ) -> None:
        self.campaigns: dict[str, Checked] = {}
        self._bound = bound
        self._features = features
        self._market = market
        self._crowd = crowd
        self._slices = [features.position(name) for name in bidding.slices]

    def decide(
        self, request: BidRequest, slots: list[Any], bids: UserBids | None, affordable: Affordable
    ) -> tuple[BidDecision, Offer | None]:
        """Return the decision, and the offer behind it; None: no bid is made.

        Parameters
        ----------
        slots
            The visitor's accumulators, the request folded in.
        bids
            Of the visitor's earlier impressions.
        """
        considered: dict[str, Considered] = {}
        offers: list[Offer] = []
        for name in sorted(self.campaigns):
            campaign = self.campaigns[name]
            outcome = self._offer(campaign, request, slots, bids)
            if isinstance(outcome, Considered):
                considered[name] = outcome
            elif outcome is not None:
                offers.append(outcome)
                considered[name] = Considered(OUTBID, cpm_of(outcome.value), cpm_of(outcome.price))
        chosen = None
        for offer in sorted(offers, key=lambda one: (-one.price, one.campaign.name)):
            if affordable(offer.campaign, offer.day, offer.reserved):
                chosen = offer
                considered[offer.campaign.name].reason = BID
                break
            considered[offer.campaign.name].reason = BUDGET
        return self._decision(chosen, considered), chosen

    def values_of(self, campaign: Checked, request: BidRequest, slots: list[Any]) -> list[Any]:
        """Return the feature values of the campaign's ad at this request."""
        return self._features.extract(slots, _impression(campaign, request), self._crowd.weights)

    def key_of(self, values: Sequence[Any]) -> str:
        """Name the part of the market that a request with these feature values is in."""
        return "|".join(str(values[position]) for position in self._slices)

    def _offer(
        self, campaign: Checked, request: BidRequest, slots: list[Any], bids: UserBids | None
    ) -> Offer | Considered | None:
        """Return what a campaign would bid, or why it does not; None: it does not run."""
        ts: int = request.ts  # type: ignore[assignment]  # decoded: int
        day = campaign.day(ts)
        if campaign.why_not_on(day) is not None:
            return None
        values = self.values_of(campaign, request, slots)
        if not campaign.is_meant(values):
            return Considered(TARGETING)
        if bids is not None and is_capped(campaign, bids, ts):
            return Considered(CAPPED)
        p_click = self._probability(campaign.click, values)
        p_conversion = None if campaign.conversion is None else self._probability(campaign.conversion, values)
        value = campaign.worth * p_click * (1.0 if p_conversion is None else p_conversion)
        pace = self._market.pace(campaign.name)
        if not takes_part(pace, value, Chance(f"{campaign.name}:{request.event_id}").number()):
            return Considered(PACED, cpm_of(value))
        price = self._price(campaign, value * pace.multiplier, self.key_of(values))
        if price < campaign.low or price <= 0.0:
            return Considered(BELOW_MINIMUM, cpm_of(value))
        if request.floor is not None and cpm_of(price) < request.floor:
            return Considered(BELOW_FLOOR, cpm_of(value))
        return Offer(campaign, day, value, price, pace.multiplier, p_click, p_conversion, values)

    def _probability(self, objective: str, values: Sequence[Any]) -> float:
        bound = self._bound[objective]
        return bound.corrected(bound.shown.score(values, 0)[0])

    def _price(self, campaign: Checked, worth: float, key: str) -> float:
        high = min(worth, campaign.high)
        if campaign.declared.auction == "second":
            return high
        return self._market.shade(key, worth, low=min(campaign.low, high), high=high)

    def _decision(self, offer: Offer | None, considered: dict[str, Considered]) -> BidDecision:
        market, crowd = self._market, self._crowd
        asked = {name: self._bound[name].shown for name in self._asked()}
        models = {variant_name(name, shown.name): shown.replica.version for name, shown in asked.items()}
        decision = BidDecision(
            reason=BID if offer else closest({one.reason for one in considered.values()}),
            considered=considered,
            models=models,
            market_version=market.version,
            crowd_version=crowd.version,
        )
        if offer is None:
            return decision
        campaign, key = offer.campaign, self.key_of(offer.values)
        decision.campaign, decision.item_id = campaign.name, campaign.declared.ad
        decision.price, decision.value = cpm_of(offer.price), cpm_of(offer.value)
        decision.multiplier = offer.multiplier
        decision.p_click, decision.p_conversion = offer.p_click, offer.p_conversion
        decision.win_rate = market.win_rate(key, offer.price)
        decision.expected_cost = cpm_of(market.expected_cost(key, offer.price, campaign.declared.auction))
        if self._features.crowd_positions:
            decision.crowd = self._features.crowd_values(offer.values)
        return decision

    def _asked(self) -> list[str]:
        names: dict[str, None] = {}
        for one in self.campaigns.values():
            names[one.click] = None
            if one.conversion is not None:
                names[one.conversion] = None
        return list(names)


def is_capped(campaign: Checked, bids: UserBids, ts: int) -> bool:
    """Tell whether the visitor has seen the campaign often enough; bids that may still win count as seen."""
    cap = campaign.declared.cap
    if cap is None:
        return False
    since = ts - campaign.cap_window_ms
    won = sum(at > since for at in bids.wins.get(campaign.name, ()))
    may_win = sum(one.state == 0 and one.campaign == campaign.name for one in bids.bids)
    return won + may_win >= cap.impressions


def closest(reasons: set[str]) -> str:
    """Return the reason of the campaign that came closest to a bid.

    >>> closest({TARGETING, PACED}), closest(set())
    ('paced', 'no_campaign')
    """
    return max(reasons, key=_CLOSENESS.index, default=NO_CAMPAIGN)


def _impression(campaign: Checked, request: BidRequest) -> Impression:
    """Return the ad as if it were shown, in the place that is for sale."""
    declared = campaign.declared
    slot = {"floor": request.floor, "slot_width": request.slot_width, "slot_height": request.slot_height}
    return Impression(
        event_id=request.event_id,
        user_id=request.user_id,
        ts=request.ts,
        session_id=request.session_id,
        item_id=declared.ad,
        category=declared.category or request.category,
        price=declared.price if declared.price is not None else request.price,
        position=request.position,
        url=request.url,
        referrer=request.referrer,
        user_agent=request.user_agent,
        device=request.device,
        country=request.country,
        region=request.region,
        campaign=campaign.name,
        tz_offset_min=request.tz_offset_min,
        properties={
            **{name: value for name, value in slot.items() if value is not None},
            **(request.properties or {}),
            **(declared.properties or {}),
        }
        or None,
    )
