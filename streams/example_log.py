"""What the broker tells of the log of examples: its partitions, where they begin, whether a record is still there.

Asked when a learner is opened, with a consumer of its own each time. Offsets by time are of no use: the embedded
broker does not know them, and tells an end that is too small by up to a batch.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import NamedTuple, Protocol

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError, OffsetOutOfRangeError

from online_models.records import Record
from streams.header_names import replace_unreadable_names
from streams.output import told
from streams.reading import PATIENCE_S, read_to_end
from streams.settings import Settings
from streams.stores import Unavailable

_FETCH_WAIT_MS = 100
# Where the log ends before a record, by what the broker says: so long is it asked for the record all the same.
_LAST_LOOK_S = 1.0


class Extent(NamedTuple):
    """How many partitions the topic has now, and the oldest offset that one of them keeps."""

    partitions: int
    start: int


class ExampleLog(Protocol):
    """The log of examples; every method raises Unavailable while the broker is away."""

    async def extent(self, partition: int) -> Extent: ...

    async def time_of(self, partition: int, offset: int) -> int | None:
        """Return Kafka's timestamp (epoch ms) of a record; None if it is not there."""

    def rest(self, partition: int, offset: int) -> AsyncGenerator[Sequence[Record], None]:
        """Yield what a partition holds by now, from an offset on or from the oldest record kept."""


class KafkaExampleLog:
    """The topic `examples` on the broker."""

    def __init__(self, settings: Settings) -> None:
        self._topic = settings.topics.examples.name
        self._kafka = settings.kafka

    async def extent(self, partition: int) -> Extent:
        """Return what there is; raises Unavailable."""
        where = TopicPartition(self._topic, partition)
        async with self._consumer() as consumer:
            partitions = consumer.partitions_for_topic(self._topic) or ()
            if partition not in partitions:
                raise Unavailable(f"{self._topic} has no partition {partition} yet")
            return Extent(len(partitions), (await consumer.beginning_offsets([where]))[where])

    async def time_of(self, partition: int, offset: int) -> int | None:
        """Return the timestamp of a record, see `ExampleLog`; raises Unavailable."""
        where = TopicPartition(self._topic, partition)
        async with self._consumer(reset="none") as consumer:
            consumer.assign([where])
            promised = offset < (await consumer.end_offsets([where]))[where]
            consumer.seek(where, offset)
            loop = asyncio.get_running_loop()
            give_up = loop.time() + (PATIENCE_S if promised else _LAST_LOOK_S)
            try:
                while loop.time() < give_up:
                    for records in (await consumer.getmany(where, timeout_ms=_FETCH_WAIT_MS, max_records=1)).values():
                        return int(records[0].timestamp) if records[0].offset == offset else None
            except OffsetOutOfRangeError:
                return None
            if promised:
                raise Unavailable(f"nothing came from {self._topic}[{partition}] for {PATIENCE_S:.0f} s")
            return None

    async def rest(self, partition: int, offset: int) -> AsyncGenerator[Sequence[Record], None]:
        """Yield what a partition holds, see `ExampleLog`; raises Unavailable."""
        where = TopicPartition(self._topic, partition)
        async with self._consumer() as consumer:
            consumer.assign([where])
            consumer.seek(where, offset)
            async for records in read_to_end(consumer):
                yield records

    @asynccontextmanager
    async def _consumer(self, *, reset: str = "earliest") -> AsyncIterator[AIOKafkaConsumer]:
        consumer = AIOKafkaConsumer(
            **self._kafka.client_kwargs(),
            group_id=None,
            enable_auto_commit=False,
            auto_offset_reset=reset,
            isolation_level="read_committed",
            fetch_max_wait_ms=_FETCH_WAIT_MS,
        )
        try:
            await consumer.start()
            replace_unreadable_names(consumer._fetcher)
            if consumer.partitions_for_topic(self._topic) is None:  # not in the first metadata: ask for it by name
                await consumer._client.add_topic(self._topic)
                await consumer._client.force_metadata_update()
            yield consumer
        except (KafkaError, OSError) as error:
            raise told(error) from error
        finally:
            # aiokafka raises CancelledError from stop() when its own tasks have not had a turn yet.
            await asyncio.sleep(0)
            await consumer.stop()
