"""Visitors with very many bids: nothing that may have to be paid is forgotten."""

from __future__ import annotations

import pytest
from bidding_bench import MINUTE, BiddingBench, a_campaign, a_grant, a_loss, a_request, a_win, begun
from builders import DAY as DAY_MS
from builders import EventLog
from hypothesis import given
from hypothesis import strategies as st

from online_models.bidding import past_bids
from online_models.bidding.declaration import REMEMBER_MS
from online_models.bidding.past_bids import EXPIRED, LOST, MOST_BIDS, MOST_OPEN, MOST_REMEMBERED, OPEN, WON
from schemas.bids import Considered
from schemas.campaigns import Cap
from schemas.codec import decode_user_state, encode_user_state, pack_values
from schemas.events import EventBase
from schemas.user_state import OpenBid, PastBids, UserBids, UserState

HOUR = 60 * MINUTE


class Feed:
    """A log of one partition, processed event by event."""

    def __init__(self, bench: BiddingBench) -> None:
        self.bench = bench
        self._log = EventLog()

    def __call__(self, *events: EventBase) -> None:
        for event in events:
            self._log.add(event)
            [record] = self._log.records[-1:]
            one = EventLog()
            one.records = [record]
            self.bench.run(one)

    def bid(self, at_ms: int) -> str | None:
        """Ask for a bid; return its id, None if there is none."""
        self(a_request(at_ms))
        bid = self.bench.bids[-1]
        return bid.bid_id if bid.campaign else None


def of_one_visitor(bench: BiddingBench) -> UserBids:
    bids = bench.users["u1"].bidding
    assert bids is not None
    return bids


def test_a_visitor_with_too_many_open_bids_gets_none_and_none_of_them_is_given_up() -> None:
    bench = BiddingBench(a_campaign(max_bid_cpm=10.0), a_campaign("tents", active=False))
    feed = Feed(bench)
    made = [feed.bid(number) for number in range(MOST_OPEN + 1)]

    assert made[-1] is None
    assert None not in made[:-1]
    assert (bench.bids[-1].reason, bench.bids[-1].considered) == ("unsettled", {"shoes": Considered("unsettled")})
    assert bench.book().reserved == MOST_OPEN * 10_000
    feed(a_win(str(made[0]), 1_000, 10.0))
    assert bench.notes() == {"win": 1}
    assert feed.bid(1_001) is not None


def test_another_visitor_is_not_held_up() -> None:
    bench = BiddingBench(a_campaign())
    feed = Feed(bench)
    for number in range(MOST_OPEN + 1):
        feed(a_request(number))

    feed(a_request(MOST_OPEN + 1, user_id="u2"))

    assert [bid.reason for bid in bench.bids[-2:]] == ["unsettled", "bid"]


@pytest.mark.parametrize(("gap_ms", "delay_ms"), [(1_000, 3_000), (1_000, 70_000), (200, 15_000), (10_000, 2 * HOUR)])
def test_an_exchange_that_tells_no_losses_and_reports_late_is_not_owed_more_than_the_budget(
    gap_ms: int, delay_ms: int
) -> None:
    # Every fifth bid is won; the budget is 100 bids.
    bench = BiddingBench(granted=True)
    bench.core.desk._run("shoes", a_campaign(max_bid_cpm=10.0, budget_per_day=1.0))  # type: ignore[union-attr]
    feed = Feed(bench)
    feed(begun(), a_grant(1_000_000))
    charged, waiting = 0, []
    for number in range(900):
        at_ms = number * gap_ms
        bid_id = feed.bid(at_ms)
        if bid_id is not None and number % 5 == 0:
            waiting.append((at_ms + delay_ms, bid_id))
        while waiting and waiting[0][0] <= at_ms:
            told_ms, bid_id = waiting.pop(0)
            feed(a_win(bid_id, told_ms, 10.0, event_id=f"w-{bid_id}"))
            charged += 10_000
    for told_ms, bid_id in waiting:
        feed(a_win(bid_id, told_ms, 10.0, event_id=f"w-{bid_id}"))
        charged += 10_000

    assert bench.book().spent == charged > 0
    if delay_ms < 5 * MINUTE:
        assert charged <= 1_000_000
    assert "notice_of_unknown_bid" not in bench.notes()


def test_of_many_expired_bids_each_can_be_won_late_once_for_a_day() -> None:
    bench = BiddingBench(a_campaign(cap=Cap(10_000, "1h"), max_bid_cpm=10.0))
    feed = Feed(bench)
    made = [str(feed.bid(number * 6 * MINUTE)) for number in range(3 * MOST_BIDS)]

    assert len(of_one_visitor(bench).bids) == MOST_BIDS
    last_ms = (3 * MOST_BIDS - 1) * 6 * MINUTE
    for bid_id in made[:50]:
        feed(a_win(bid_id, last_ms + 1, 7.0, event_id=f"w-{bid_id}"))
        feed(a_win(bid_id, last_ms + 2, 7.0, event_id=f"again-{bid_id}"))
        feed(a_loss(bid_id, last_ms + 3, event_id=f"l-{bid_id}"))
    assert bench.notes() == {"notice_missing": 3 * MOST_BIDS - 1, "late_win": 50, "notice_repeated": 100}
    books = bench.core.meta().bidding.allowances  # type: ignore[union-attr]
    assert sum(book.spent for book in books) == 50 * 7_000
    assert [one["cost:shoes"] for one in bench.told if "cost:shoes" in one] == [0.007] * 50
    assert len(of_one_visitor(bench).wins["shoes"]) == 50
    feed(a_win(made[60], last_ms + 4, 7.0, user_id="u2"))
    assert bench.notes()["notice_of_unknown_bid"] == 1


def test_a_win_of_an_unknown_bid_is_counted_apart_from_a_loss_that_costs_nothing() -> None:
    bench = BiddingBench(a_campaign())

    bench.run(EventLog().add(a_request(), a_win("events-0-9", 1, 7.5), a_loss("events-0-08", 2), a_win("x", 3, 1.0)))

    assert bench.notes() == {"notice_of_unknown_bid": 2, "loss_of_unknown_bid": 1}
    assert bench.book().spent == 0


def test_what_is_older_than_a_day_is_forgotten() -> None:
    bench = BiddingBench(a_campaign(budget_per_day=1_000.0))
    feed = Feed(bench)
    for number in range(2 * MOST_BIDS):
        feed(a_request(number * 6 * MINUTE))

    feed(a_request(3 * DAY_MS))

    assert len(of_one_visitor(bench).bids) == 1
    assert of_one_visitor(bench).past == []


def test_a_visitor_whose_bids_never_had_a_notice_gets_no_more_than_can_be_remembered() -> None:
    now, full = 2 * DAY_MS, [*range(MOST_REMEMBERED - 1)]
    bids = UserBids([a_bid(5_000, ts=now)], {}, [PastBids("shoes", "shoes", "d", EXPIRED, now - HOUR, full)])

    assert past_bids.is_unsettled(bids, now)
    assert not past_bids.is_unsettled(bids, now - HOUR + REMEMBER_MS)
    bids.past[0].state = LOST
    assert not past_bids.is_unsettled(bids, now)


def test_what_exchanges_have_told_of_goes_first_where_there_are_too_many() -> None:
    groups = [
        PastBids("shoes", "shoes", "d", EXPIRED, 10, [*range(1_000)]),
        PastBids("shoes", "shoes", "d", WON, 30, [*range(1_000, 1_500)]),
        PastBids("shoes", "shoes", "d", LOST, 20, [*range(2_000, 2_548)]),
    ]
    bids = UserBids([a_bid(number, ts=40, state=WON) for number in range(5_000, 5_000 + MOST_BIDS)], {}, groups)

    past_bids.prune(bids, HOUR)

    assert [len(one.offsets) for one in bids.past] == [1_000, 501, 547]
    assert past_bids.find(bids, 2_000) is None
    assert past_bids.find(bids, 5_000) is bids.past[1]
    assert [one.offset for one in bids.bids] == [*range(5_001, 5_000 + MOST_BIDS)]


def a_bid(offset: int, *, ts: int = HOUR, state: int = OPEN) -> OpenBid:
    return OpenBid(offset, "shoes", "shoes", "d", ts, 1, "", False, pack_values([]), state)


STATES = st.sampled_from([OPEN, WON, LOST, EXPIRED, EXPIRED])


@given(st.lists(st.tuples(STATES, st.integers(DAY_MS, 3 * DAY_MS)), min_size=150, max_size=300))
def test_pruning_keeps_open_bids_and_forgets_none_of_the_last_day(made: list[tuple[int, int]]) -> None:
    now = 3 * DAY_MS
    bids = UserBids([a_bid(number, ts=ts, state=state) for number, (state, ts) in enumerate(made)])

    past_bids.prune(bids, now)

    whole = {one.offset: one.state for one in bids.bids}
    past = {offset: one.state for one in bids.past for offset in one.offsets}
    wanted = {number: one for number, (one, ts) in enumerate(made) if one == OPEN or ts > now - REMEMBER_MS}
    assert whole | past == wanted
    assert not whole.keys() & past.keys()
    assert OPEN not in past.values()
    assert len(whole) < max(MOST_BIDS, 1 + sum(state == OPEN for state, _ in made))


def test_a_state_with_past_bids_is_read_as_it_was_written_and_one_of_before_has_none() -> None:
    past = PastBids("shoes", "banner", "2023-11-14", EXPIRED, 5, [3, 1])
    state = UserState(1, 0, b"", [], [], [], UserBids([], {"shoes": [7]}, [past]), form=1)

    again = decode_user_state(encode_user_state(state)).bidding

    assert again is not None
    assert again.past == [past]
    before = UserState(1, 0, b"", [], [], [], [[], {"shoes": [7]}], form=1)  # type: ignore[arg-type]
    found = decode_user_state(encode_user_state(before)).bidding
    assert found == UserBids([], {"shoes": [7]}, [])
