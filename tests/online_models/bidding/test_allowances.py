"""What a partition may spend, and what its books say of it."""

from __future__ import annotations

from online_models.bidding.allowances import Allowances
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
