"""What one partition bids, and what becomes of it."""

from __future__ import annotations

from datetime import date
from typing import Any

import pytest
from bidding_bench import (
    AD_SALE,
    MINUTE,
    AMarket,
    BiddingBench,
    a_campaign,
    a_grant,
    a_loss,
    a_request,
    a_win,
    begun,
    campaign_set,
)
from builders import DAY as DAY_MS
from builders import T0, EventLog, a_click, a_purchase, an_impression
from hypothesis import given
from hypothesis import strategies as st

from schemas.bids import BidDecision, Considered
from schemas.campaigns import Cap
from schemas.user_state import Allowance, PartitionMeta

TODAY = "2023-11-14"


def test_a_bid_is_what_a_click_is_worth_times_its_chance_as_a_cpm() -> None:
    bench = BiddingBench(a_campaign(value_per_click=0.02))

    bench.run(EventLog().add(a_request()))

    [bid] = bench.bids
    assert (bid.bid_id, bid.reason, bid.campaign, bid.item_id) == ("events-0-0", "bid", "shoes", "shoes")
    assert (bid.price, bid.value, bid.p_click, bid.multiplier) == (10.0, 10.0, 0.5, 1.0)
    assert bid.models == {"ad_click": 7}
    assert bid.market_version == 5


def test_a_conversion_is_worth_its_chance_given_a_click() -> None:
    bench = BiddingBench(a_campaign(value_per_conversion=0.04))

    bench.run(EventLog().add(a_request()))

    [bid] = bench.bids
    assert (bid.value, bid.p_click, bid.p_conversion) == (10.0, 0.5, 0.5)
    assert bid.models == {"ad_click": 7, "ad_sale": 7}


def test_pacing_scales_the_value() -> None:
    bench = BiddingBench(a_campaign(value_per_click=0.02), market=AMarket().pace("shoes", 0.25))

    bench.run(EventLog().add(a_request()))

    assert (bench.bids[0].price, bench.bids[0].value, bench.bids[0].multiplier) == (2.5, 10.0, 0.25)


@pytest.mark.parametrize(
    ("campaign", "request_fields", "reason"),
    [
        ({"active": False}, {}, "no_campaign"),
        ({"ends": date(2023, 11, 13)}, {}, "no_campaign"),
        ({"starts": date(2023, 11, 15)}, {}, "no_campaign"),
        ({"targeting": {"country": {"in": ["de"]}}}, {"country": "fr"}, "targeting"),
        ({"min_bid_cpm": 501.0}, {}, "below_minimum"),
        ({}, {"floor": 501.0}, "below_floor"),
        ({"budget_per_day": 0.4}, {}, "budget"),
    ],
)
def test_no_bid_has_a_reason(campaign: dict[str, Any], request_fields: dict[str, Any], reason: str) -> None:
    bench = BiddingBench(a_campaign(**campaign))

    bench.run(EventLog().add(a_request(**request_fields)))

    [bid] = bench.bids
    assert (bid.reason, bid.campaign, bid.price) == (reason, None, 0.0)


def test_a_campaign_that_does_not_take_part_is_paced() -> None:
    bench = BiddingBench(a_campaign(), market=AMarket().pace("shoes", 1.0, rate=0.0))

    bench.run(EventLog().add(a_request()))

    assert bench.bids[0].reason == "paced"
    assert bench.bids[0].considered == {"shoes": Considered("paced", 500.0)}


def test_bids_are_cut_at_the_highest_a_campaign_pays() -> None:
    bench = BiddingBench(a_campaign(max_bid_cpm=3.0))

    assert bench.run(EventLog().add(a_request())).bids[0].price == 3.0  # type: ignore[attr-defined]


def test_the_highest_bid_goes_out_and_the_next_where_its_budget_does_not_allow_for_it() -> None:
    high, low = a_campaign("high", value_per_click=0.4), a_campaign("low", value_per_click=0.2)
    poor = a_campaign("high", value_per_click=0.4, budget_per_day=0.1)
    benches = [BiddingBench(one, low) for one in (high, poor)]

    for bench in benches:
        bench.run(EventLog().add(a_request()))

    bids = [bench.bids[0] for bench in benches]
    assert [bid.campaign for bid in bids] == ["high", "low"]
    assert bids[0].considered == {"high": Considered("bid", 200.0, 200.0), "low": Considered("outbid", 100.0, 100.0)}
    assert bids[1].considered == {"high": Considered("budget", 200.0, 200.0), "low": Considered("bid", 100.0, 100.0)}


# ---------------------------------------------------------------- money


def test_a_bid_reserves_its_price_and_a_win_costs_what_the_notice_says() -> None:
    bench = BiddingBench(a_campaign(value_per_click=0.02))

    bench.run(EventLog().add(a_request()))
    reserved = bench.book().reserved
    bench.run(after(1, a_win("events-0-0", 100, 7.5)))

    assert reserved == 10_000
    assert bench.book() == Allowance("shoes", TODAY, spent=7_500)


def after(offset: int, *events: Any) -> EventLog:
    """Continue a log at an offset."""
    log = EventLog().add(*events)
    log.records = [one._replace(offset=one.offset + offset) for one in log.records]
    return log


def test_a_win_counts_once_however_often_it_is_told() -> None:
    win = a_win("events-0-0", 100, 7.5)
    again = [win, a_win("events-0-0", 200, 7.5, event_id="retry"), a_loss("events-0-0", 300, event_id="confused")]
    bench = BiddingBench(a_campaign())

    bench.run(EventLog().add(a_request(), win, *again))

    assert bench.book().spent == 7_500
    assert bench.ignored() == {"duplicate": 1, "notice": 2}
    assert bench.notes()["notice_repeated"] == 2


def test_a_bid_without_a_notice_is_lost_when_its_window_has_passed_and_a_late_win_is_booked() -> None:
    bench = BiddingBench(a_campaign(value_per_click=0.02))

    bench.run(EventLog().add(a_request()).tick(5 * MINUTE + 1))
    freed = bench.book().reserved
    bench.run(after(2, a_win("events-0-0", 6 * MINUTE, 7.5)))

    assert freed == 0
    assert bench.book().spent == 7_500
    assert bench.notes() == {"notice_missing": 1, "late_win": 1}


def test_a_loss_frees_what_was_reserved() -> None:
    bench = BiddingBench(a_campaign())

    bench.run(EventLog().add(a_request(), a_loss("events-0-0", 100)))

    assert bench.book() == Allowance("shoes", TODAY)


@pytest.mark.parametrize(("cpm", "noted"), [(10.0, 0), (10.001, 1)])
def test_a_win_above_what_was_reserved_is_noted_once_however_often_it_is_told(cpm: float, noted: int) -> None:
    bench = BiddingBench(a_campaign(value_per_click=0.02))  # it bids 10.0
    win, again = a_win("events-0-0", 100, cpm), a_win("events-0-0", 200, cpm, event_id="retry")

    bench.run(EventLog().add(a_request(), win, again))

    assert bench.notes() == {"win": 1, "notice_repeated": 1} | ({"paid_above_bid": 1} if noted else {})
    assert bench.book() == Allowance("shoes", TODAY, spent=round(cpm * 1_000))


def test_a_notice_of_a_bid_that_nobody_knows_changes_nothing() -> None:
    bench = BiddingBench(a_campaign())

    bench.run(EventLog().add(a_request(), a_win("events-1-0", 100, 7.5)))

    assert bench.book().spent == 0
    assert bench.notes() == {"notice_of_unknown_bid": 1}


def test_only_what_was_granted_is_bid_and_grants_of_another_epoch_do_not_count() -> None:
    bench = BiddingBench(a_campaign(value_per_click=0.02), granted=True)
    log = EventLog().add(
        a_request(0),
        begun("e1"),
        a_grant(15_000, epoch="e0"),
        a_request(1),
        a_grant(15_000),
        a_request(2),
        a_request(3),
        a_grant(15_000),
    )

    bench.run(log)

    assert [bid.reason for bid in bench.bids] == ["budget", "budget", "bid", "budget"]
    assert bench.book() == Allowance("shoes", TODAY, received=15_000, reserved=10_000)


def test_what_a_partition_lacks_is_asked_for() -> None:
    bench = BiddingBench(a_campaign(value_per_click=0.02), granted=True)

    bench.run(EventLog().add(begun(), a_request()))

    [(place, want)] = bench.results[-1].wants.items()
    assert place == ("shoes", TODAY)
    assert (want.amount, want.least, want.budget) == (160_000, 10_000, 100_000_000)


def test_what_is_not_needed_is_given_back() -> None:
    bench = BiddingBench(a_campaign(value_per_click=0.02), granted=True)

    bench.run(EventLog().add(begun(), a_grant(90_000_000), a_request(), a_loss("events-0-2", 100)))

    assert bench.book() == Allowance("shoes", TODAY, received=90_000_000, returned=90_000_000 - 2 * 160_000)


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["request", "request", "win", "loss", "grant", "epoch"]),
        st.integers(0, 30),
        st.floats(0.0, 20.0),
    ),
    max_size=60,
)


@given(STEPS)
def test_what_is_spent_and_may_have_to_be_paid_is_never_more_than_was_granted(
    steps: list[tuple[str, int, float]],
) -> None:
    bench = BiddingBench(a_campaign(value_per_click=0.04, max_bid_cpm=20.0), granted=True)
    log = EventLog().add(begun())
    granted = epoch = at_ms = 0
    for what, number, cpm in steps:
        at_ms += 1_000
        bid_id = f"events-0-{number}"
        if what == "request":
            log.add(a_request(at_ms))
        elif what == "win":
            log.add(a_win(bid_id, at_ms, cpm))
        elif what == "loss":
            log.add(a_loss(bid_id, at_ms))
        elif what == "grant":
            granted += number * 1_000
            log.add(a_grant(granted, epoch=f"e{epoch}" if epoch else "e1"))
        else:
            epoch += 1
            log.add(begun(f"e{epoch}"))

    bench.run(log)

    book = bench.book()
    assert book.reserved >= 0
    assert book.spent + book.reserved <= book.received - book.returned <= granted


@given(st.integers(1, 7), st.integers(0, 5))
def test_how_a_log_is_cut_changes_nothing(chunk: int, seed: int) -> None:
    def run(size: int) -> BiddingBench:
        capped = a_campaign(cap=Cap(2, "1h"))
        bench = BiddingBench(capped, market=AMarket().pace("shoes", 0.5, 0.7))
        bench.run(a_day(seed), chunk=size)
        return bench

    assert run(chunk).fingerprint() == run(500).fingerprint()


def a_day(seed: int) -> EventLog:
    log = EventLog().add(campaign_set(a_campaign("tents", value_per_click=0.01), 3))
    for number in range(20):
        at_ms = number * 20_000 + seed
        who = f"u{number % 3}"
        log.add(a_request(at_ms, event_id=f"r{seed}-{number}", user_id=who))
        bid_id = f"events-0-{len(log.records) - 1}"
        if number % 4 == 0:
            log.add(a_win(bid_id, at_ms + 500, 2.0, user_id=who))
        elif number % 4 == 1:
            log.add(a_loss(bid_id, at_ms + 500, 9.0, user_id=who))
    return log.tick(DAY_MS)


@pytest.mark.parametrize("granted", [True, False])
def test_a_partition_tells_whether_bids_wait_for_notices(granted: bool) -> None:
    bench, waiting = BiddingBench(a_campaign(), granted=granted), []
    log = EventLog().add(begun(), a_grant(90_000_000), a_request(), a_loss("events-0-2", 100), a_request(200))
    log.tick(5 * MINUTE + 200).tick(5 * MINUTE + 201)

    for number in range(len(log.records)):
        part = EventLog()
        part.records = log.records[number : number + 1]
        bench.run(part)
        waiting.append(bench.core.bids_wait)

    assert waiting == [False, False, True, False, True, True, False]
    assert BiddingBench(a_campaign(), meta=a_lost_bid(bench)).core.bids_wait is False


def a_lost_bid(bench: BiddingBench) -> PartitionMeta:
    """Something is reserved for a visitor whom the store has lost: no time that comes ends that."""
    meta = bench.core.meta()
    assert meta.bidding is not None
    meta.bidding.allowances = [Allowance("shoes", TODAY, reserved=1)]
    return meta


# ---------------------------------------------------------------- the loop is closed


def test_a_win_is_a_trigger_with_the_features_that_its_bid_had_and_a_click_its_outcome() -> None:
    bench = BiddingBench(a_campaign())
    log = EventLog().add(
        a_request(0, country="fr"),
        a_win("events-0-0", 1_000, 4.0),
        a_click("shoes", 5_000),
        a_purchase(9_000),
    )

    bench.run(log.tick(2 * DAY_MS))

    clicks = [one for one in bench.examples if one.objective == "ad_click"]
    assert [(one.label, one.features) for one in clicks] == [
        (True, {"clicks": 0.0, "wins": 0.0, "item=shoes": 1.0, "country=fr": 1.0})
    ]
    assert [score.item_id for score in bench.scores if score.objective == "ad_click"] == ["shoes"]
    assert [one.label for one in bench.examples if one.objective == "ad_sale"] == [True]


def test_where_the_site_tells_of_each_ad_that_was_shown_its_impression_is_the_trigger() -> None:
    shown = {"trigger": "impression", "outcome": "click", "match": "item", "window": "30m", "grace": 0}
    bench = BiddingBench(a_campaign(), objectives={"ad_click": shown, "ad_sale": AD_SALE})
    log = EventLog().add(
        a_request(0),
        a_win("events-0-0", 1_000, 4.0),
        an_impression("shoes", 2_000, country="fr"),
        a_click("shoes", 5_000),
    )

    bench.run(log.tick(DAY_MS))

    assert (bench.bids[0].campaign, bench.bids[0].p_click) == ("shoes", 0.5)
    clicks = [one for one in bench.examples if one.objective == "ad_click"]
    assert [(one.label, one.features["country=fr"]) for one in clicks] == [(True, 1.0)]


def test_what_was_lost_teaches_no_click() -> None:
    bench = BiddingBench(a_campaign())

    bench.run(EventLog().add(a_request(), a_loss("events-0-0", 1_000)).tick(DAY_MS))

    assert [one for one in bench.examples if one.objective == "ad_click"] == []


def test_the_market_is_told_of_opportunities_wins_and_losses() -> None:
    bench = BiddingBench(a_campaign(value_per_click=0.02))
    log = EventLog().add(
        a_request(0), a_win("events-0-0", 1_000, 4.0), a_request(2_000), a_loss("events-0-2", 3_000, 12.0)
    )

    bench.run(log)

    day, second = float(T0 // DAY_MS), T0 % DAY_MS / 1000
    assert bench.told == [
        {"day": day, "second": second, "value:shoes": 0.01},
        {"day": day, "second": second, "cost:shoes": 0.004, "bid:": 0.01, "price:": 0.004},
        {"day": day, "second": second + 2, "value:shoes": 0.01},
        {"day": day, "second": second + 2, "bid:": 0.01},
    ]


# ---------------------------------------------------------------- campaigns and caps


def test_a_frequency_cap_counts_what_was_won_and_what_may_still_be() -> None:
    bench = BiddingBench(a_campaign(cap=Cap(2, "1h")))
    log = EventLog().add(
        a_request(0),
        a_win("events-0-0", 1_000, 4.0),
        a_request(2_000),
        a_request(3_000),
        a_request(4_000, user_id="u2"),
        a_loss("events-0-2", 5_000),
        a_request(6_000),
        a_request(61 * MINUTE),
    )

    bench.run(log)

    assert [bid.reason for bid in bench.bids] == ["bid", "bid", "frequency_cap", "bid", "bid", "bid"]


def test_a_campaign_runs_as_the_log_told_last_and_an_older_version_changes_nothing() -> None:
    cheap, dear = a_campaign(value_per_click=0.01), a_campaign(value_per_click=0.02)
    bench = BiddingBench()
    log = EventLog().add(
        a_request(0),
        campaign_set(dear, 2),
        a_request(1),
        campaign_set(cheap, 1),
        a_request(2),
        campaign_set(None, 3, name="shoes"),
        a_request(3),
    )

    bench.run(log)

    assert [bid.price for bid in bench.bids] == [0.0, 10.0, 10.0, 0.0]


def test_a_bid_that_was_made_over_http_is_booked_though_its_campaign_is_gone() -> None:
    answered = BidDecision(reason="bid", campaign="gone", item_id="ad", day=TODAY, price=10.0)
    bench = BiddingBench(granted=True)

    bench.run(EventLog().add(a_request(0, answered=answered), a_win("events-0-0", 1_000, 7.5)))

    assert bench.book("gone") == Allowance("gone", TODAY, moved=10_000, spent=7_500, returned=2_500)
    assert bench.scores == []


def test_a_campaign_whose_data_is_wrong_never_bids() -> None:
    wrong = a_campaign(targeting={"nothing": {"min": 1}})
    bench = BiddingBench()

    bench.run(EventLog().add(campaign_set(a_campaign(), 1), a_request(0), campaign_set(wrong, 2), a_request(1)))

    assert [bid.reason for bid in bench.bids] == ["bid", "no_campaign"]
