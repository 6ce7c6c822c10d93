"""Where a partition begins when the store holds nothing of it.

Redis is a cache of the log. If the group has committed offsets but the store is empty, the store was
lost: the partition is replayed from the oldest record kept, and nothing that was published before
the loss is published again.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiokafka import AIOKafkaConsumer, TopicPartition

from streams.settings import Settings


async def replay_from(settings: Settings, topic: str, partition: int) -> tuple[int, int]:
    """Return (offset to read from, offset from which on results are published) for an empty store.

    They are equal when the group has never committed: the partition is new to it.
    """
    where = TopicPartition(topic, partition)
    async with _group_consumer(settings, where) as consumer:
        committed = await consumer.committed(where)
        oldest = (await consumer.beginning_offsets([where]))[where]
    return oldest, max(oldest, committed or 0)


async def committed_offset(settings: Settings, where: TopicPartition) -> int | None:
    """Return the offset that the group has committed, None if it has none."""
    async with _group_consumer(settings, where) as consumer:
        committed = await consumer.committed(where)
    return None if committed is None else int(committed)


@asynccontextmanager
async def _group_consumer(settings: Settings, where: TopicPartition) -> AsyncIterator[AIOKafkaConsumer]:
    consumer = AIOKafkaConsumer(**settings.kafka.client_kwargs(), group_id=settings.app, enable_auto_commit=False)
    try:
        await consumer.start()
        consumer.assign([where])
        yield consumer
    finally:
        await consumer.stop()
