"""Models that are far behind the others of their partition of `examples` read on beside them, until they join them.

A challenger or an objective that was added has read nothing, and all models of a partition share one reader. Were that
one led back for it, nothing of the partition would be learned, published or judged until months were read again. So
the others go on from where they stood, and a reader of its own brings those that are behind to where they are.

- What a model becomes does not depend on it: each learns the examples of its objective in the order of the log.
- Both readers take turns, portion by portion, and this one rests after each for as long as it took, so that half of the
  time is left to the others and to scoring. Should the others need more than that, they come first, and who is behind
  joins them when there is less to do.
- Checkpoints are written as always, so a learner that is opened again goes on where the last one had come to.

Refused: having those begin at the end of what the others have read for which the log seems to hold nothing. Where
workers are exchanged one after the other, scorers have written examples for them before their learner comes, and
looking for those is reading the log. Records with another objective's key are passed over unread instead.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Collection, Sequence
from contextlib import aclosing, suppress
from typing import Protocol

from online_models.records import Record
from streams.cancelling import cancel_until_done
from streams.example_log import ExampleLog
from streams.logs import log_event
from streams.runner import Attempt
from streams.stores import Fenced

logger = logging.getLogger("streamscore.learner")

# Records that are learned in one go: two or three milliseconds, for which the others wait.
_PORTION = 100
# The log has ended before the place of the others: it was cut off, which they will notice, or the broker is late.
_AGAIN_S = 1.0
# A part of the time that giving a partition up may take, for what was learned is to be saved within it too. The topic
# may be away just then.
_STOP_S = 2.0


class Learning(Protocol):
    """What is asked of a learner's session here."""

    @property
    def next_offset(self) -> int:
        """Where the others read on."""

    @property
    def behind(self) -> Collection[str]:
        """Names of the models that are to catch up; none once they have."""

    @property
    def behind_offset(self) -> int:
        """Where they read on."""

    async def learn_behind(self, position: int, records: Sequence[Record]) -> bool:
        """Have them learn what was read from a position on; called while nothing else is learned.

        False: read no further from there; they have caught up, or the log has begun anew.
        """


class CatchUp:
    """Reads, in a task, what models have missed that are behind.

    Parameters
    ----------
    log
        Read with a consumer of its own.
    busy
        Held while something is learned.
    """

    def __init__(
        self, session: Learning, partition: int, *, log: ExampleLog, attempt: Attempt, busy: asyncio.Lock
    ) -> None:
        self._session = session
        self._partition = partition
        self._log = log
        self._attempt = attempt
        self._busy = busy
        self._task: asyncio.Task[None] | None = None
        self._ending = asyncio.Event()

    def start(self, *, on_fenced: Callable[[], None], on_failure: Callable[[BaseException], None]) -> None:
        """Begin to read.

        Parameters
        ----------
        on_fenced
            Called when another owner was found; must arrange for the partition to be taken up anew.
        on_failure
            Called with an error that is our own fault; must end the worker.
        """
        self._task = asyncio.create_task(self._run(on_fenced, on_failure), name=f"catch up on {self._partition}")

    async def stop(self) -> None:
        """End between two portions, if that is soon: what is learned and not published is not saved.

        A consumer that is cancelled while it starts or stops leaves its connections open; it needs half a second.
        """
        self._ending.set()
        if self._task is not None:
            await asyncio.wait([self._task], timeout=_STOP_S)
            await cancel_until_done([self._task])

    async def _run(self, on_fenced: Callable[[], None], on_failure: Callable[[BaseException], None]) -> None:
        try:
            await self.read()
        except Fenced as fenced:
            log_event(
                logger, logging.WARNING, "partition has another owner", partition=self._partition, why=str(fenced)
            )
            on_fenced()
        except Exception as error:  # our own fault, whatever it is
            fields = {"fields": {"partition": self._partition}}
            logger.error("catching up failed, the worker stops", exc_info=error, extra=fields)
            on_failure(error)

    async def read(self) -> None:
        """Read until all have caught up, or it is stopped; raises Fenced."""
        session, names = self._session, sorted(self._session.behind)
        log_event(
            logger,
            logging.INFO,
            "models that are far behind catch up; the others go on meanwhile",
            objectives=names,
            read_to=session.behind_offset,
            others=session.next_offset,
        )
        while session.behind and not self._ending.is_set():
            before = session.behind_offset
            await self._attempt(self._read_on, "read the examples that models have missed")
            if session.behind and session.behind_offset == before:
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._ending.wait(), _AGAIN_S)
        if not session.behind:
            log_event(logger, logging.INFO, "models have caught up", objectives=names, read_to=session.behind_offset)

    async def _read_on(self) -> None:
        """Read to the log's end as it is now, or until the others are reached."""
        position = self._session.behind_offset
        async with aclosing(self._log.rest(self._partition, position)) as rest:
            async for records in rest:
                for first in range(0, len(records), _PORTION):
                    portion = records[first : first + _PORTION]
                    if self._ending.is_set():
                        return
                    async with self._busy:
                        began = time.perf_counter()
                        if not await self._session.learn_behind(position, portion):
                            return
                        took = time.perf_counter() - began
                    position = portion[-1].offset + 1
                    await asyncio.sleep(took)
