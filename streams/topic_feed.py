"""Follows a compacted topic that every worker reads whole, without a group: what stands there is for everybody.

At the start it is read up to where it ended then; after that, in the background. A topic that is away is read again
from its beginning: whoever takes the records passes over what it knows.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

from aiokafka.errors import KafkaError

from streams.cancelling import cancel_until_done
from streams.logs import log_event
from streams.reading import reader
from streams.sections import KafkaSettings

logger = logging.getLogger("streamscore.feeds")

_RETRY_S = 2.0
_CATCH_UP_S = 20.0


class TopicFeed:
    """Hands the records of a topic on, in their order.

    Parameters
    ----------
    take
        Called with each record.
    """

    def __init__(self, kafka: KafkaSettings, topic: str, take: Callable[[Any], None]) -> None:
        self._kafka = kafka
        self._topic = topic
        self._take = take
        self._caught_up = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    @property
    def is_read(self) -> bool:
        """Whether what was on the topic at the start is known."""
        return self._caught_up.is_set()

    async def start(self) -> bool:
        """Read what is there, then go on in the background; return whether it was read within 20 s."""
        self._task = asyncio.create_task(self._run(), name=f"feed of {self._topic}")
        try:
            await asyncio.wait_for(self._caught_up.wait(), _CATCH_UP_S)
        except TimeoutError:
            log_event(logger, logging.WARNING, "topic not read in time", topic=self._topic)
        return self.is_read

    async def stop(self) -> None:
        """Stop reading."""
        if self._task is not None:
            await cancel_until_done([self._task])

    async def _run(self) -> None:
        while True:
            try:
                await self._follow()
            except (KafkaError, OSError, RuntimeError) as error:
                log_event(logger, logging.WARNING, "topic is away, trying again", topic=self._topic, why=str(error))
                await asyncio.sleep(_RETRY_S)

    async def _follow(self) -> None:
        async with reader(self._kafka, [self._topic]) as consumer:
            ends = await consumer.end_offsets(list(consumer.assignment()))
            while True:
                for records in (await consumer.getmany(timeout_ms=200)).values():
                    for record in records:
                        self._take(record)
                        await asyncio.sleep(0)  # there can be many; requests are answered between them
                if not self._caught_up.is_set():
                    positions = [await consumer.position(one) >= end for one, end in ends.items()]
                    if all(positions):
                        self._caught_up.set()
