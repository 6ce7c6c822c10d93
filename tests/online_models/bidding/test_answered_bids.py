"""Bids that were made over HTTP: each is paid for once, under the id that was told, however often its request came."""

from __future__ import annotations

from typing import Any

import pytest
from bidding_bench import DAY, MINUTE, BiddingBench, a_campaign, a_loss, a_request, a_win
from builders import EventLog, a_page_view
from msgspec.structs import replace

from online_models.bidding.past_bids import FIRST_NUMBER, LAST_NUMBER
from schemas.bids import AnsweredBid, Bid
from schemas.events import BidRequest
from schemas.user_state import Allowance

FIRST, SECOND = f"events-0-{FIRST_NUMBER + 5}", f"events-0-{LAST_NUMBER}"


class Feed:
    """Events reach a core one after another; the log is one."""

    def __init__(self, *campaigns: Any) -> None:
        self.bench = BiddingBench(*(campaigns or [a_campaign()]), granted=True)
        self.log = EventLog()

    def __call__(self, *events: Any) -> Feed:
        for event in events:
            part = EventLog()
            part.records = self.log.add(event).records[-1:]
            self.bench.run(part)
        return self

    @property
    def book(self) -> Allowance:
        return replace(self.bench.book(), returned=0)

    @property
    def notes(self) -> dict[str, int]:
        return self.bench.notes()

    def later(self, at_ms: int = 10 * MINUTE) -> Allowance:
        """Let all windows end, and what is left go back."""
        self(a_page_view(at_ms, user_id="other"), a_page_view(at_ms + 1, user_id="other"))
        return self.bench.book()


def answered(bid_id: str, at_ms: int = 0, *, price: float = 10.0, **fields: Any) -> BidRequest:
    decision = AnsweredBid(reason="bid", campaign="shoes", item_id="shoes", day=DAY, price=price, bid_id=bid_id)
    return a_request(at_ms, **{"event_id": "r", "answered": decision, **fields})


def test_a_bid_has_the_id_that_was_told() -> None:
    feed = Feed()(a_page_view(0), answered(FIRST), a_win(FIRST, 1_000, 4.0))

    assert [bid.bid_id for bid in feed.bench.bids] == [FIRST]
    assert feed.bench.bids[0].offset == 1
    assert (feed.book, feed.notes) == (Allowance("shoes", DAY, moved=10_000, spent=4_000), {"win": 1})


def test_a_record_that_is_in_the_log_twice_is_one_bid() -> None:
    feed = Feed()(answered(FIRST), answered(FIRST), a_win(FIRST, 1_000, 4.0), answered(FIRST))

    assert len(feed.bench.bids) == 1
    assert feed.book == Allowance("shoes", DAY, moved=10_000, spent=4_000)
    assert feed.later() == Allowance("shoes", DAY, moved=10_000, spent=4_000, returned=6_000)
    assert feed.notes == {"win": 1}


def test_the_second_bid_of_who_asked_again_stands_and_the_first_goes_back() -> None:
    other = answered(SECOND, price=20.0)
    feed = Feed()(answered(FIRST), other, other, a_win(SECOND, 1_000, 12.0))

    assert [bid.bid_id for bid in feed.bench.bids] == [FIRST], "a request has one message"
    assert feed.book == Allowance("shoes", DAY, moved=30_000, reserved=10_000, spent=12_000)
    assert feed.later() == Allowance("shoes", DAY, moved=30_000, spent=12_000, returned=18_000)
    assert feed.notes == {"win": 1, "notice_missing": 1}


def test_a_second_bid_that_is_lost_goes_back() -> None:
    feed = Feed()(answered(FIRST), answered(SECOND), a_loss(FIRST, 1_000), a_loss(SECOND, 1_001))

    assert feed.later() == Allowance("shoes", DAY, moved=20_000, returned=20_000)
    assert feed.notes == {"loss": 2}


def test_a_copy_that_comes_when_its_event_id_is_forgotten_moves_nothing_again() -> None:
    others = [a_page_view(number, event_id=f"v{number}") for number in range(40)]
    feed = Feed()(answered(FIRST), *others, answered(FIRST), a_win(FIRST, 1_000, 4.0))

    assert [bid.bid_id for bid in feed.bench.bids] == [FIRST, FIRST]
    assert feed.book == Allowance("shoes", DAY, moved=10_000, spent=4_000)


def test_copies_of_bids_that_are_no_longer_remembered_whole_are_known() -> None:
    feed = Feed()
    for number in range(100):
        bid_id = f"events-0-{LAST_NUMBER - number * 1_000_003}"
        feed(answered(bid_id, number, event_id=f"r{number}"), a_loss(bid_id, number, event_id=f"l{number}"))
    feed(answered(f"events-0-{LAST_NUMBER}", 200, event_id="again"), a_win(f"events-0-{LAST_NUMBER}", 300, 4.0))

    assert feed.book == Allowance("shoes", DAY, moved=1_000_000, spent=4_000)
    assert feed.notes == {"loss": 100, "late_win": 1}


@pytest.mark.parametrize("given", ["", "events-0-7", "events-1-" + FIRST[9:], FIRST + "0", "events-0-x", "9" * 300])
def test_an_answer_without_an_id_of_this_partition_is_named_after_its_place(given: str) -> None:
    feed = Feed()(a_page_view(0), answered(given), answered(given), a_win("events-0-1", 1_000, 4.0))

    assert [bid.bid_id for bid in feed.bench.bids] == ["events-0-1"]
    assert feed.book == Allowance("shoes", DAY, moved=10_000, spent=4_000)


def test_a_bid_that_was_published_before_a_crash_stands_under_its_id() -> None:
    [bid] = Feed()(answered(FIRST)).bench.bids
    feed = Feed()
    assert feed.bench.core.desk is not None
    feed.bench.core.desk.published = {FIRST: bid}

    feed(answered(FIRST), a_win(FIRST, 1_000, 4.0))

    published: Bid = feed.bench.bids[0]
    assert published is bid
    assert feed.book == Allowance("shoes", DAY, moved=10_000, spent=4_000)


@pytest.mark.parametrize(
    "wrong",
    [
        {"price": 1e20},
        {"price": 1.1e9},
        {"day": "zzz"},
        {"day": "2023-11-14:"},
        {"day": "2023-11-14\n"},
        {"day": "٢٠٢٣-11-14"},
        {"day": "2023-99-99"},
        {"day": "9999-12-31"},
    ],
)
def test_an_answer_that_no_book_can_hold_is_a_dead_letter(wrong: dict[str, Any]) -> None:
    request = answered(FIRST)
    feed = Feed()(replace(request, answered=replace(request.answered, **wrong)))

    accounting = feed.bench.results[-1].accounting
    assert (accounting.dead, accounting.scored) == (1, 0)
    assert feed.book == Allowance("shoes", DAY)


@pytest.mark.parametrize("fine", [{"price": 1e9}, {"price": 0.0}, {"day": ""}])
def test_the_highest_price_and_an_answer_without_a_day_are_taken(fine: dict[str, Any]) -> None:
    request = answered(FIRST)
    feed = Feed()(replace(request, answered=replace(request.answered, **fine)))

    assert feed.bench.results[-1].accounting.scored == 1


def test_what_was_charged_is_booked_though_every_record_is_there_twice() -> None:
    feed, charged = Feed(a_campaign(max_bid_cpm=10.0, budget_per_day=1.0)), 0
    for number in range(100):
        bid_id, at_ms, user = f"events-0-{FIRST_NUMBER + number}", number * 1_000, f"u{number}"
        request = answered(bid_id, at_ms, user_id=user, event_id=f"r{number}")
        feed(request, request, a_win(bid_id, at_ms + 500, 10.0, user_id=user))
        charged += 10_000

    assert feed.book == Allowance("shoes", DAY, moved=1_000_000, spent=charged)
