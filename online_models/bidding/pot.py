"""The pot: what all partitions of a replay may spend together, where no ledger hands out budgets.

A replay runs all partitions in one process and in one order. So it needs no slices: each campaign's day has its whole
budget, whoever of the partitions spends it. What the live ledger granted is passed over: it was drawn for what was
spent live, and whoever bids otherwise needs it at other moments, or more of it than was there.

Bids that were made over HTTP stand in the log. They are paid from the pot like any other, but nobody asks it before:
where it is empty already, their cost is above the budget.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from online_models.bidding.allowances import Place, Want, closed_before
from schemas.user_state import Allowance


class Pot:
    """Books by campaign and day, shared by the desks of a replay; see `Books`.

    Examples
    --------
    >>> pot, place = Pot(), ("shoes", "2026-11-26")
    >>> pot.reserve(place, 40, 100)
    >>> pot.spend(place, 25)
    >>> pot.release(place, 40, 100)
    >>> pot.free(place, 100)
    75
    """

    epoch = ""

    def __init__(self) -> None:
        self._books: dict[Place, Allowance] = {}

    def _book(self, place: Place) -> Allowance:
        book = self._books.get(place)
        if book is None:
            book = self._books[place] = Allowance(*place)
        return book

    def free(self, place: Place, budget: int) -> int:
        """Return what is left of the budget; never negative."""
        book = self._books.get(place)
        return budget if book is None else max(0, budget - book.spent - book.reserved)

    def begin(self, epoch: str) -> None:
        """Pass over what became of the live ledger."""

    def receive(self, place: Place, epoch: str, drawn: int, committed: int, **known: int) -> None:
        """Pass over what was granted live."""

    def reserve(self, place: Place, amount: int, budget: int) -> None:
        """Set aside what a bid can cost."""
        self._book(place).reserved += amount

    def move_in(self, place: Place, amount: int) -> None:
        """Set aside what a bid can cost that was made over HTTP."""
        self._book(place).reserved += amount

    def fall_short(self, place: Place, amount: int, budget: int) -> None:
        """There is nobody to ask for more."""

    def release(self, place: Place, amount: int, budget: int) -> None:
        """Free what a bid had set aside."""
        self._book(place).reserved -= amount

    def spend(self, place: Place, amount: int) -> None:
        """Book the cost of an impression."""
        self._book(place).spent += amount

    def take_wants(self) -> Mapping[Place, Want]:
        """Nothing is asked for."""
        return {}

    def take_changed(self) -> list[Allowance]:
        """Nobody is told of changes."""
        return []

    def close_days(self, stream_time_ms: int) -> None:
        """Let go of the books of days long past; the stream time is that of the partition furthest behind."""
        for place in closed_before(stream_time_ms, self._books.values()):
            del self._books[place]

    def state(self, stream_time_ms: int) -> list[Allowance]:
        """Return all books, the same to each partition."""
        return list(self._books.values())

    def bidding(self) -> list[bool]:
        """Return nothing: it is of no use here."""
        return []

    def has_reserved(self) -> bool:
        """Tell whether something is set aside for bids, of whichever partition."""
        return any(book.reserved > 0 for book in self._books.values())

    def restore(self, books: Iterable[Allowance]) -> None:
        """Take up what `state` gave to one of the partitions; the others have the same."""
        self._books = {(one.campaign, one.day): one for one in books}
