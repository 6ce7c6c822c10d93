"""Feeding a real broker: what was acknowledged is there, once, in order, where Kafka's own partitioner puts it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Protocol
from uuid import uuid4

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRecord, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from schemas.codec import decode_event
from schemas.events import EventBase
from streams.feed import PRODUCER_OPTIONS, FeedResult, feed
from streams.simulate import Shop, disturbed

PARTITIONS = 4


class Broker(Protocol):
    bootstrap_servers: str
    kind: str


async def a_topic(broker: Broker) -> str:
    topic = f"feed-{uuid4().hex[:8]}"
    admin = AIOKafkaAdminClient(bootstrap_servers=broker.bootstrap_servers)
    await admin.start()
    try:
        await admin.create_topics([NewTopic(topic, PARTITIONS, 1)])
    finally:
        await admin.close()
    return topic


async def read(broker: Broker, topic: str, count: int) -> dict[int, list[ConsumerRecord]]:
    """Read `count` records from the beginning, by partition."""
    consumer = AIOKafkaConsumer(bootstrap_servers=broker.bootstrap_servers, auto_offset_reset="earliest")
    await consumer.start()
    found: dict[int, list[ConsumerRecord]] = {n: [] for n in range(PARTITIONS)}
    try:
        consumer.assign([TopicPartition(topic, n) for n in range(PARTITIONS)])
        async with asyncio.timeout(30):
            while sum(map(len, found.values())) < count:
                for tp, records in (await consumer.getmany(timeout_ms=200)).items():
                    found[tp.partition] += records
    finally:
        await consumer.stop()
    return found


async def produce(broker: Broker, topic: str, items: Sequence[object], **options: float) -> FeedResult:
    async with AIOKafkaProducer(bootstrap_servers=broker.bootstrap_servers, **PRODUCER_OPTIONS) as producer:
        async with asyncio.timeout(60):
            return await feed(items, producer, topic, **options)  # type: ignore[arg-type]


def visits(count: int) -> list[EventBase]:
    stream = Shop(seed=3, visitors=500).events()
    return [next(stream) for _ in range(count)]


async def test_what_was_acknowledged_is_in_the_topic_once_and_in_order(broker: Broker) -> None:
    topic, events = await a_topic(broker), visits(20_000)

    result = await produce(broker, topic, events)
    found = await read(broker, topic, len(events))

    decoded = {n: [decode_event(r.value, record_ts_ms=r.timestamp) for r in records] for n, records in found.items()}
    partition_of = {event.user_id: n for n, those in decoded.items() for event in those}  # type: ignore[union-attr]
    expected: dict[int, list[EventBase]] = {n: [] for n in range(PARTITIONS)}
    for event in events:
        expected[partition_of[event.user_id]].append(event)
    assert decoded == expected
    assert result.ranges == {n: (0, len(those)) for n, those in expected.items()}
    assert result.acknowledged == len(events)
    now_ms = time.time() * 1000
    assert all(now_ms - 60_000 < r.timestamp <= now_ms for records in found.values() for r in records)


async def test_a_users_partition_is_the_one_that_any_other_client_chooses(broker: Broker) -> None:
    topic, events = await a_topic(broker), visits(300)
    result = await produce(broker, topic, events)

    async with AIOKafkaProducer(bootstrap_servers=broker.bootstrap_servers) as producer:
        for event in events[::10]:
            await producer.send_and_wait(topic, b"{}", key=event.user_id.encode())

    found = await read(broker, topic, len(events) + len(events[::10]))
    homes: dict[bytes, set[int]] = {}
    for number, records in found.items():
        for record in records:
            homes.setdefault(record.key, set()).add(number)
    assert all(len(home) == 1 for home in homes.values())
    assert result.resent == 0


async def test_a_second_feed_tells_its_own_ranges(broker: Broker) -> None:
    topic, events = await a_topic(broker), visits(1_000)

    first = await produce(broker, topic, events)
    second = await produce(broker, topic, events)

    assert second.ranges == {n: (end, 2 * end) for n, (_, end) in first.ranges.items()}


async def test_poison_reaches_the_topic_unchanged(broker: Broker) -> None:
    topic = await a_topic(broker)
    items = list(disturbed(visits(2_000), poison=0.05, duplicates=0.05, late=0.05))

    result = await produce(broker, topic, items, rate=20_000.0)
    found = await read(broker, topic, len(items))

    assert result.events == result.acknowledged == len(items)
    values = {record.value for records in found.values() for record in records}
    assert {item.value for item in items if not isinstance(item, EventBase)} <= values  # type: ignore[union-attr]
