"""The clerk: goes between the ledger and the partitions of a worker, and writes into their logs what they may spend.

A partition's core asks for nothing but by what it says at a step's end, and learns of nothing but by records. So:

- what it wants was stored with its state, and is drawn from the ledger; the answer is written to its log;
- what it received, gave back and spent is reported as it was stored, never as it stands in memory: a process that has
  lost the partition without knowing must not report what nobody will ever know;
- a campaign that was changed is written to its log;
- if the ledger has begun another epoch, that is written to the log first, and the partition is registered with a state
  that was stored after it.

Each step may be repeated: totals only grow, and a partition passes over what it knows. The records are written in the
stream time of the partition, which they do not move on.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

from schemas.codec import MIN_TS_MS, encode_json
from schemas.events import BudgetGranted, CampaignSet, LedgerBegun, SystemEvent
from streams.budgets.base import CampaignDay, Ledger, Want
from streams.budgets.books import Books
from streams.campaign_feed import CampaignFeed, Told
from streams.logs import log_event
from streams.out_records import OutRecord
from streams.stores import PartitionId, Unavailable

if TYPE_CHECKING:
    from streams.app import Worker

logger = logging.getLogger("streamscore.budgets")

# What was spent is told this often, and where nothing was left it is asked again; whoever wants money asks at once.
_REPORT_S = _REFUSED_S = 1.0
# How soon a partition that wants nothing hears of another epoch of the ledger.
_ASK_S = 2.0
# What was written is looked for in the log for so long, then written again.
_PATIENCE_S = 10.0


class Bidding(Protocol):
    """A partition that bids, as the clerk sees it."""

    @property
    def partition(self) -> PartitionId: ...
    @property
    def books(self) -> Books | None: ...

    def campaign_version(self, name: str) -> int: ...
    @property
    def stream_time_ms(self) -> int: ...


Write = Callable[[PartitionId, Sequence[SystemEvent]], Awaitable[None]]


class _Desk:
    """What the clerk has done for one partition, since this worker has it."""

    def __init__(self, partition: Bidding, books: Books) -> None:
        self.partition = partition
        self.books = books
        self.registered = ""
        self.asked_at = 0.0
        self.refused: dict[CampaignDay, float] = {}
        self.written: dict[object, float] = {}

    def is_new(self, what: object, now: float) -> bool:
        """Tell whether something was not written lately."""
        return now - self.written.get(what, -_PATIENCE_S) >= _PATIENCE_S


class Clerk:
    """Serves the partitions that a worker has.

    Parameters
    ----------
    expected
        Names of all partitions of `events`.
    partitions
        Returns those that this worker has at the moment.
    campaigns
        By name, what the topic told last.
    write
        Writes events to the end of a partition.
    """

    def __init__(
        self,
        ledger: Ledger,
        *,
        expected: Sequence[str],
        partitions: Callable[[], Sequence[Bidding]],
        campaigns: Mapping[str, Told],
        write: Write,
        clock: Callable[[], float],
    ) -> None:
        self._ledger = ledger
        self._expected = expected
        self._partitions = partitions
        self._campaigns = campaigns
        self._write = write
        self._clock = clock
        self._desks: dict[PartitionId, _Desk] = {}
        self._is_away = False

    async def round(self) -> None:
        """Serve each partition once; while the ledger or the broker is away, nothing is lost by coming again."""
        present = self._partitions()
        for partition in present:
            known = self._desks.get(partition.partition)
            if partition.books is not None and (known is None or known.partition is not partition):
                self._desks[partition.partition] = _Desk(partition, partition.books)
        held = {one.partition for one in present}
        self._desks = {place: desk for place, desk in self._desks.items() if place in held}
        served = None
        try:
            for place, desk in list(self._desks.items()):
                served = place
                await self._serve(desk)
        except Unavailable as error:
            if served is not None:  # it may be away for this one only: the others go first then
                self._desks[served] = self._desks.pop(served)
            if not self._is_away:
                log_event(logger, logging.WARNING, "budgets wait for what is away", why=str(error))
            self._is_away = True
        else:
            self._is_away = False

    async def _serve(self, desk: _Desk) -> None:
        await self._tell_campaigns(desk)
        books, now = desk.books, self._clock()
        epoch, since_s = books.epoch, now - desk.asked_at
        wants = {} if desk.registered != epoch else self._wants(desk, now)
        if not wants and desk.registered == epoch and since_s < (_REPORT_S if books.changed else _ASK_S):
            return
        holder = str(desk.partition.partition)
        await self._report(holder, books)
        desk.asked_at = now
        answer = await self._ledger.draw(holder, epoch, wants)
        if answer.epoch != epoch:
            await self._once(desk, answer.epoch, [LedgerBegun(ts=_ts(desk), epoch=answer.epoch)], now)
            return
        if desk.registered != epoch or answer.missing:
            entries = {place: books.entry(place) for place in books.entries}
            registered = await self._ledger.register(holder, epoch, entries, expected=self._expected)
            desk.registered = epoch if registered.epoch == epoch else ""
            return
        for place, drawn in answer.drawn.items():
            if drawn.total > books.entry(place).received:
                granted = BudgetGranted(
                    ts=_ts(desk),
                    campaign=place.campaign,
                    day=place.day,
                    epoch=epoch,
                    drawn=drawn.total,
                    committed=drawn.committed,
                    returned=drawn.returned,
                    spent=drawn.spent,
                    moved=drawn.moved,
                )
                await self._once(desk, (place, epoch, drawn.total), [granted], now)
            elif not drawn.granted:
                desk.refused[place] = now
            books.wants.pop(place, None)  # if more was wanted meanwhile, the next bid says so again

    def _wants(self, desk: _Desk, now: float) -> dict[CampaignDay, Want]:
        """Return what to ask for, unless a grant is on its way through the log, or nothing was left just now."""
        books, wants = desk.books, {}
        for place, want in books.wants.items():
            if now - desk.refused.get(place, now - _REFUSED_S) < _REFUSED_S:
                continue
            received = books.entry(place).received
            pending = [key for key in desk.written if isinstance(key, tuple) and key[:2] == (place, books.epoch)]
            if any(key[2] > received and not desk.is_new(key, now) for key in pending):
                continue
            wants[place] = Want(want.amount, want.least, want.budget, received)
        return wants

    async def _report(self, holder: str, books: Books) -> None:
        changed, books.changed = books.changed, set()
        if not changed:
            return
        try:
            await self._ledger.report(holder, {place: books.entry(place) for place in changed})
        except Unavailable:
            books.changed |= changed
            raise

    async def _tell_campaigns(self, desk: _Desk) -> None:
        now = self._clock()
        for name, told in list(self._campaigns.items()):
            if told.version > desk.partition.campaign_version(name):
                event = CampaignSet(ts=_ts(desk), campaign=name, version=told.version, declaration=told.campaign)
                await self._once(desk, (name, told.version), [event], now)

    async def _once(self, desk: _Desk, what: object, events: Sequence[SystemEvent], now: float) -> None:
        """Write something, unless it was written a moment ago."""
        if desk.is_new(what, now):
            await self._write(desk.partition.partition, events)
            desk.written = {key: at for key, at in desk.written.items() if now - at < _PATIENCE_S} | {what: now}


def _ts(desk: _Desk) -> int:
    return max(desk.partition.stream_time_ms, MIN_TS_MS)


def open_clerk(worker: Worker, ledger: Ledger, campaigns: CampaignFeed) -> Clerk:
    """Return the clerk of the partitions that a worker will have."""
    events = worker.settings.topics.events.name

    async def write(partition: PartitionId, told: Sequence[SystemEvent]) -> None:
        records = [OutRecord(None, encode_json(one)) for one in told]
        await worker.output.publish({(partition.topic, partition.partition): records})

    return Clerk(
        ledger,
        expected=[str(PartitionId(events, number)) for number in range(worker.partitions[events])],
        partitions=lambda: list(worker.sessions.values()),
        campaigns=campaigns.campaigns,
        write=write,
        clock=time.monotonic,
    )
