"""The test bed itself: Apache Kafka on loopback, one node or three."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from kafka_cluster import KafkaCluster


async def test_every_node_holds_every_record_and_one_may_be_killed(
    kafka_cluster: KafkaCluster, unique: Callable[[str], str]
) -> None:
    topic, servers = unique("events"), kafka_cluster.bootstrap_servers
    admin = AIOKafkaAdminClient(bootstrap_servers=servers)
    await admin.start()
    await admin.create_topics([NewTopic(topic, 3, 3)])
    await admin.close()

    async with AIOKafkaProducer(bootstrap_servers=servers, acks="all", enable_idempotence=True) as producer:
        await produce(producer, topic, range(30))
        kafka_cluster.stop_node(0, kill=True)
        await produce(producer, topic, range(30, 60))
        kafka_cluster.start_node(0)
        kafka_cluster.wait_until_up(0)

    async with AIOKafkaConsumer(topic, bootstrap_servers=servers, auto_offset_reset="earliest") as consumer:
        records: list[Any] = [await consumer.getone() for _ in range(60)]
    assert sorted(int(record.value) for record in records) == list(range(60))


async def produce(producer: AIOKafkaProducer, topic: str, numbers: range) -> None:
    for number in numbers:
        await producer.send_and_wait(topic, b"%d" % number, partition=number % 3)
