"""Bids in first-price auctions that have a floor."""

from __future__ import annotations

from functools import cache
from random import Random
from typing import Any

import pytest
from bidding_bench import AMarket, BiddingBench, a_campaign, a_request
from builders import EventLog
from hypothesis import given
from hypothesis import strategies as st

from online_models.bidding.landscape import Landscape
from online_models.bidding.money import cpm_of, least_per_impression
from online_models.bidding.win_price import WinPrices
from schemas.bids import Bid


@cache
def prices() -> WinPrices:
    """What was learned of others who bid about 1 CPM."""
    chance, learner = Random(1), WinPrices()
    for number in range(5_000):
        price, bid = chance.lognormvariate(-6.9, 0.3), chance.lognormvariate(-6.3, 0.4)
        won = bid > price
        learner.learn("", bid=bid, won=won, price=None if won else price, at_ms=1_000 * number)
    return learner


def bid_for(floor: float | None, worth_cpm: float = 5.0, *, learned: bool = True, **campaign: Any) -> Bid:
    """Return the bid for an impression that is worth so much; a click has a chance of 1/2."""
    market = AMarket(**prices().weights) if learned else AMarket()
    bench = BiddingBench(a_campaign(value_per_click=worth_cpm / 500, auction="first", **campaign), market=market)
    bench.run(EventLog().add(a_request(floor=floor)))
    return bench.bids[0]


def test_a_floor_above_the_shaded_bid_is_bid_where_that_gains() -> None:
    free = bid_for(None)
    assert 1.2 < free.price < 1.8

    for floor in (1.0, free.price):
        assert (bid_for(floor).reason, bid_for(floor).price) == ("bid", free.price)
    for floor in (2.0, 3.0, 5.0):
        bid = bid_for(floor)
        assert (bid.reason, bid.price) == ("bid", pytest.approx(floor, rel=1e-12))
        assert bid.price >= floor
        assert (bid.value, bid.multiplier, bid.considered["shoes"].price) == (free.value, 1.0, bid.price)
        assert bid.expected_cost == pytest.approx(bid.price * bid.win_rate)


@pytest.mark.parametrize(
    ("floor", "campaign", "reason", "price"),
    [
        (5.1, {}, "below_floor", 0.0),
        (2.0, {"max_bid_cpm": 1.9}, "below_floor", 0.0),
        (2.0, {"max_bid_cpm": 2.0}, "bid", 2.0),
        (2.0, {"min_bid_cpm": 2.5}, "bid", 2.5),
        (2.0, {"min_bid_cpm": 5.5}, "below_minimum", 0.0),
    ],
)
def test_the_bounds_of_a_campaign_and_what_it_is_worth_hold_beside_the_floor(
    floor: float, campaign: dict[str, Any], reason: str, price: float
) -> None:
    bid = bid_for(floor, **campaign)

    assert (bid.reason, bid.price) == (reason, pytest.approx(price))


def test_a_floor_holds_while_nothing_is_known_of_prices() -> None:
    bids = [bid_for(floor, learned=False) for floor in (None, 3.0, 4.0, 5.1)]

    assert [(bid.reason, round(bid.price, 9)) for bid in bids] == [
        ("bid", 3.5),
        ("bid", 3.5),
        ("bid", 4.0),
        ("below_floor", 0.0),
    ]


@given(st.floats(0.5, 20.0), st.floats(0.1, 20.0))
def test_no_bid_that_the_floor_allows_gains_more(worth: float, floor: float) -> None:
    bid = bid_for(floor, worth)
    rate = Landscape(prices().weights).win_rate

    worth = bid.considered["shoes"].value or 0.0
    if worth < floor:
        assert bid.reason == "below_floor"
        return
    assert bid.price >= floor
    best = max((worth - b) * rate("", b / 1_000) for b in (floor + (worth - floor) * k / 300 for k in range(301)))
    assert (worth - bid.price) * rate("", bid.price / 1_000) >= best - 1e-9


@given(st.floats(0.0, 1e9))
def test_the_least_that_is_not_below_a_floor(floor: float) -> None:
    assert cpm_of(least_per_impression(floor)) >= floor
    assert least_per_impression(floor) == pytest.approx(floor / 1_000)
