"""Where a partition begins when the store holds nothing of it.

Redis is a cache of the log. If the group has committed offsets but the store is empty, the store was
lost: the partition is replayed from the oldest record kept, and nothing that was published before
the loss is published again.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from streams.output import told
from streams.settings import Settings


async def replay_from(settings: Settings, topic: str, partition: int) -> tuple[int, int]:
    """Return (offset to read from, offset from which on results are published) for an empty store.

    They are equal when the group has never committed: the partition is new to it. Raises Unavailable: repeat it; and
    OutputRefused.
    """
    where = TopicPartition(topic, partition)
    async with _group_consumer(settings, where) as consumer:
        committed = await consumer.committed(where)
        oldest = (await consumer.beginning_offsets([where]))[where]
    return oldest, max(oldest, committed or 0)


async def committed_offset(settings: Settings, where: TopicPartition) -> int | None:
    """Return the offset that the group has committed, None if it has none; raises as `replay_from` does."""
    async with _group_consumer(settings, where) as consumer:
        committed = await consumer.committed(where)
    return None if committed is None else int(committed)


@contextmanager
def telling() -> Iterator[None]:
    """Raise what a fault of Kafka's means, see `streams.output.told`."""
    try:
        yield
    except (KafkaError, OSError) as error:
        raise told(error) from error


@asynccontextmanager
async def _group_consumer(settings: Settings, where: TopicPartition) -> AsyncIterator[AIOKafkaConsumer]:
    consumer = AIOKafkaConsumer(**settings.kafka.client_kwargs(), group_id=settings.app, enable_auto_commit=False)
    with telling():
        try:
            await consumer.start()
            consumer.assign([where])
            yield consumer
        finally:
            await asyncio.sleep(0)  # see `streams.reading.reader`
            await consumer.stop()
