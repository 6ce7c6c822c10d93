"""Bidding is taken out of the configuration, and put back: money is owed whatever the configuration says."""

from __future__ import annotations

from typing import Any

import pytest
from bidding_bench import (
    AD_CLICK,
    AD_SALE,
    DAY,
    FEATURES,
    MINUTE,
    BiddingBench,
    a_campaign,
    a_grant,
    a_loss,
    a_request,
    a_win,
    begun,
)
from builders import DAY as DAY_MS
from builders import EventLog, a_page_view
from core_bench import Bench
from msgspec.structs import replace

from online_models.bidding.past_bids import FIRST_NUMBER
from schemas.bids import AnsweredBid
from schemas.codec import decode_partition_meta, decode_user_state, encode_partition_meta, encode_user_state
from schemas.events import BidRequest
from schemas.user_state import Allowance, PartitionMeta

OBJECTIVES = {"ad_click": AD_CLICK, "ad_sale": AD_SALE}
DRAWN = 160_000
TOLD, TOLD_AGAIN = f"events-0-{FIRST_NUMBER + 7}", f"events-0-{FIRST_NUMBER + 8}"


class Site:
    """One partition, whose configuration changes: what is stored stays."""

    def __init__(self) -> None:
        self.log = EventLog()
        self.timers: dict[str, int] = {}
        self.bench: Bench = self.with_bidding()
        self(begun(), a_grant(DRAWN))

    def with_bidding(self, **options: Any) -> Bench:
        campaign = a_campaign(max_bid_cpm=10.0)
        return BiddingBench(campaign, granted=True, timers=dict(self.timers), **options)

    def __call__(self, *events: Any) -> Site:
        first = len(self.log.records)
        part = EventLog()
        part.records = self.log.add(*events).records[first:]
        self.bench.run(part)
        for name, due_ms in self.bench.results[-1].changed_timers.items():
            if due_ms is None:
                self.timers.pop(name, None)
            else:
                self.timers[name] = due_ms
        return self

    def tick(self, at_ms: int) -> Site:
        return self(a_page_view(at_ms, user_id="other"))

    def out(self, **changed: Any) -> Site:
        """Take bidding out."""
        features = {**FEATURES, **changed}
        return self._again(
            lambda meta: Bench(OBJECTIVES, features=features, meta=meta, timers=dict(self.timers), asking_rules=True)
        )

    def back(self, **options: Any) -> Site:
        """Put bidding back."""
        return self._again(lambda meta: self.with_bidding(meta=meta, **options))

    def _again(self, make: Any) -> Site:
        meta, users = decode_partition_meta(encode_partition_meta(self.meta)), self.bench.users
        self.bench = make(meta)
        stored = {name: encode_user_state(user) for name, user in users.items()}
        self.bench.users = {name: self.bench.core.adopt(decode_user_state(blob)) for name, blob in stored.items()}
        return self

    @property
    def meta(self) -> PartitionMeta:
        return self.bench.core.meta()

    @property
    def books(self) -> list[Allowance]:
        assert self.meta.bidding is not None
        return [replace(one) for one in self.meta.bidding.allowances]

    def book(self, **amounts: int) -> list[Allowance]:
        return [Allowance("shoes", DAY, received=DRAWN, **amounts)]


def test_what_was_bid_and_paid_stands_when_bidding_comes_back() -> None:
    site = Site()(a_request(0), a_win("events-0-2", 100, 7.5), a_request(200))
    before = site.meta.bidding

    site.out()(a_page_view(300))
    meanwhile = site.meta.bidding
    site.back()

    assert site.books == site.book(spent=7_500, reserved=10_000)
    assert before == meanwhile == site.meta.bidding


def test_notices_that_come_meanwhile_are_booked_and_the_events_are_like_any_other() -> None:
    site = Site()(a_request(0), a_request(1), a_request(2)).out()

    site(a_win("events-0-2", 100, 7.5), a_loss("events-0-3", 101))
    site(a_win("events-0-2", 102, 7.5, event_id="retry"))

    assert site.books == site.book(spent=7_500, reserved=10_000)
    assert site.bench.notes() == {"win": 1, "loss": 1, "notice_repeated": 1, "no_match_key": 2}
    assert [one.reason for one in site.back()(a_request(200)).bench.bids] == ["bid"]  # type: ignore[attr-defined]
    assert site.books == site.book(spent=7_500, reserved=20_000)


def test_a_bid_waits_for_its_notice_as_long_as_was_declared_and_a_late_win_is_booked() -> None:
    site = Site()(a_request(0)).out()

    waiting = site.tick(5 * MINUTE).books
    over = site.tick(5 * MINUTE + 1).books
    late = site(a_win("events-0-2", 6 * MINUTE, 7.5)).books

    assert (waiting, over, late) == (site.book(reserved=10_000), site.book(), site.book(spent=7_500))
    assert site.bench.notes()["notice_missing"] == 1
    assert site.back().tick(30 * MINUTE).books == late


def test_a_bid_of_a_store_that_does_not_say_how_long_waits_for_a_day() -> None:
    site = Site()(a_request(0))
    meta = site.meta
    assert meta.bidding is not None
    meta.bidding = replace(meta.bidding, notice_window_ms=0)
    site.bench.core.meta = lambda: meta  # type: ignore[method-assign]
    site.out()

    assert site.tick(5 * MINUTE + 1).books == site.book(reserved=10_000)
    assert site.tick(DAY_MS + 1).books == site.book()


def test_a_bid_that_is_open_still_is_a_trigger_once_it_is_won() -> None:
    site = Site()(a_request(0, country="fr")).out()(a_page_view(10)).back()

    site(a_win("events-0-2", 100, 7.5)).tick(DAY_MS)

    [example] = [one for one in site.bench.examples if one.objective == "ad_click"]
    assert example.features["country=fr"] == 1.0


def test_a_bid_that_is_open_still_forgets_values_of_features_that_changed_meanwhile() -> None:
    site = Site()(a_request(0, country="fr")).out(country={"count": "search"})(a_page_view(10)).out().back()

    site(a_win("events-0-2", 100, 7.5)).tick(DAY_MS)

    assert [one for one in site.bench.examples if one.objective == "ad_click"] == []
    assert site.books == site.book(spent=7_500)


@pytest.mark.parametrize("is_open", [False, True])
def test_books_of_days_long_past_close_meanwhile_unless_a_bid_waits(is_open: bool) -> None:
    site = Site()(a_request(0), *([] if is_open else [a_loss("events-0-2", 1)])).out()
    if is_open:  # whom the store has lost, so nothing ends it
        site.bench.users.clear()

    site.tick(2 * DAY_MS)
    kept = len(site.books)
    site.tick(3 * DAY_MS)

    assert (kept, len(site.books)) == (1, is_open)


def answered(bid_id: str, **fields: Any) -> BidRequest:
    """Return a request that was answered over HTTP."""
    said = AnsweredBid(**{"reason": "bid", "campaign": "shoes", "price": 10.0, "day": DAY, "bid_id": bid_id, **fields})
    return a_request(0, answered=said)


def test_what_was_answered_over_http_before_and_is_read_after_is_owed() -> None:
    site = Site().out()(answered(TOLD))
    asked = site.books
    site(a_win(TOLD, 100, 7.5))

    assert asked == site.book(moved=10_000, reserved=10_000)
    assert site.bench.notes() == {"bid_of_unknown_campaign": 1, "win": 1, "no_match_key": 1}
    assert site.books == site.back().books == site.book(moved=10_000, spent=7_500)


def test_the_event_of_an_answered_request_is_like_any_other_and_has_no_message() -> None:
    site = Site().out()(answered(TOLD), a_request(1))

    [result] = site.bench.results
    assert (result.bids, result.accounting.bids, result.accounting.scored) == ([], 0, 0)
    assert site.bench.ignored() == {"no_trigger": 2}


def test_an_answered_bid_that_has_no_notice_meanwhile_is_free_again() -> None:
    site = Site().out()(answered(TOLD))

    assert site.tick(5 * MINUTE + 1).books == site.book(moved=10_000)


def test_copies_move_nothing_again_and_who_asked_again_has_another_bid() -> None:
    again = replace(answered(TOLD), event_id="later")
    site = Site().out()(answered(TOLD), answered(TOLD), again, answered(TOLD_AGAIN))

    assert site.books == site.book(moved=20_000, reserved=20_000)


@pytest.mark.parametrize("said", [{"reason": "budget"}, {"campaign": None}])
def test_an_answer_that_is_no_bid_moves_nothing(said: dict[str, Any]) -> None:
    site = Site().out()(answered(TOLD, **said))

    assert site.books == site.book()
    assert site.bench.users["u1"].bidding is None


def test_an_answered_bid_is_no_trigger_once_it_is_won_after_bidding_came_back() -> None:
    site = Site().out()(answered(TOLD)).back()

    site(a_win(TOLD, 100, 7.5)).tick(DAY_MS)

    assert [one for one in site.bench.examples if one.objective == "ad_click"] == []
    assert site.books == site.book(moved=10_000, spent=7_500)


@pytest.mark.parametrize("same", [True, False])
def test_a_bid_that_was_published_and_not_stored_is_owed_unless_it_is_of_another_event(same: bool) -> None:
    [bid] = Site()(a_request(0)).bench.bids  # type: ignore[attr-defined]
    site = Site().out()
    assert site.bench.core.settling is not None
    site.bench.core.settling.published = {bid.bid_id: bid if same else replace(bid, event_id="of-before")}

    site(a_request(0))

    assert site.books == site.book(reserved=10_000 if same else 0)
    assert site.bench.results[-1].bids == []
    site(a_win(bid.bid_id, 100, 7.5))
    assert site.books == site.back().books == site.book(spent=7_500 if same else 0)


def test_notices_of_who_never_had_a_bid_are_nobodys_concern() -> None:
    site = Site().out()

    site(a_win("somebody-elses", 0, 7.5), a_loss("events-0-2", 1))

    assert site.bench.notes() == {"no_match_key": 1}
    assert site.books == site.book()


def test_a_partition_that_never_bid_stores_nothing_of_it() -> None:
    bench = Bench(OBJECTIVES, features=FEATURES)

    bench.run(EventLog().add(a_page_view(0)))

    assert bench.core.meta().bidding is None
