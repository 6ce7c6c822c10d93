"""Follows a compacted topic that every worker reads whole, without a group: what stands there is for everybody.

At the start it is read up to where it ended then; after that, in the background. A topic that is away is read again
from its beginning: whoever takes the records passes over what it knows.

Nothing ends it unseen, for then models or campaigns would stand still in a worker that looks healthy. The kinds of
fault are those of `streams.actors`: a bad record is counted and passed over, a topic that is away is waited for, what
the broker does not let us read ends the worker, and so does anything else, which is our own fault.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from typing import Any

from aiokafka.errors import KafkaError

from schemas.codec import BadRecord
from schemas.dead_letters import locator
from streams.cancelling import cancel_until_done
from streams.logs import log_event
from streams.output import OutputRefused, told
from streams.reading import reader
from streams.retry import Outages
from streams.sections import KafkaSettings

logger = logging.getLogger("streamscore.feeds")

_RETRY_S = 2.0
_CATCH_UP_S = 20.0


class NotTaken(Exception):
    """A record could not be taken in by a fault of our own; says which."""


class TopicRefused(OutputRefused):
    """The broker does not let us read a topic that we follow."""


class TopicFeed:
    """Hands the records of a topic on, in their order.

    Parameters
    ----------
    take
        Called with each record. What it raises, beside BadRecord, ends the feed.
    on_failure
        Called, once, with an error that will not pass by itself; must end the worker.
    outages
        Told while the topic is away, as the step ``follow <topic>``.

    Attributes
    ----------
    unreadable
        Records that `take` refused with BadRecord.
    """

    def __init__(
        self,
        kafka: KafkaSettings,
        topic: str,
        take: Callable[[Any], None],
        *,
        on_failure: Callable[[BaseException], None],
        outages: Outages | None = None,
    ) -> None:
        self._kafka = kafka
        self._topic = topic
        self._take = take
        self._on_failure = on_failure
        self._outages = outages or Outages()
        self._away_since: float | None = None
        self.unreadable = 0
        self._caught_up = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    @property
    def is_read(self) -> bool:
        """Whether what was on the topic at the start is known."""
        return self._caught_up.is_set()

    async def start(self) -> bool:
        """Read what is there, then go on in the background; return whether it was read within 20 s."""
        self._task = asyncio.create_task(self._run(), name=f"feed of {self._topic}")
        self._task.add_done_callback(self._ended)
        caught_up = asyncio.create_task(self._caught_up.wait())
        try:
            await asyncio.wait([caught_up, self._task], timeout=_CATCH_UP_S, return_when=asyncio.FIRST_COMPLETED)
        finally:
            caught_up.cancel()
        if not self.is_read and not self._task.done():
            log_event(logger, logging.WARNING, "topic not read in time", topic=self._topic)
        return self.is_read

    async def stop(self) -> None:
        """Stop reading."""
        if self._task is not None:
            await cancel_until_done([self._task])

    def _ended(self, task: asyncio.Task[None]) -> None:
        error = None if task.cancelled() else task.exception()
        if error is not None:
            if not isinstance(error, TopicRefused):  # which says all there is to say
                fields = {"fields": {"topic": self._topic}}
                logger.error("following a topic failed, the worker stops", exc_info=error, extra=fields)
            self._on_failure(error)

    async def _run(self) -> None:
        try:
            while True:
                self._is_away(await self._follow_until_away())
                await asyncio.sleep(_RETRY_S)
        finally:
            self._outages.ended(self)

    async def _follow_until_away(self) -> str:
        """Follow the topic; return why that is not possible any more."""
        try:
            await self._follow()
        except (KafkaError, OSError, RuntimeError) as error:
            if isinstance(told(error), OutputRefused):
                raise TopicRefused(
                    f"Kafka does not let us read {self._topic} ({error}); check user, password and permissions: "
                    f"Read on the topic {self._topic}"
                ) from error
            return str(error)
        except asyncio.CancelledError:
            if _is_cancelled():
                raise
        return "the client has given up"  # aiokafka lets cancellations of its own tasks out

    def _is_away(self, why: str) -> None:
        if self._away_since is None:
            self._away_since = time.monotonic()
            self._outages.began(self, f"follow {self._topic}", self._away_since)
            log_event(logger, logging.WARNING, "topic is away, trying again", topic=self._topic, why=why)

    def _is_back(self) -> None:
        if self._away_since is not None:
            away_s = round(time.monotonic() - self._away_since, 1)
            self._away_since = None
            self._outages.ended(self)
            log_event(logger, logging.INFO, "topic is back", topic=self._topic, away_s=away_s)

    async def _follow(self) -> None:
        async with reader(self._kafka, [self._topic]) as consumer:
            ends = await consumer.end_offsets(list(consumer.assignment()))
            is_read = False
            while True:
                for records in (await consumer.getmany(timeout_ms=200)).values():
                    for record in records:
                        self._hand_on(record)
                        await asyncio.sleep(0)  # there can be many; requests are answered between them
                if not is_read:
                    positions = [await consumer.position(one) >= end for one, end in ends.items()]
                    if all(positions):
                        is_read = True
                        self._caught_up.set()
                        self._is_back()

    def _hand_on(self, record: Any) -> None:
        try:
            self._take(record)
        except Exception as error:
            where = locator(record.topic, record.partition, record.offset)
            if not isinstance(error, BadRecord):
                raise NotTaken(f"{where} cannot be taken in: {type(error).__name__}") from error
            self.unreadable += 1
            log_event(logger, logging.ERROR, "unreadable record", record=where, why=error.detail)


def _is_cancelled() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
