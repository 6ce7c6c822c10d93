"""A ledger in memory, for tests and for one process; it keeps the same promises as the one in Redis.

It adds everything up each time it is asked: the slow obvious one beside the script.
"""

from __future__ import annotations

import uuid
from collections.abc import Collection, Iterable, Mapping

from streams.budgets.base import HTTP_HOLDER, CampaignDay, Draw, Drawn, Entry, Totals, Want, check_amounts

_NOTHING = Entry(0)


class DictLedger:
    """Keeps everything in dictionaries."""

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        """Forget everything, as a server does that is emptied."""
        self._books: dict[CampaignDay, _Book] = {}
        self._begin()

    def _begin(self) -> None:
        self._epoch = uuid.uuid4().hex
        self._expected: set[str] = set()
        self._registered: set[str] = set()

    def forget_book(self, place: CampaignDay) -> None:
        """Forget one campaign's day."""
        if self._books.pop(place, None) is not None:
            self._begin()

    def forget_epoch(self) -> None:
        """Forget the epoch."""
        self._begin()

    @property
    def _missing(self) -> int:
        return len(self._expected - self._registered) if self._expected else 1

    def _book(self, place: CampaignDay) -> _Book:
        return self._books.setdefault(place, _Book())

    async def draw(self, holder: str, epoch: str, wants: Mapping[CampaignDay, Want]) -> Draw:
        _check(wants.items())
        if epoch != self._epoch or self._missing:
            return Draw(self._epoch, self._missing, {})
        return Draw(epoch, 0, {place: self._book(place).draw(holder, want) for place, want in wants.items()})

    async def report(self, holder: str, entries: Mapping[CampaignDay, Entry]) -> None:
        _check(entries.items())
        for place, entry in entries.items():
            self._book(place).learn(holder, entry)

    async def register(
        self, holder: str, epoch: str, entries: Mapping[CampaignDay, Entry], *, expected: Collection[str]
    ) -> Draw:
        _check(entries.items())
        if epoch != self._epoch:
            return Draw(self._epoch, self._missing, {})
        waiting = self._missing > 0
        await self.report(holder, entries)
        for place, entry in entries.items() if waiting else ():
            self._book(place).seen = max(self._book(place).seen, entry.seen)
        self._expected |= set(expected)
        self._registered |= {holder} & self._expected
        return Draw(self._epoch, self._missing, {})

    async def spent_total(self, campaign: str, day: str) -> int:
        book = self._books.get(CampaignDay(campaign, day))
        return book.totals.spent if book else 0

    async def totals(self, day: str) -> dict[str, Totals]:
        return {place.campaign: book.totals for place, book in self._books.items() if place.day == day}

    async def close(self) -> None:
        """Nothing to let go of."""


def _check(amounts: Iterable[tuple[CampaignDay, Want | Entry]]) -> None:
    for place, one in amounts:
        check_amounts(place, one)


class _Book:
    """One campaign's day.

    Attributes
    ----------
    seen
        What all had committed when a partition last heard of it, in the epoch before.
    unknown
        What HTTP holders had drawn, as far as none of them has named it since.
    """

    def __init__(self) -> None:
        self.entries: dict[str, Entry] = {}
        self.budget = self.seen = self.unknown = 0

    @property
    def named(self) -> int:
        return sum(max(one.received - one.returned, one.spent - one.moved) for one in self.entries.values())

    @property
    def moved_from_nowhere(self) -> int:
        # At most 0 until something is lost: only what an HTTP holder has drawn and keeps moves.
        drawn = sum(_kept(one) for holder, one in self.entries.items() if holder.startswith(HTTP_HOLDER))
        return sum(one.moved for one in self.entries.values()) - drawn

    @property
    def committed(self) -> int:
        return self.named + max(self.unknown, self.moved_from_nowhere)

    @property
    def totals(self) -> Totals:
        return Totals(self.budget, self.committed, sum(one.spent for one in self.entries.values()))

    def learn(self, holder: str, told: Entry) -> None:
        known = self.entries.get(holder, _NOTHING)
        mine = self.entries[holder] = Entry(*map(max, known, told))._replace(seen=0)
        if holder.startswith(HTTP_HOLDER):
            self.unknown = max(0, self.unknown - max(0, _kept(mine) - _kept(known)))

    def draw(self, holder: str, want: Want) -> Drawn:
        self.budget = want.budget
        mine = self.entries.get(holder, _NOTHING)
        mine = self.entries[holder] = mine._replace(received=max(mine.received, want.received))
        self.unknown, self.seen = max(self.unknown, self.seen - self.named, self.moved_from_nowhere), 0
        knows_less = mine.received > want.received
        granted = 0 if knows_less else self._grant(mine, want)
        self.entries[holder] = mine._replace(received=mine.received + granted)
        left = max(0, want.budget - self.committed)
        known = (mine.returned, mine.spent, mine.moved) if knows_less else ()
        return Drawn(mine.received + granted, granted, self.committed, left, *known)

    def _grant(self, mine: Entry, want: Want) -> int:
        left = want.budget - self.committed
        if left <= 0:
            return 0
        others = sum(_kept(one) + one.moved > one.spent for one in self.entries.values() if one is not mine)
        # What it spent above what it had is committed already, so that much costs nothing.
        overdrawn = max(0, mine.spent - mine.moved - _kept(mine))
        return min(want.micros, overdrawn + min(left, max(want.unit, left // (2 * (others + 1)))))


def _kept(one: Entry) -> int:
    return one.received - one.returned
