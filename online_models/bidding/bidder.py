"""Bidder: what an impression is worth to each campaign, and which bid goes out.

The one place that says value, pace, price, choose. It knows neither offsets nor whose money it is: the desk of a
partition and the HTTP API ask it in the same way, and tell it what is affordable.

1. Campaigns whose flight, targeting and frequency cap let them take the request are asked; nobody else counts it.
2. Value: what a click or a conversion is worth, times the chance of one, as the models say and calibration has it.
3. Pace: the campaign takes part or not, by a draw that the request's id decides; the value is scaled.
4. Price: what is offered; where the winner pays its bid, what gains most of all bids within the campaign's bounds and
   not below the floor. Who would have to offer more than it is worth does not bid.
5. The highest price goes out, if the budget allows for it; else the next.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from msgspec.structs import replace

from online_models.bidding.campaigns import TARGETING, Checked
from online_models.bidding.declaration import Bidding
from online_models.bidding.money import cpm_of, least_per_impression, micros_of_cpm
from online_models.bidding.pacing import Pace, takes_part
from online_models.bidding.past_bids import OPEN, is_unsettled
from online_models.bound import BoundObjective
from online_models.crowd import CrowdView
from online_models.exploration import Chance
from online_models.features import FeatureSet
from online_models.objectives import variant_name
from schemas.bids import BID, BidDecision, Considered
from schemas.campaigns import Auction
from schemas.events import BidRequest
from schemas.user_state import UserBids

# Why no bid is made, beside the reasons of `campaigns`.
NO_CAMPAIGN, CAPPED, PACED = "no_campaign", "frequency_cap", "paced"
BELOW_MINIMUM, BELOW_FLOOR, BUDGET = "below_minimum", "below_floor", "budget"
OUTBID = "outbid"
# Too many bids of the visitor wait for notices, or never had one.
UNSETTLED = "unsettled"
ALWAYS = (1.0,)
# What came closest to a bid is the reason that none was made.
_CLOSENESS = (NO_CAMPAIGN, TARGETING, UNSETTLED, CAPPED, PACED, BELOW_MINIMUM, BELOW_FLOOR, BUDGET)


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
    key: str
    value: float
    price: float
    multiplier: float
    p_click: float
    p_conversion: float | None

    @property
    def reserved(self) -> int:
        """The most that it can cost, in micros."""
        return micros_of_cpm(cpm_of(self.price))


class _Asked(NamedTuple):
    """A campaign that could take a request, its day, and the part of the market.

    Attributes
    ----------
    values
        Feature values at the request; those that depend on the ad may be another ad's.
    """

    campaign: Checked
    day: str
    key: str
    values: list[Any]


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
    market
        What it goes by.
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
        self.market = market
        self._crowd = crowd
        self._chances = {name: Chances(one, features) for name, one in bound.items()}
        self._slices = [features.position(name) for name in bidding.slices]
        self._one_slice = not any(features.depends_on_item(name) for name in bidding.slices)

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
        asked = self._asked(request, slots, bids, considered)
        p_click = self._probabilities(asked, [one.campaign.click for one in asked], request, slots)
        p_conversion = self._probabilities(asked, [one.campaign.conversion for one in asked], request, slots)
        offers = []
        for number, one in enumerate(asked):
            offer = self._offer(one, request, p_click[number], p_conversion[number])
            if isinstance(offer, Considered):
                considered[one.campaign.name] = offer
            else:
                offers.append(offer)
                considered[one.campaign.name] = Considered(OUTBID, cpm_of(offer.value), cpm_of(offer.price))
        chosen = None
        for offer in sorted(offers, key=lambda one: (-one.price, one.campaign.name)):
            if affordable(offer.campaign, offer.day, offer.reserved):
                chosen = offer
                considered[offer.campaign.name].reason = BID
                break
            considered[offer.campaign.name].reason = BUDGET
        decision = self._decision(chosen, asked, considered)
        if chosen and self._features.crowd_positions:
            decision.crowd = self._features.crowd_values(self.values_of(chosen.campaign, request, slots))
            decision.crowd_hash = self._features.crowd_hash
        return decision, chosen

    def values_of(self, campaign: Checked, request: BidRequest, slots: list[Any]) -> list[Any]:
        """Return the feature values of the campaign's ad at this request."""
        return self._features.extract_unfolded(slots, with_ad(request, campaign), self._crowd.weights, request)

    def key_of(self, values: Sequence[Any]) -> str:
        """Name the part of the market that a request with these feature values is in."""
        return "|".join(str(values[position]) for position in self._slices)

    def _asked(
        self, request: BidRequest, slots: list[Any], bids: UserBids | None, considered: dict[str, Considered]
    ) -> list[_Asked]:
        """Return the campaigns that could take the request; of the others that run, note why they do not."""
        ts: int = request.ts  # type: ignore[assignment]  # decoded: int
        days: dict[int, str] = {}
        shared = self._features.extract(slots, request, self._crowd.weights)
        shared_key = self.key_of(shared) if self._one_slice else ""
        unsettled = bids is not None and is_unsettled(bids, ts)
        found = []
        for name in sorted(self.campaigns):
            campaign = self.campaigns[name]
            offset = campaign.declared.tz_offset_min
            day = days.get(offset)
            if day is None:
                day = days[offset] = campaign.day(ts)
            if campaign.why_not_on(day) is not None:
                continue
            values, key = shared, shared_key
            if campaign.looks_at_item or not self._one_slice:
                values = self.values_of(campaign, request, slots)
                key = self.key_of(values)
            if not campaign.is_meant(values):
                considered[name] = Considered(TARGETING)
            elif unsettled:
                considered[name] = Considered(UNSETTLED)
            elif bids is not None and is_capped(campaign, bids, ts):
                considered[name] = Considered(CAPPED)
            else:
                found.append(_Asked(campaign, day, key, values))
        return found

    def _probabilities(
        self, asked: Sequence[_Asked], objectives: Sequence[str | None], request: BidRequest, slots: list[Any]
    ) -> list[float | None]:
        """Return what the objective named for each campaign says of its ad; None where none is named."""
        found: list[float | None] = [None] * len(asked)
        for name in dict.fromkeys(objectives):
            if name is None:
                continue
            numbers = [number for number, one in enumerate(objectives) if one == name]
            campaigns = [asked[number].campaign for number in numbers]
            said = self._chances[name](request, campaigns, slots, asked[numbers[0]].values, self._crowd.weights)
            for number, p in zip(numbers, said, strict=True):
                found[number] = p
        return found

    def _offer(
        self, asked: _Asked, request: BidRequest, p_click: float | None, p_conversion: float | None
    ) -> Offer | Considered:
        """Return what a campaign would bid, or why it does not."""
        campaign = asked.campaign
        assert p_click is not None
        value = campaign.worth * p_click * (1.0 if p_conversion is None else p_conversion)
        pace = self.market.pace(campaign.name)
        if pace.rates != ALWAYS:
            draw = Chance(f"{campaign.name}:{request.event_id}").number()
            if not takes_part(pace, value, draw):
                return Considered(PACED, cpm_of(value))
        price = self._price(campaign, value * pace.multiplier, asked.key, request.floor)
        if price < campaign.low or price <= 0.0:
            return Considered(BELOW_MINIMUM, cpm_of(value))
        if request.floor is not None and cpm_of(price) < request.floor:
            return Considered(BELOW_FLOOR, cpm_of(value))
        return Offer(campaign, asked.day, asked.key, value, price, pace.multiplier, p_click, p_conversion)

    def _price(self, campaign: Checked, worth: float, key: str, floor: float | None = None) -> float:
        high = min(worth, campaign.high)
        if campaign.declared.auction == "second":
            return high
        low = campaign.low if floor is None else max(campaign.low, least_per_impression(floor))
        return self.market.shade(key, worth, low=min(low, high), high=high)

    def _decision(self, offer: Offer | None, asked: Sequence[_Asked], considered: dict[str, Considered]) -> BidDecision:
        market, crowd = self.market, self._crowd
        names = dict.fromkeys([one.campaign.click for one in asked])
        names |= dict.fromkeys([one.campaign.conversion for one in asked if one.campaign.conversion])
        shown = {name: self._bound[name].shown for name in names}
        decision = BidDecision(
            reason=BID if offer else closest({one.reason for one in considered.values()}),
            considered=considered,
            models={variant_name(name, one.name): one.replica.version for name, one in shown.items()},
            market_version=market.version,
            crowd_version=crowd.version,
        )
        if offer is None:
            return decision
        campaign, key = offer.campaign, offer.key
        decision.campaign, decision.item_id, decision.day = campaign.name, campaign.declared.ad, offer.day
        decision.price, decision.value = cpm_of(offer.price), cpm_of(offer.value)
        decision.multiplier = offer.multiplier
        decision.p_click, decision.p_conversion = offer.p_click, offer.p_conversion
        decision.win_rate = market.win_rate(key, offer.price)
        decision.expected_cost = cpm_of(market.expected_cost(key, offer.price, campaign.declared.auction))
        return decision


def is_capped(campaign: Checked, bids: UserBids, ts: int) -> bool:
    """Tell whether the visitor has seen the campaign often enough; bids that may still win count as seen."""
    cap = campaign.declared.cap
    if cap is None:
        return False
    since = ts - campaign.cap_window_ms
    won = sum(at > since for at in bids.wins.get(campaign.name, ()))
    may_win = sum(one.state == OPEN and one.campaign == campaign.name for one in bids.bids)
    return won + may_win >= cap.impressions


def closest(reasons: set[str]) -> str:
    """Return the reason of the campaign that came closest to a bid.

    >>> closest({TARGETING, PACED}), closest(set())
    ('paced', 'no_campaign')
    """
    return max(reasons, key=_CLOSENESS.index, default=NO_CAMPAIGN)


def with_ad(request: BidRequest, campaign: Checked) -> BidRequest:
    """Return the request with the campaign's ad in the place that is for sale, as features see it."""
    event = replace(request)
    Putting(request)(event, campaign)
    return event


class Putting:
    """Puts the ad of one campaign after the other into one request, as `with_ad` does."""

    def __init__(self, request: BidRequest) -> None:
        self._request = request

    def __call__(self, event: BidRequest, campaign: Checked) -> None:
        request, declared = self._request, campaign.declared
        event.item_id = declared.ad
        event.category = declared.category or request.category
        event.price = request.price if declared.price is None else declared.price
        own = declared.properties
        event.properties = {**(request.properties or {}), **own} if own else request.properties


class Chances:
    """What one objective says of many ads at one request."""

    def __init__(self, bound: BoundObjective, features: FeatureSet) -> None:
        self._bound = bound
        self._features = features
        by = bound.calibrating.by if bound.calibrating else None
        self._by_ad = by is not None and features.depends_on_item(by)
        self._shortlists = {
            name: features.shortlist(variant.feature_names(features.names))
            for name, variant in bound.objective.variants.items()
        }

    def __call__(
        self,
        request: BidRequest,
        campaigns: Sequence[Checked],
        slots: list[Any],
        values: Sequence[Any],
        crowd: Mapping[str, float],
    ) -> list[float]:
        """Return probabilities, in the order of the campaigns.

        Parameters
        ----------
        values
            Feature values of any ad at this request: what ads share is taken from there.
        """
        bound, shown = self._bound, self._bound.shown
        linear = shown.replica.linear() if shown.replica.version else None
        if linear is None or self._by_ad:
            extract = self._features.extract_unfolded
            own = [extract(slots, with_ad(request, one), crowd, request) for one in campaigns]
            return [bound.score(shown, one) for one in own]
        shortlist = self._shortlists[shown.name]
        said = shortlist(slots, replace(request), Putting(request), campaigns, crowd, values, *linear, request)
        return [bound.told(shown, p, values)[0] for p in said]
