"""Keeps the replicas up to date from the compacted topic `models`.

Every worker reads all of it, without a group: a model is for everybody. Before the first event is
scored the topic is read up to where it ended at the start, so a restarted scorer is not cold.
"""

from __future__ import annotations

import asyncio
import logging

from aiokafka.errors import KafkaError

from online_models.replica import ReplicaSet
from streams.cancelling import cancel_until_done
from streams.logs import log_event
from streams.reading import reader
from streams.settings import Settings

logger = logging.getLogger("streamscore.models")

_RETRY_S = 2.0
_CATCH_UP_S = 20.0


class ModelFeed:
    """Applies what comes on `models` to a set of replicas."""

    def __init__(self, settings: Settings, replicas: ReplicaSet) -> None:
        self._settings = settings
        self._replicas = replicas
        self._caught_up = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Read what is there, then go on in the background.

        A topic that cannot be read within 20 s does not stop the scoring: scores then say ``cold``.
        """
        self._task = asyncio.create_task(self._run(), name="model feed")
        try:
            await asyncio.wait_for(self._caught_up.wait(), _CATCH_UP_S)
        except TimeoutError:
            log_event(logger, logging.WARNING, "models not read in time, scoring with what there is")

    async def stop(self) -> None:
        """Stop reading."""
        if self._task is not None:
            await cancel_until_done([self._task])

    async def _run(self) -> None:
        while True:
            try:
                await self._follow()
            except (KafkaError, OSError, RuntimeError) as error:
                log_event(logger, logging.WARNING, "model topic is away, trying again", why=str(error))
                await asyncio.sleep(_RETRY_S)

    async def _follow(self) -> None:
        """Apply from the beginning: replicas pass over the versions that they have."""
        async with reader(self._settings.kafka, [self._settings.topics.models.name]) as consumer:
            ends = await consumer.end_offsets(list(consumer.assignment()))
            while True:
                batches = await consumer.getmany(timeout_ms=200)
                for records in batches.values():
                    for record in records:
                        self._replicas.apply(record.value)
                        await asyncio.sleep(0)  # a publication is many records; requests are answered between them
                if not self._caught_up.is_set():
                    positions = [await consumer.position(one) >= end for one, end in ends.items()]
                    if all(positions):
                        self._caught_up.set()
