"""What a partition may spend: its part of each campaign-day's budget, reserved by bids and settled by notices.

The ledger (`streams.budgets`) hands out parts of the budget; what has been handed out is never handed out again. A bid
reserves the most that it can cost before it is published, and is not made if that is more than what is left. So the
sum of what all partitions spend and may still have to pay stays within the budget, whoever crashes when: this state
is stored with the offset of the event that changed it, in one atomic write.

Who asks for more and who gives back is decided here as well, by nothing but the log, so that a replay decides the same.
A campaign's money stays free only where the partition itself bids with it. If a day's requests have come over HTTP
only, all that is left of their bids goes back when they are settled: the processes that answer draw from the ledger.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import zip_longest
from typing import NamedTuple, Protocol

from online_models.bidding.campaigns import DAY_MS, day_of
from schemas.user_state import Allowance

Place = tuple[str, str]

# A partition asks for this part of a day's budget at a time: the less, the less lies idle elsewhere, and the more
# often it asks; a thousand questions a day are no burden.
_SLICE_OF = 1_024
# Bids to come that a slice should at least be good for.
_BIDS_A_SLICE = 16
# While bids wait for notices, a slice is also this part of what they have reserved.
_RESERVED_PART = 4
# Above this many slices, what is free is given back.
_MOST_SLICES = 4
# A notice may be a day late; then the day's books are closed.
_KEPT_DAYS = 2


class Want(NamedTuple):
    """A partition asks for more, in micros.

    Attributes
    ----------
    least
        What the bid that could not be made, or the next one, needs.
    """

    amount: int
    least: int
    budget: int


class Books(Protocol):
    """What a desk may spend, as it asks and books: `Allowances`, or the pot of a replay."""

    @property
    def epoch(self) -> str: ...
    def free(self, place: Place, budget: int) -> int: ...
    def begin(self, epoch: str) -> None: ...
    def receive(
        self, place: Place, epoch: str, drawn: int, committed: int, *, returned: int = 0, spent: int = 0, moved: int = 0
    ) -> None: ...
    def reserve(self, place: Place, amount: int, budget: int) -> None: ...
    def move_in(self, place: Place, amount: int) -> None: ...
    def fall_short(self, place: Place, amount: int, budget: int) -> None: ...
    def release(self, place: Place, amount: int, budget: int) -> None: ...
    def spend(self, place: Place, amount: int) -> None: ...
    def take_wants(self) -> Mapping[Place, Want]: ...
    def take_changed(self) -> list[Allowance]: ...
    def close_days(self, stream_time_ms: int) -> None: ...
    def state(self, stream_time_ms: int) -> list[Allowance]: ...
    def bidding(self) -> list[bool]: ...
    def has_reserved(self) -> bool: ...


class Allowances:
    """Books of one partition, by campaign and day; only what was received may be spent.

    Parameters
    ----------
    bidding
        For each of the known books, whether the partition bids with it itself; those behind the end count as such.

    Attributes
    ----------
    epoch
        The ledger's, whose grants count.
    """

    def __init__(self, known: Sequence[Allowance] = (), *, epoch: str = "", bidding: Sequence[bool] = ()) -> None:
        self.epoch = epoch
        self._books = {(one.campaign, one.day): one for one in known}
        self._bidding = {place for place, own in zip_longest(self._books, bidding, fillvalue=True) if own}
        self._wants: dict[Place, Want] = {}
        self._changed: dict[Place, Allowance] = {}

    def _book(self, place: Place) -> Allowance:
        book = self._books.get(place)
        if book is None:
            book = self._books[place] = Allowance(*place)
        self._changed[place] = book
        return book

    def free(self, place: Place, budget: int) -> int:
        """Return what may still be reserved; never negative."""
        book = self._books.get(place)
        if book is None:
            return 0
        return max(0, min(budget, _had(book)) - book.spent - book.reserved)

    def begin(self, epoch: str) -> None:
        """Take up another epoch of the ledger, which is to be told of all books."""
        if epoch == self.epoch:
            return
        self.epoch = epoch
        self._wants.clear()
        self._changed.update(self._books)

    def receive(
        self, place: Place, epoch: str, drawn: int, committed: int, *, returned: int = 0, spent: int = 0, moved: int = 0
    ) -> None:
        """Take in that all that was ever drawn is this much; `committed`: by all together.

        `returned`, `spent` and `moved` are what the ledger knows of this book. It knows more only if the book was lost:
        what had been spent of `drawn` is not free then.
        """
        if epoch != self.epoch:
            return
        book = self._book(place)
        book.returned, book.spent = max(book.returned, returned), max(book.spent, spent)
        book.moved = max(book.moved, moved)
        if drawn > book.received:  # a repeated or late record tells of an earlier `committed`
            book.received, book.seen = drawn, committed
            self._bidding.add(place)  # it has asked for it
        self._wants.pop(place, None)

    def reserve(self, place: Place, amount: int, budget: int) -> None:
        """Set aside what a bid can cost; the caller has seen that it is free."""
        book = self._book(place)
        book.reserved += amount
        self._balance(place, book, amount, budget)

    def move_in(self, place: Place, amount: int) -> None:
        """Set aside what a bid can cost that was made over HTTP, out of what was drawn there.

        What is left of it is spent here, or given back to the ledger: `returned` and `spent` may exceed `received`.
        """
        book = self._book(place)
        book.moved += amount
        book.reserved += amount

    def fall_short(self, place: Place, amount: int, budget: int) -> None:
        """Note that a bid was not made because this much was not free."""
        self._balance(place, self._book(place), amount, budget)

    def release(self, place: Place, amount: int, budget: int) -> None:
        """Free what a bid had set aside."""
        book = self._book(place)
        book.reserved = max(0, book.reserved - amount)  # below that, the book was lost in which the bid had reserved it
        self._give_back(place, book, amount, budget)

    def spend(self, place: Place, amount: int) -> None:
        """Book the cost of an impression."""
        self._book(place).spent += amount

    def _slice(self, book: Allowance, amount: int, budget: int) -> int:
        return max(budget // _SLICE_OF, _BIDS_A_SLICE * amount, book.reserved // _RESERVED_PART)

    def _balance(self, place: Place, book: Allowance, amount: int, budget: int) -> None:
        """Ask for more when less than half a slice is free."""
        self._bidding.add(place)
        wanted, free = self._slice(book, amount, budget), _free(book)
        if free < wanted // 2:
            self._wants[place] = Want(wanted - min(free, 0), amount, budget)

    def _give_back(self, place: Place, book: Allowance, amount: int, budget: int) -> None:
        free = _free(book)
        kept = _MOST_SLICES * self._slice(book, amount, budget) if place in self._bidding else 0
        if free > kept:
            book.returned += free - kept // 2
            self._wants.pop(place, None)

    def take_wants(self) -> dict[Place, Want]:
        """Return what was asked for since the last call."""
        wants, self._wants = self._wants, {}
        return wants

    def take_changed(self) -> list[Allowance]:
        """Return the books that changed since the last call."""
        changed, self._changed = self._changed, {}
        return list(changed.values())

    def close_days(self, stream_time_ms: int) -> None:
        """Let go of the books of days long past."""
        for place in closed_before(stream_time_ms, self._books.values()):
            del self._books[place]
            self._bidding.discard(place)

    def state(self, stream_time_ms: int) -> list[Allowance]:
        """Return all books that are open; those of days long past are closed."""
        self.close_days(stream_time_ms)
        return list(self._books.values())

    def bidding(self) -> list[bool]:
        """Return for each of the books of `state` whether the partition has bid with it itself, or wanted to."""
        return [place in self._bidding for place in self._books]

    def has_reserved(self) -> bool:
        """Tell whether something is set aside for bids."""
        return any(book.reserved > 0 for book in self._books.values())


def closed_before(stream_time_ms: int, books: Iterable[Allowance]) -> list[Place]:
    """Return whose books nothing can change any more: of days long past at a stream time, with nothing reserved."""
    oldest = day_of(max(stream_time_ms - _KEPT_DAYS * DAY_MS, 0), 0)
    return [(one.campaign, one.day) for one in books if one.day < oldest and one.reserved <= 0]


def _had(book: Allowance) -> int:
    return book.received + book.moved - book.returned


def _free(book: Allowance) -> int:
    return _had(book) - book.spent - book.reserved
