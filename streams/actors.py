"""One actor for each owned partition: strictly in order within it, overlapping with the others.

A Faust agent hands chunks over and returns at once; here they wait in the partition's queue, which
the transport bounds, since it hands out no more than a few chunks before one is acknowledged.

Three kinds of fault, three consequences:

- a bad record is a dead letter, decided inside the step;
- a dependency that is away (`Unavailable`): the one I/O step is repeated with back-off, the
  partition waits, the others go on as far as they can;
- anything else is our own fault: nothing is acknowledged, and the worker ends with an error, to
  start again from what is stored.

`Fenced` means that another worker has taken the partition: what is held here is dropped.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Generic, Protocol, TypeVar

from streams import garbage
from streams.cancelling import cancel_until_done
from streams.logs import log_event
from streams.stores import Fenced

logger = logging.getLogger("streamscore.actors")

# After this long a revoked partition's batch is left to the fence: its late write will be refused.
_STOP_SECONDS = 5.0


class Chunk(Protocol):
    """What the transport hands over."""

    @property
    def partition(self) -> int: ...
    def acknowledge(self) -> bool: ...


C = TypeVar("C", bound=Chunk)


class Actor(Generic[C]):
    """Works through the chunks of one partition.

    Parameters
    ----------
    name
        The partition, for logs.
    work
        Processes one chunk. Returning means that the next may begin, and that its effects are stored: at once with
        None, else when what it returns is done.
    on_fenced
        Called when another owner was found; must arrange for the partition to be taken up anew.
    on_failure
        Called with an error that is our own fault; must end the worker.
    join
        Takes the second of two chunks, which came next, into the first if they are to go together. What has come during
        the work on a batch is then the next batch: small when idle, large under load.
    admit
        Awaited before the work on a chunk begins; whoever stops the actor meanwhile does not wait for it.
    """

    def __init__(
        self,
        name: str,
        work: Callable[[C], Awaitable[asyncio.Future[None] | None]],
        *,
        on_fenced: Callable[[], None],
        on_failure: Callable[[BaseException], None],
        join: Callable[[C, C], bool] | None = None,
        admit: Callable[[C], Awaitable[None]] | None = None,
    ) -> None:
        self.name = name
        self._work = work
        self._on_fenced = on_fenced
        self._on_failure = on_failure
        self._admit = admit
        self._join = join
        self._queue: deque[C] = deque()
        self._come = asyncio.Event()
        self._storing: asyncio.Future[None] | None = None
        self._failed: asyncio.Future[None] | None = None
        self._task = asyncio.create_task(self._run(), name=f"partition {name}")

    def put(self, chunk: C) -> None:
        """Queue a chunk; the transport bounds how many can wait."""
        self._queue.append(chunk)
        self._come.set()

    async def stop(self) -> None:
        """Let the chunk at hand come to its end, if it does soon, and drop the rest."""
        self._queue.clear()
        self._stopping = True
        if self._idle:
            self._task.cancel()
        if self._stop_by is None:  # who is told again has no more time
            self._stop_by = asyncio.get_running_loop().time() + _STOP_SECONDS
        done = await _ended_by(self._stop_by, self._task) and await _ended_by(self._stop_by, self._storing)
        if not done:
            log_event(logger, logging.WARNING, "partition did not come to rest, left to the fence", partition=self.name)
            await cancel_until_done([self._task])
            if self._storing is not None:  # asked now: the task may have begun a write meanwhile
                await cancel_until_done([self._storing])

    _stopping = False
    _stop_by: float | None = None
    _idle = False

    async def _next(self) -> C:
        while True:
            if self._failed is not None:
                self._failed.result()
            if self._queue:
                break
            garbage.look_when_quiet()
            self._come.clear()
            await self._come.wait()
        chunk = self._queue.popleft()
        if self._join is not None:
            while self._queue and self._join(chunk, self._queue[0]):
                self._queue.popleft()
        return chunk

    async def _run(self) -> None:
        while not self._stopping:
            self._idle = True
            try:
                chunk = await self._next()
                if self._admit is not None:
                    await self._admit(chunk)
                self._idle = False
                storing = await self._work(chunk)
            except Fenced as fenced:
                self._note(fenced)
                self._on_fenced()
                return
            except asyncio.CancelledError:
                raise
            except Exception as error:  # our own fault, whatever it is
                self._tell(error)
                return
            if storing is None:
                chunk.acknowledge()
            else:
                self._storing = storing
                storing.add_done_callback(partial(self._stored, chunk))

    def _stored(self, chunk: C, storing: asyncio.Future[None]) -> None:
        if storing.cancelled():
            return
        error = storing.exception()
        if error is None:
            chunk.acknowledge()
            return
        self._failed = storing
        self._come.set()
        if self._task.done() or (self._stopping and self._idle):  # nothing will come upon it
            if isinstance(error, Fenced):
                self._note(error)
            else:
                self._tell(error)

    def _note(self, fenced: Fenced) -> None:
        log_event(logger, logging.WARNING, "partition has another owner", partition=self.name, why=str(fenced))

    def _tell(self, error: BaseException) -> None:
        fields = {"fields": {"partition": self.name}}
        logger.error("processing failed, the worker stops", exc_info=error, extra=fields)
        self._on_failure(error)


async def _ended_by(until: float, task: asyncio.Future[None] | None) -> bool:
    if task is None or task.done():
        return True
    done, _ = await asyncio.wait([task], timeout=max(0.0, until - asyncio.get_running_loop().time()))
    return bool(done)
