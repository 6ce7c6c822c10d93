"""What a partition may spend, and what its books say of it."""

from __future__ import annotations

from bidding_bench import DAY, MINUTE, BiddingBench, a_campaign, a_grant, a_request, a_win, begun
from builders import DAY as DAY_MS
from builders import T0, EventLog

from online_models.bidding.allowances import Allowances
from schemas.bids import BidDecision
from schemas.events import BidRequest
from schemas.user_state import Allowance

SHOES = "shoes", "2026-11-26"
BUDGET = 1_000_000


def test_what_moved_from_http_is_spent_or_given_back_beside_what_was_received() -> None:
    books = Allowances(epoch="e1")
    books.receive(SHOES, "e1", drawn=100, committed=300)

    books.move_in(SHOES, 40)
    books.spend(SHOES, 25)
    books.release(SHOES, 40, BUDGET)

    assert books.take_changed() == [Allowance(*SHOES, received=100, moved=40, spent=25, seen=300)]
    assert books.free(SHOES, BUDGET) == 115


def test_another_epoch_changes_no_book_and_has_all_of_them_told_again() -> None:
    book = Allowance(*SHOES, received=100, moved=40, returned=10, spent=25, reserved=5, seen=300)
    books = Allowances([book], epoch="e1")
    books.fall_short(SHOES, 10_000, BUDGET)
    books.take_changed()

    books.begin("e2")

    assert books.epoch == "e2"
    assert books.take_changed() == [
        Allowance(*SHOES, received=100, moved=40, returned=10, spent=25, reserved=5, seen=300)
    ]
    assert books.take_wants() == {}


def test_a_grant_that_comes_again_or_of_another_epoch_changes_nothing() -> None:
    books = Allowances(epoch="e1")
    for drawn, committed in ((100, 300), (200, 500), (100, 300)):
        books.receive(SHOES, "e1", drawn, committed)

    books.receive(SHOES, "e0", 900, 900)

    assert books.take_changed() == [Allowance(*SHOES, received=200, seen=500)]


def test_what_the_ledger_knows_of_books_that_were_lost_is_not_free() -> None:
    known = {"returned": 20, "spent": 70, "moved": 5}
    lost, kept = Allowances(epoch="e1"), Allowances([Allowance(*SHOES, 100, 6, 21, 71)], epoch="e1")

    for books in (lost, kept):
        books.receive(SHOES, "e0", 900, 900, returned=90, spent=90, moved=90)
        books.receive(SHOES, "e1", 100, 300, **known)

    assert lost.take_changed() == [Allowance(*SHOES, received=100, moved=5, returned=20, spent=70, seen=300)]
    assert kept.take_changed() == [Allowance(*SHOES, received=100, moved=6, returned=21, spent=71)]


def test_a_bid_that_had_reserved_in_a_book_that_was_lost_frees_nothing() -> None:
    books = Allowances(epoch="e1")
    books.receive(SHOES, "e1", 100_000, 100_000)

    books.release(SHOES, 10_000, BUDGET)

    assert books.free(SHOES, BUDGET) == 100_000
    assert [book.reserved for book in books.take_changed()] == [0]


def test_books_of_the_last_two_days_stay_and_older_ones_only_while_something_is_reserved() -> None:
    days = [f"2023-11-{day}" for day in (14, 15, 16, 17)]
    known = [Allowance("shoes", day, received=9, spent=9) for day in days]
    waits = Allowance("tents", days[0], received=9, reserved=4)
    books = Allowances([*known, waits], epoch="e1", bidding=[False, False, True, False, False])

    third, fourth = books.state(T0 + 2 * DAY_MS), books.state(T0 + 3 * DAY_MS)
    own = books.bidding()
    books.release(("tents", days[0]), 4, BUDGET)

    assert third == [*known, waits]
    assert fourth == [*known[1:], waits]
    assert own == [False, True, False, False]
    assert books.state(T0 + 5 * DAY_MS) == known[3:]


def an_answered_request(at: int) -> BidRequest:
    answered = BidDecision(reason="bid", campaign="shoes", item_id="shoes", day=DAY, price=10.0, value=10.0)
    return a_request(at, answered=answered)


def test_what_is_left_of_a_bid_over_http_goes_back() -> None:
    bench = BiddingBench(a_campaign(), granted=True)
    log = EventLog().add(begun(), an_answered_request(0), a_win("events-0-1", 1_000, 4.0))
    bench.run(log)

    assert bench.book() == Allowance("shoes", DAY, moved=10_000, spent=4_000, returned=6_000)


def test_who_seldom_bids_keeps_what_was_granted_for_it() -> None:
    bench = BiddingBench(a_campaign(max_bid_cpm=10.0), granted=True)
    log = EventLog().add(begun())
    for number in range(6):
        log.add(a_request(number * 11 * MINUTE), a_grant(200_000 * (number + 1)))
    bench.run(log)

    assert [one.reason for one in bench.bids] == ["budget", *["bid"] * 5]


def test_whether_a_partition_bids_itself_is_stored_and_of_before_it_counts_as_such() -> None:
    bench = BiddingBench(a_campaign(max_bid_cpm=10.0), granted=True)
    log = EventLog().add(begun(), an_answered_request(0))
    bench.run(log)
    over_http = bench.core.meta().bidding
    later = EventLog()
    later.records = log.add(a_request(1_000)).records[2:]
    bench.run(later)
    itself = bench.core.meta().bidding

    assert over_http is not None
    assert itself is not None
    assert (over_http.bidding, itself.bidding) == ([False], [True])
    assert Allowances(over_http.allowances).bidding() == [True]
