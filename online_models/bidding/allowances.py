"""What a partition may spend: its part of each campaign-day's budget, reserved by bids and settled by notices.

The ledger (`streams.budgets`) hands out parts of the budget; what has been handed out is never handed out again. A bid
reserves the most that it can cost before it is published, and is not made if that is more than what is left. So the
sum of what all partitions spend and may still have to pay stays within the budget, whoever crashes when: this state
is stored with the offset of the event that changed it, in one atomic write.

Who asks for more and who gives back is decided here as well, by nothing but the log, so that a replay decides the same.
What is free stays only where the partition itself bids with it. If requests come over HTTP only, all that is left of
their bids goes back as soon as they are settled, since the processes that answer draw from the ledger alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple, Protocol

from online_models.bidding.campaigns import DAY_MS, day_of
from schemas.codec import MAX_AHEAD_MS
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
# Who has not bid for so long, in stream time, gives back all that is free. A visitor whose clock is fast moves stream
# time on by `MAX_AHEAD_MS` at once; that alone must not make anything idle.
_IDLE_MS = 2 * MAX_AHEAD_MS
# To the minute, so that all books are looked through once a minute at most.
_USED_TO_MS = 60_000
_NEVER_MS, _NEVER_USED_MS = 1 << 62, -_IDLE_MS
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
    def at(self, stream_time_ms: int) -> None: ...
    def free(self, place: Place, budget: int) -> int: ...
    def begin(self, epoch: str) -> None: ...
    def receive(self, place: Place, epoch: str, drawn: int, committed: int) -> None: ...
    def reserve(self, place: Place, amount: int, budget: int) -> None: ...
    def move_in(self, place: Place, amount: int) -> None: ...
    def fall_short(self, place: Place, amount: int, budget: int) -> None: ...
    def release(self, place: Place, amount: int, budget: int) -> None: ...
    def spend(self, place: Place, amount: int) -> None: ...
    def take_wants(self) -> Mapping[Place, Want]: ...
    def take_changed(self) -> list[Allowance]: ...
    def close_days(self, stream_time_ms: int) -> None: ...
    def state(self, stream_time_ms: int) -> list[Allowance]: ...
    def used_ms(self) -> list[int]: ...


class Allowances:
    """Books of one partition, by campaign and day; only what was received may be spent.

    Attributes
    ----------
    epoch
        The ledger's, whose grants count.
    now_ms
        Stream time; to be set where books go on that were stored.
    """

    def __init__(
        self, known: Sequence[Allowance] = (), *, epoch: str = "", used_ms: Sequence[int] = (), now_ms: int = 0
    ) -> None:
        self.epoch = epoch
        self.now_ms = now_ms
        self._books = {(one.campaign, one.day): one for one in known}
        self._used_ms = dict(zip(self._books, used_ms, strict=False))
        self._wants: dict[Place, Want] = {}
        self._changed: dict[Place, Allowance] = {}
        # Not later than the first moment at which something that is free has been idle for long enough; and where it
        # has been already. A process that starts anew looks at all, and finds the same.
        self._idle_from_ms = 0
        self._left: dict[Place, None] = {}

    def _book(self, place: Place) -> Allowance:
        book = self._books.get(place)
        if book is None:
            book = self._books[place] = Allowance(*place)
        self._changed[place] = book
        return book

    def at(self, stream_time_ms: int) -> None:
        """Take note of the stream time, before anything that happens then; what is idle by then goes back."""
        self.now_ms = stream_time_ms
        if self._left or stream_time_ms >= self._idle_from_ms:
            self._give_back_idle()

    def _give_back_idle(self) -> None:
        places: Iterable[Place] = self._left
        if self.now_ms >= self._idle_from_ms:
            places, self._idle_from_ms = self._books, _NEVER_MS
        for place in places:
            book = self._books[place]
            free = _free(book)
            if free <= 0:
                continue
            if self._is_used(place):
                self._idle_from_ms = min(self._idle_from_ms, self._used_ms[place] + _IDLE_MS)
            else:
                self._changed[place] = book
                self._return(place, book, free)
        self._left.clear()

    def _is_used(self, place: Place) -> bool:
        return self.now_ms - self._used_ms.get(place, _NEVER_USED_MS) < _IDLE_MS

    def _use(self, place: Place) -> None:
        used_ms = self._used_ms[place] = self.now_ms - self.now_ms % _USED_TO_MS
        self._idle_from_ms = min(self._idle_from_ms, used_ms + _IDLE_MS)

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

    def receive(self, place: Place, epoch: str, drawn: int, committed: int) -> None:
        """Take in that all that was ever drawn is this much; `committed`: by all together."""
        if epoch != self.epoch:
            return
        book = self._book(place)
        if drawn > book.received:  # a repeated or late record tells of an earlier `committed`
            book.received, book.seen = drawn, committed
            self._use(place)
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
        book.reserved -= amount
        self._give_back(place, book, amount, budget)

    def spend(self, place: Place, amount: int) -> None:
        """Book the cost of an impression."""
        self._book(place).spent += amount

    def _slice(self, book: Allowance, amount: int, budget: int) -> int:
        return max(budget // _SLICE_OF, _BIDS_A_SLICE * amount, book.reserved // _RESERVED_PART)

    def _balance(self, place: Place, book: Allowance, amount: int, budget: int) -> None:
        """Ask for more when less than half a slice is free."""
        self._use(place)
        wanted, free = self._slice(book, amount, budget), _free(book)
        if free < wanted // 2:
            self._wants[place] = Want(wanted - min(free, 0), amount, budget)

    def _give_back(self, place: Place, book: Allowance, amount: int, budget: int) -> None:
        if not self._is_used(place):
            self._left[place] = None  # all of it goes as stream time moves on
            return
        free, kept = _free(book), _MOST_SLICES * self._slice(book, amount, budget)
        if free > kept:
            self._return(place, book, free - kept // 2)

    def _return(self, place: Place, book: Allowance, amount: int) -> None:
        book.returned += amount
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
            self._used_ms.pop(place, None)
            self._left.pop(place, None)

    def state(self, stream_time_ms: int) -> list[Allowance]:
        """Return all books that are open; those of days long past are closed."""
        self.close_days(stream_time_ms)
        return list(self._books.values())

    def used_ms(self) -> list[int]:
        """Return when each of the books of `state` was last used, stream time; 0: never."""
        return [self._used_ms.get(place, 0) for place in self._books]


def closed_before(stream_time_ms: int, books: Iterable[Allowance]) -> list[Place]:
    """Return whose books nothing can change any more: of days long past at a stream time, with nothing reserved."""
    oldest = day_of(max(stream_time_ms - _KEPT_DAYS * DAY_MS, 0), 0)
    return [(one.campaign, one.day) for one in books if one.day < oldest and one.reserved <= 0]


def _had(book: Allowance) -> int:
    return book.received + book.moved - book.returned


def _free(book: Allowance) -> int:
    return _had(book) - book.spent - book.reserved
