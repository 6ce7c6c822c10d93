"""Clocks of visitors and of exchanges that are wrong: what a bid has set aside stays so until its window has passed."""

from __future__ import annotations

from typing import Any

import pytest
from bidding_bench import DAY, MINUTE, BiddingBench, a_campaign, a_grant, a_request, a_win, begun
from builders import DAY as DAY_MS
from builders import T0, EventLog, a_page_view
from hypothesis import example, given
from hypothesis import strategies as st

from schemas.bids import BidDecision
from schemas.codec import MAX_AHEAD_MS, decode_user_state, encode_json, encode_user_state
from schemas.user_state import OpenBid, UserBids, UserState

WINDOW = 5 * MINUTE


class Clocked(EventLog):
    """A log whose records have the time at which they were written."""

    def at(self, now_ms: int, *events: Any) -> Clocked:
        for event in events:
            user = getattr(event, "user_id", "")
            self.add_raw(encode_json(event), key=user.encode() or None, timestamp=T0 + now_ms)
        return self


def someone(now_ms: int, *, ahead_ms: int = 0, who: str = "somebody") -> Any:
    return a_page_view(now_ms + ahead_ms, event_id=f"{who}{now_ms}", user_id=who)


# "ahead": of the stream after the fast visitor's event, at the request or after it.
@pytest.mark.parametrize("fast_first", [True, False])
@pytest.mark.parametrize("ahead_ms", [MAX_AHEAD_MS, MAX_AHEAD_MS - 1_000, MINUTE, 0])
def test_a_fast_clock_ends_no_window(ahead_ms: int, fast_first: bool) -> None:
    bench = BiddingBench(a_campaign(max_bid_cpm=10.0))
    log = Clocked()
    fast = someone(1_000, ahead_ms=ahead_ms, who="fast")
    log.at(1_000, *([fast, a_request(1_000)] if fast_first else [a_request(1_000), fast]))
    log.at(1_500, someone(1_500, ahead_ms=ahead_ms, who="fast"))
    log.at(WINDOW + 900, someone(WINDOW + 900, ahead_ms=ahead_ms, who="fast"))
    bench.run(log)
    reserved = bench.book().reserved
    bid_id = bench.bids[0].bid_id

    late = Clocked().at(WINDOW + 950, a_win(bid_id, WINDOW + 950, 7.0))
    bench.run(moved(late, len(log.records)))

    assert reserved == 10_000
    assert bench.notes() == {"win": 1}


def moved(log: EventLog, by: int) -> EventLog:
    log.records = [one._replace(offset=one.offset + by) for one in log.records]
    return log


@pytest.mark.parametrize(("ahead_ms", "freed_ms"), [(0, WINDOW), (MAX_AHEAD_MS, WINDOW + MAX_AHEAD_MS)])
def test_a_window_ends_at_the_latest_as_much_later_as_stream_time_was_ahead(ahead_ms: int, freed_ms: int) -> None:
    bench = BiddingBench(a_campaign(max_bid_cpm=10.0))
    log = Clocked().at(0, someone(0, ahead_ms=ahead_ms, who="fast"), a_request(0))
    log.at(freed_ms, someone(freed_ms, ahead_ms=ahead_ms))
    bench.run(log)
    before = bench.book().reserved

    bench.run(moved(Clocked().at(freed_ms + 1, someone(freed_ms + 1, ahead_ms=ahead_ms)), len(log.records)))

    assert (before, bench.book().reserved) == (10_000, 0)
    assert bench.notes() == {"notice_missing": 1}


def test_what_was_not_due_by_the_clock_is_due_once_right_clocks_have_come_so_far() -> None:
    bench = BiddingBench(a_campaign(max_bid_cpm=10.0))
    log = Clocked().at(0, a_request(0), a_request(10, user_id="u2"))
    log.at(1_000, someone(1_000, ahead_ms=MAX_AHEAD_MS, who="fast"))  # stream time is past both windows
    log.at(2 * WINDOW + 2_000, someone(2 * WINDOW + 2_000))

    bench.run(log)

    assert bench.book().reserved == 0
    assert bench.notes() == {"notice_missing": 2}


@pytest.mark.parametrize("every", [1, 20])
def test_a_visitor_with_a_fast_clock_does_not_overspend_the_budget(every: int) -> None:
    # 100 bids' money; each bid is won, and told of five seconds later.
    bench = BiddingBench(granted=True)
    bench.core.desk._run("shoes", a_campaign(max_bid_cpm=10.0, budget_per_day=1.0))  # type: ignore[union-attr]
    log, done, charged, waiting = Clocked().at(0, begun(), a_grant(1_000_000)), 0, 0, []
    for number in range(1_000):
        now = number * 10
        if number % every == 0:
            log.at(now, someone(now, ahead_ms=299_000, who="fast"))
        log.at(now, a_request(now, user_id=f"u{number}"))
        while waiting and waiting[0][0] <= now:
            log.at(now, waiting.pop(0)[1])
        part = EventLog()
        part.records, done = log.records[done:], len(log.records)
        bench.run(part)
        bid = bench.bids[-1]
        if bid.campaign is not None:
            waiting.append((now + 5_000, a_win(bid.bid_id, now + 5_000, 10.0, user_id=f"u{number}")))
            charged += 10_000

    assert charged == 1_000_000
    assert bench.notes() == {"win": 100}
    assert sum(one.label for one in bench.examples if "bid:" in one.features) == 100


@pytest.mark.parametrize(("behind_ms", "reason"), [(4 * MINUTE, "bid"), (MAX_AHEAD_MS, "bid"), (301_000, "too_late")])
@pytest.mark.parametrize("is_live", [True, False])
def test_nobody_bids_for_a_request_that_is_long_over(behind_ms: int, reason: str, is_live: bool) -> None:
    bench = BiddingBench(a_campaign(max_bid_cpm=10.0))
    now, events = 10 * MINUTE, [someone(10 * MINUTE), a_request(10 * MINUTE - behind_ms)]

    bench.run(Clocked().at(now, *events) if is_live else EventLog().add(*events))

    assert [bid.reason for bid in bench.bids] == [reason]
    assert bench.bids[0].considered.keys() == ({"shoes"} if reason == "bid" else set())
    assert bench.book().reserved == (10_000 if reason == "bid" else 0)
    assert len(bench.told) == (reason == "bid")


def test_a_fast_clock_makes_no_request_too_late() -> None:
    bench = BiddingBench(a_campaign())
    log = Clocked().at(0, someone(0, ahead_ms=MAX_AHEAD_MS, who="fast")).at(MINUTE, a_request(-MINUTE))

    bench.run(log)

    assert bench.bids[0].reason == "bid"


def test_what_was_set_aside_for_a_late_request_stays_so_for_the_whole_window() -> None:
    bench = BiddingBench(a_campaign(max_bid_cpm=10.0))
    now = 10 * MINUTE
    log = Clocked().at(now, someone(now), a_request(now - 4 * MINUTE)).at(now + WINDOW, someone(now + WINDOW))
    bench.run(log)
    before = bench.book().reserved

    bench.run(moved(Clocked().at(now + WINDOW + 1, someone(now + WINDOW + 1)), len(log.records)))

    assert (before, bench.book().reserved) == (10_000, 0)


def test_an_answer_over_http_stands_however_late_it_comes_and_keeps_what_it_set_aside() -> None:
    answered = BidDecision(reason="bid", campaign="shoes", item_id="shoes", day=DAY, price=10.0)
    bench = BiddingBench(a_campaign(), granted=True)
    now = 30 * MINUTE
    log = Clocked().at(now, someone(now), a_request(0, answered=answered)).at(now + 1, someone(now + 1))

    bench.run(log.at(now + WINDOW, a_win("events-0-1", now + WINDOW, 7.0)))

    assert bench.notes() == {"win": 1}


def test_a_bid_of_before_waits_as_it_did() -> None:
    bench = BiddingBench(a_campaign())
    bench.run(EventLog().add(a_request()))
    user = bench.users["u1"]
    [one] = user.bidding.bids  # type: ignore[union-attr]
    fields = [getattr(one, name) for name in OpenBid.__struct_fields__[:10]]
    before = UserState(1, 0, b"", [], [], [], UserBids([fields], {}), form=1)  # type: ignore[list-item]
    read = decode_user_state(encode_user_state(before)).bidding
    assert read is not None
    user.bidding = read

    bench.run(moved(EventLog().tick(WINDOW), 1))
    assert bench.notes() == {}
    bench.run(moved(EventLog().tick(WINDOW + 1), 2))
    assert bench.notes() == {"notice_missing": 1}


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["request", "page", "win", "tick"]),
        st.integers(0, 4 * MINUTE),  # until the next step
        st.sampled_from([-6 * MINUTE, -MINUTE, 0, 0, MINUTE, MAX_AHEAD_MS]),  # by which the clock is wrong
    ),
    min_size=10,
    max_size=60,
)


@given(STEPS, st.integers(1, 7))
@example([*[("request", 0, -360_000)] * 9, ("request", 0, 0)], 1)
def test_how_a_log_is_cut_changes_nothing_and_no_window_is_short(steps: list[tuple[str, int, int]], cut: int) -> None:
    log, now, stream, asked = Clocked(), 0, -DAY_MS, {}  # of a new log there is no stream time yet
    for number, (what, gap, off) in enumerate(steps):
        now, who, at = now + gap, f"u{number % 3}", now + gap + off
        if what == "request":
            # Where stream time itself is behind by more than clocks may be off, as in an old log, it is all there is.
            since = max(now, stream) if now <= max(stream, at) + MAX_AHEAD_MS else max(stream, at)
            asked[f"events-0-{len(log.records)}"] = (since, who)
            log.at(now, a_request(at, user_id=who, event_id=f"r{number}"))
        elif what == "win" and asked:
            bid_id = next(iter(asked))
            log.at(now, a_win(bid_id, now, 1.0, user_id=asked.pop(bid_id)[1], event_id=f"w{number}"))
            at = now
        elif what == "tick":
            at = max(stream, now)
            log.add_raw(EventLog().tick(at).records[0].value, key=None, timestamp=T0 + now)
        else:
            log.at(now, a_page_view(at, user_id=f"v{number}", event_id=f"p{number}"))
        stream = max(stream, at)
    whole, parts = BiddingBench(a_campaign()), BiddingBench(a_campaign())

    whole.run(log)
    parts.run(log, chunk=cut)

    assert whole.fingerprint() == parts.fingerprint()
    open_ = {one.offset for user in whole.users.values() for one in (user.bidding or UserBids()).bids if not one.state}
    bids = {bid.bid_id for bid in whole.bids if bid.campaign}
    for bid_id, (since, _) in asked.items():
        if bid_id in bids and now <= since + WINDOW:
            assert int(bid_id.rpartition("-")[2]) in open_
    end = moved(Clocked().at(now + DAY_MS, someone(now + DAY_MS)), len(log.records))
    whole.run(end)
    assert all(one.state for user in whole.users.values() for one in (user.bidding or UserBids()).bids)
    assert whole.book().reserved == 0
