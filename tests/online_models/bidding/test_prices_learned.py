"""What notices tell of the competing price, and what is learned of it: the highest bid of others, whatever is paid."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest
from bidding_bench import DAY, AMarket, BiddingBench, a_campaign, a_loss, a_request, a_win
from builders import EventLog

from online_models.bidding.landscape import Landscape
from online_models.bidding.market import MARKET, Market
from schemas.bids import BidDecision
from schemas.codec import decode_user_state, encode_user_state
from schemas.user_state import OpenBid, UserBids, UserState


def auctions(told: list[Any], auction: str = "second", *, floor: float | None = None) -> list[dict[str, float]]:
    """Return what is told of prices after bids of 10 CPM and notices."""
    bench = BiddingBench(a_campaign(value_per_click=0.02, auction=auction, min_bid_cpm=10.0))
    log = EventLog()
    for number, notice in enumerate(told):
        log.add(a_request(1_000 * number, floor=floor), notice(f"events-0-{2 * number}", 1_000 * number + 1))
    bench.run(log)
    assert {bid.price for bid in bench.bids} == {10.0}
    wanted = ("bid:", "price:")
    return [{name: one[name] for name in wanted if name in one} for one in bench.told if "bid:" in one]


def won(cpm: float) -> Any:
    return lambda bid_id, at_ms: a_win(bid_id, at_ms, cpm)


def lost(cpm: float | None = None) -> Any:
    return lambda bid_id, at_ms: a_loss(bid_id, at_ms, cpm)


def test_a_second_price_that_a_loser_is_told_says_no_more_than_that_we_have_lost() -> None:
    # What the winner paid is the highest bid of the losers: ours, or one that goes with the winner's, so that to learn
    # it as a bound would make prices too high.
    found = auctions([lost(12.0), lost(10.0), lost(9.0), lost()])

    assert found == [{"bid:": 0.01}] * 4


def test_a_first_price_that_a_loser_is_told_is_the_highest_bid() -> None:
    assert auctions([lost(12.0), lost()], "first") == [{"bid:": 0.01, "price:": 0.012}, {"bid:": 0.01}]


def test_a_win_that_cost_the_floor_says_that_the_others_bid_at_most_that() -> None:
    assert auctions([won(4.0), won(4.001), won(9.0)], floor=4.0) == [
        {"bid:": 0.004},
        {"bid:": 0.01, "price:": 0.004001},
        {"bid:": 0.01, "price:": 0.009},
    ]
    assert auctions([won(4.0)]) == [{"bid:": 0.01, "price:": 0.004}]
    assert auctions([won(10.0)], "first", floor=10.0) == [{"bid:": 0.01}]


@pytest.mark.parametrize("auction", ["second", "first"])
@pytest.mark.parametrize("floor", [None, 2.0])
def test_win_rates_are_right_where_losers_are_told_the_price(auction: str, floor: float | None) -> None:
    learned, rivals = a_market(auction, floor)
    landscape = Landscape(learned.weights)

    # Where the floor hides what others bid below it, only the rates above can be known.
    for part in (0.25, 0.5, 0.75, 0.9):
        price = rivals[int(part * len(rivals))]
        if floor is None or price > 1.05 * floor / 1_000:
            assert landscape.win_rate("", price) == pytest.approx(part, abs=0.035)


def test_campaigns_of_both_auctions_learn_the_same_price() -> None:
    first, second = (Landscape(a_market(auction, None)[0].weights) for auction in ("first", "second"))

    for cpm in (1.0, 1.5, 2.0, 3.0, 4.0, 6.0):
        assert first.win_rate("", cpm / 1_000) == pytest.approx(second.win_rate("", cpm / 1_000), abs=0.04)


def a_market(auction: str, floor: float | None) -> tuple[Market, list[float]]:
    """Return what was learned of 3,000 auctions, and each auction's highest bid of five others, in order."""
    chance, log, highest = Random(2), EventLog(), []
    for number in range(3_000):
        price, next_price = sorted((chance.lognormvariate(0.7, 0.5) for _ in range(5)), reverse=True)[:2]
        highest.append(price / 1_000)
        bid = max(chance.lognormvariate(1.3, 0.4), floor or 0.0)
        place = {"user_id": f"u{number}", "event_id": f"n{number}"}
        answered = BidDecision(reason="bid", campaign="shoes", item_id="shoes", day=DAY, price=bid)
        at_ms, bid_id = 100 * number, f"events-0-{2 * number}"
        log.add(a_request(at_ms, user_id=f"u{number}", floor=floor, answered=answered))
        if bid > price:
            paid = bid if auction == "first" else max(price, floor or 0.0)
            log.add(a_win(bid_id, at_ms + 1, paid, **place))
        else:
            log.add(a_loss(bid_id, at_ms + 1, price if auction == "first" else max(bid, next_price), **place))
    bench = BiddingBench(a_campaign(auction=auction), market=AMarket())
    bench.run(log)
    market = Market(bench.bidding)
    for one in bench.examples:
        if one.objective == MARKET:
            market.learn_one(one.features, one.label)
    return market, sorted(highest)


def test_a_bid_of_before_has_no_floor() -> None:
    bench = BiddingBench(a_campaign(value_per_click=0.02))
    bench.run(EventLog().add(a_request(floor=4.0)))
    user = bench.users["u1"]
    [one] = user.bidding.bids  # type: ignore[union-attr]
    assert one.floor == 4_000
    fields = [getattr(one, name) for name in OpenBid.__struct_fields__[:10]]
    before = UserState(1, 0, b"", [], [], [], UserBids([fields], {}), form=1)  # type: ignore[list-item]
    user.bidding = decode_user_state(encode_user_state(before)).bidding
    later = EventLog().add(a_request(), a_win("events-0-0", 100, 4.0))
    later.records = later.records[1:]

    bench.run(later)

    assert bench.told[-1]["price:"] == 0.004
