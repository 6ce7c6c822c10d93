"""Lets several callers publish to one partition in one batch.

The producer has one batch at a time under way to a partition. All partitions of `events` have their examples on the
same one, so each would wait for every other's round trip in turn. Here whoever comes while a batch is under way
waits, and all who wait go together in the next: at most two round trips, and fewer requests the more there is to do.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

from aiokafka.errors import MessageSizeTooLargeError

if TYPE_CHECKING:
    from streams.output import OutRecord


class _Waiting(NamedTuple):
    records: Sequence[OutRecord]
    end: asyncio.Future[int]

    def size(self) -> int:
        return sum(len(one.value or b"") + len(one.key or b"") for one in self.records)


class GroupCommit:
    """The line before one partition.

    Parameters
    ----------
    send
        Publishes records, waits for the acknowledgement and returns the offset behind the last one.
    most_bytes
        Of keys and values that go together; what is larger goes alone.
    """

    def __init__(self, send: Callable[[Sequence[OutRecord]], Awaitable[int]], *, most_bytes: int) -> None:
        self._send = send
        self._most_bytes = most_bytes
        self._waiting: list[_Waiting] = []
        self._busy = False
        self._draining: asyncio.Task[None] | None = None

    async def publish(self, records: Sequence[OutRecord]) -> int:
        """Return the offset behind the last of the records; raises what `send` raised for them."""
        if self._busy:
            waiting = _Waiting(records, asyncio.get_running_loop().create_future())
            self._waiting.append(waiting)
            return await waiting.end
        self._busy = True
        try:
            return await self._send(records)
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
        """Take those that fit into one batch, in the order in which they came."""
        group = [self._waiting.pop(0)]
        size = group[0].size() if self._waiting else 0
        while self._waiting and (size := size + self._waiting[0].size()) <= self._most_bytes:
            group.append(self._waiting.pop(0))
        return group

    async def _send_for(self, group: list[_Waiting]) -> None:
        group = [one for one in group if not one.end.done()]  # whoever was cancelled wants nothing any more
        if not group:
            return
        try:
            end = await self._send([record for one in group for record in one.records])
        except MessageSizeTooLargeError as fault:
            if len(group) == 1:
                _fail(group, fault)
                return
            for one in group:  # it is one of them; the others are to get through
                await self._send_for([one])
        except BaseException as fault:
            _fail(group, fault)
            if not isinstance(fault, Exception):
                raise
        else:
            for one in reversed(group):
                if not one.end.done():
                    one.end.set_result(end)
                end -= len(one.records)


def _fail(group: Sequence[_Waiting], fault: BaseException) -> None:
    for one in group:
        if one.end.done():
            continue
        if isinstance(fault, asyncio.CancelledError):
            one.end.cancel()
        else:
            one.end.set_exception(fault)
