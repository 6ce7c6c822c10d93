"""Writes to the log behind answers that have been given.

A page that need not know that its answer stands in the log is not kept waiting for the broker. What was answered is
written some milliseconds later, again and again while Kafka is away. What a killed process has not written is lost.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence

from streams.logs import log_event
from streams.runner import Attempt
from streams.stores import Unavailable

logger = logging.getLogger("streamscore.answers")

MOST_WAITING = 1000
# A few answers share a request to the broker.
_GATHER_S = 0.01
_STOP_S = 5.0

Answered = tuple[str, bytes]


class Behind:
    """The answers that are not in the log yet.

    Parameters
    ----------
    publish
        Writes events (user, value) to the log; raises Unavailable.
    attempt
        Repeats a step while it raises Unavailable.

    Attributes
    ----------
    flows
        Whether the log took the last answer that it was given. Until it does, answers had better wait for it.
    """

    def __init__(self, publish: Callable[[Sequence[Answered]], Awaitable[object]], attempt: Attempt) -> None:
        self.flows = True
        self._publish = publish
        self._attempt = attempt
        self._waiting: list[Answered] = []
        self._under_way: list[Answered] = []
        self._writing: asyncio.Task[None] | None = None

    def __len__(self) -> int:
        return len(self._waiting) + len(self._under_way)

    def write(self, user_id: str, value: bytes) -> None:
        """Write an answer soon; raises Unavailable if too many wait."""
        if len(self) >= MOST_WAITING:
            raise Unavailable(f"{MOST_WAITING} answers wait to be written to Kafka")
        self._waiting.append((user_id, value))
        if self._writing is None:
            self._writing = asyncio.create_task(self._write_all())

    async def _write_all(self) -> None:
        try:
            while self._waiting:
                await asyncio.sleep(_GATHER_S)
                self._under_way, self._waiting = self._waiting, []
                await self._write(self._under_way)
                self._under_way = []
        finally:
            self._writing = None

    async def _write(self, some: Sequence[Answered]) -> None:
        try:
            await self._attempt(lambda: self._publish(some), "write answers")
        except Exception as refused:
            if len(some) > 1:  # it may be one of them
                for one in some:
                    await self._write([one])
                return
            self.flows = False
            log_event(logger, logging.ERROR, "an answer that was given is not in the log", why=repr(refused))

    async def stop(self, limit_s: float = _STOP_S) -> None:
        """Write what is left; what the log does not take within the limit is lost."""
        writing = self._writing
        if writing is None:
            return
        await asyncio.wait([writing], timeout=limit_s)
        if not writing.done():
            log_event(logger, logging.ERROR, "answers that were given are not in the log", answers=len(self))
            writing.cancel()
            await asyncio.wait([writing])
