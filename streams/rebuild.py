"""Where a partition begins when the store holds nothing of it.

Redis is a cache of the log. If the group has committed offsets but the store is empty, the store was
lost: the partition is replayed from the oldest record kept, and nothing that was published before
the loss is published again.
"""

from __future__ import annotations

from aiokafka import AIOKafkaConsumer, TopicPartition

from streams.settings import Settings


async def replay_from(settings: Settings, topic: str, partition: int) -> tuple[int, int]:
    """Return (offset to read from, offset from which on results are published) for an empty store.

    They are equal when the group has never committed: the partition is new to it.
    """
    where = TopicPartition(topic, partition)
    consumer = AIOKafkaConsumer(**settings.kafka.client_kwargs(), group_id=settings.app, enable_auto_commit=False)
    await consumer.start()
    try:
        consumer.assign([where])
        committed = await consumer.committed(where)
        oldest = (await consumer.beginning_offsets([where]))[where]
    finally:
        await consumer.stop()
    return oldest, max(oldest, committed or 0)
