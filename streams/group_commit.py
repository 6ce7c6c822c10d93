"""Lets several callers publish to one broker in one request.

One request at a time is under way to a broker. Who comes meanwhile waits here, and all who wait go
together in the next one, whatever partitions they write to: nobody waits for more than two round trips, and there are
fewer requests the more there is to do.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from typing import NamedTuple

from aiokafka.errors import MessageSizeTooLargeError

from streams.out_records import Batches, Outcomes, OutRecord, Place, Written


class _Waiting(NamedTuple):
    batches: Batches
    outcomes: asyncio.Future[Outcomes]

    def sizes(self) -> dict[Place, int]:
        return {
            where: sum(len(one.value or b"") + len(one.key or b"") for one in records)
            for where, records in self.batches.items()
        }


class GroupCommit:
    """The line before one broker.

    Parameters
    ----------
    send
        Publishes records by place, of each at least a beginning, and waits for the acknowledgements; faults are
        outcomes, it raises none.
    most_bytes
        Of keys and values that go together to one place; what is larger goes alone.
    """

    def __init__(self, send: Callable[[Batches], Awaitable[Outcomes]], *, most_bytes: int) -> None:
        self._send = send
        self._most_bytes = most_bytes
        self._waiting: list[_Waiting] = []
        self._busy = False
        self._draining: asyncio.Task[None] | None = None

    async def publish(self, batches: Batches) -> Outcomes:
        """Return by place how many of the records were written, or the fault."""
        if self._busy:
            waiting = _Waiting(batches, asyncio.get_running_loop().create_future())
            self._waiting.append(waiting)
            return await waiting.outcomes
        self._busy = True
        try:
            return await self._send(batches)
        finally:
            self._let_others()

    def _let_others(self) -> None:
        self._busy = bool(self._waiting)
        if self._busy:
            self._draining = asyncio.ensure_future(self._drain())

    async def _drain(self) -> None:
        try:
            while self._waiting:
                await self._send_for(self._next_group())
        finally:
            self._let_others()

    def _next_group(self) -> list[_Waiting]:
        """Take those of whom each place can take all at once, in the order in which they came."""
        group = [self._waiting.pop(0)]
        sizes = Counter(group[0].sizes() if self._waiting else {})
        while self._waiting:
            more = self._waiting[0].sizes()
            if any(where in sizes and sizes[where] + size > self._most_bytes for where, size in more.items()):
                break
            sizes.update(more)
            group.append(self._waiting.pop(0))
        return group

    async def _send_for(self, group: list[_Waiting]) -> None:
        group = [one for one in group if not one.outcomes.done()]  # whoever was cancelled wants nothing any more
        if not group:
            return
        try:
            found = _shared_out(await self._send(_joined(group)), group)
            if len(group) > 1:
                await self._part(group, found)
        except BaseException as fault:
            for one in group:
                if not one.outcomes.done():
                    _end(one.outcomes, fault)
            if not isinstance(fault, Exception):
                raise
        else:
            for one, outcomes in zip(group, found, strict=True):
                if not one.outcomes.done():
                    one.outcomes.set_result(outcomes)

    async def _part(self, group: list[_Waiting], found: list[Outcomes]) -> None:
        """Send alone what did not get through because of a record that is too large; it is one of them."""
        writers = Counter(where for one in group for where in one.batches)
        for one, outcomes in zip(group, found, strict=True):
            for where, outcome in outcomes.items():
                if writers[where] > 1 and isinstance(outcome, MessageSizeTooLargeError):
                    outcomes |= await self._send({where: one.batches[where]})


def _end(outcomes: asyncio.Future[Outcomes], fault: BaseException) -> None:
    if isinstance(fault, asyncio.CancelledError):
        outcomes.cancel()
    else:
        outcomes.set_exception(fault)


def _joined(group: Sequence[_Waiting]) -> Batches:
    if len(group) == 1:
        return group[0].batches
    joined: dict[Place, list[OutRecord]] = {}
    for one in group:
        for where, records in one.batches.items():
            joined.setdefault(where, []).extend(records)
    return joined


def _shared_out(outcomes: Outcomes, group: Sequence[_Waiting]) -> list[Outcomes]:
    """Return what of the outcomes is whose."""
    left = dict(outcomes)
    found: list[Outcomes] = []
    for one in group:
        found.append({})
        for where, records in one.batches.items():
            outcome = left[where]
            if isinstance(outcome, Written):
                count = min(len(records), outcome.records)
                rest = outcome.records - count
                found[-1][where] = Written(outcome.end - rest, count)
                left[where] = Written(outcome.end, rest)
            else:
                found[-1][where] = outcome
    return found
