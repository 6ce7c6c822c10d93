"""Bids for the impressions of one partition: the pure path of a bid request, without any shell."""

from __future__ import annotations

from typing import Any

from builders import T0, an_event
from core_bench import Bench, a_replica

from online_models.bidding.declaration import parse_bidding
from online_models.bidding.desks import Desks
from online_models.bidding.market import MARKET, ZERO, pace_name
from online_models.bidding.pacing.base import Pace, to_numbers
from online_models.crowd import CROWD
from online_models.features import compile_features
from online_models.objectives import parse_objectives
from schemas.bids import Bid
from schemas.campaigns import Campaign
from schemas.codec import encode_json
from schemas.events import BidLoss, BidRequest, BidWin, BudgetGranted, CampaignSet, LedgerBegun
from schemas.user_state import Allowance

MINUTE = 60_000
DAY = "2023-11-14"  # of T0
FEATURES = {
    "clicks": {"count": "click"},
    "wins": {"count": "bid_win"},
    "item": {"field": "item_id"},
    "country": {"field": "country"},
}
AD_CLICK = {"trigger": "bid_win", "outcome": "click", "match": "item", "window": "30m", "grace": 0}
AD_SALE = {"trigger": "click", "outcome": "purchase", "match": "user", "window": "24h", "grace": 0}


def a_campaign(name: str = "shoes", **fields: Any) -> Campaign:
    """A campaign of 100 a day that pays 1 for a click; a click has a chance of 1/2 unless models say otherwise."""
    if "value_per_conversion" not in fields:
        fields.setdefault("value_per_click", 1.0)
    return Campaign(campaign=name, **{"budget_per_day": 100.0, "max_bid_cpm": 1e6, **fields})


class AMarket:
    """A market's replica that says what it is told to say."""

    name = MARKET

    def __init__(self, **weights: float) -> None:
        self.weights: dict[str, float] = weights
        self.version = 5

    def pace(self, campaign: str, multiplier: float, rate: float = 1.0) -> AMarket:
        numbers = to_numbers(Pace(multiplier, (), (rate,)))
        self.weights |= {pace_name(campaign, key): number or ZERO for key, number in numbers.items()}
        self.version += 1
        return self


class BiddingBench(Bench):
    """A core that bids.

    Parameters
    ----------
    bidding
        As declared under `bidding:`.
    granted
        Budgets come from a ledger; False: all may be spent.
    features
        As declared under `features:`.
    crowd
        What is known of all visitors; needed where a feature reads it.
    """

    def __init__(
        self,
        *campaigns: Campaign,
        granted: bool = False,
        market: Any = None,
        bidding: dict[str, Any] | None = None,
        objectives: dict[str, Any] | None = None,
        version: int = 0,
        features: dict[str, Any] = FEATURES,
        crowd: Any = None,
        **limits: Any,
    ) -> None:
        declared = objectives or {"ad_click": AD_CLICK, "ad_sale": AD_SALE}
        compiled = compile_features(features)
        parsed = parse_objectives(declared, features=compiled)
        section = {"click": "ad_click", "conversion": "ad_sale", **(bidding or {})}
        self.bidding = parse_bidding(section, features=compiled, objectives=parsed)
        self.market = market or AMarket()
        replicas = {name: a_replica(name) for name in declared} | {MARKET: self.market, CROWD: crowd}
        for name in declared:  # a chance of 1/2 of everything
            replicas[name].weights, replicas[name].intercept, replicas[name].version = {}, 0.0, version or 7
        super().__init__(
            declared,
            features=features,
            replicas=replicas,
            bidding=Desks(self.bidding, compiled, parsed, granted=granted),
            **limits,
        )
        for one in campaigns:
            self.core.desk._run(one.campaign, one)  # type: ignore[union-attr]

    @property
    def bids(self) -> list[Bid]:
        return [bid for result in self.results for bid in result.bids]

    @property
    def told(self) -> list[dict[str, float]]:
        return [one.features for one in self.examples if one.objective == MARKET]

    def book(self, campaign: str = "shoes", day: str = DAY) -> Allowance:
        meta = self.core.meta().bidding
        assert meta is not None
        found = [one for one in meta.allowances if (one.campaign, one.day) == (campaign, day)]
        return found[0] if found else Allowance(campaign, day)

    def fingerprint(self) -> tuple[Any, ...]:
        return (*super().fingerprint(), [encode_json(one) for one in self.bids])


def a_request(at_ms: int = 0, **fields: Any) -> BidRequest:
    return an_event(BidRequest, at_ms, **{"event_id": f"r{at_ms}", **fields})  # type: ignore[no-any-return]


def a_win(bid_id: str, at_ms: int, cpm: float, **fields: Any) -> BidWin:
    return an_event(BidWin, at_ms, bid_id=bid_id, win_price=cpm, **{"event_id": f"w{at_ms}", **fields})  # type: ignore[no-any-return]


def a_loss(bid_id: str, at_ms: int, cpm: float | None = None, **fields: Any) -> BidLoss:
    return an_event(BidLoss, at_ms, bid_id=bid_id, win_price=cpm, **{"event_id": f"l{at_ms}", **fields})  # type: ignore[no-any-return]


def a_grant(micros: int, campaign: str = "shoes", *, day: str = DAY, epoch: str = "e1") -> BudgetGranted:
    return BudgetGranted(ts=T0, campaign=campaign, day=day, epoch=epoch, drawn=micros)


def begun(epoch: str = "e1") -> LedgerBegun:
    return LedgerBegun(ts=T0, epoch=epoch)


def campaign_set(campaign: Campaign | None, version: int, *, name: str = "") -> CampaignSet:
    return CampaignSet(ts=T0, campaign=campaign.campaign if campaign else name, version=version, declaration=campaign)
