"""What is published arrives, in order, on both brokers; and an absent broker is waited for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from aiokafka.errors import MessageSizeTooLargeError
from kafka_cluster import kafka_or_skip

from streams.admin import create_topics
from streams.configs import shipped_config
from streams.output import KafkaOutput, OutRecord
from streams.reading import read_until_quiet, reader
from streams.retry import retrying
from streams.settings import Settings, load_settings
from streams.stores import Unavailable


def settings_for(bootstrap_servers: str, **variables: str) -> Settings:
    environment = {"STREAMSCORE_KAFKA_BOOTSTRAP_SERVERS": bootstrap_servers, **variables}
    return load_settings(shipped_config("shop"), environment)


async def read_all(settings: Settings, topic: str) -> dict[int, list[tuple[Any, ...]]]:
    found: dict[int, list[tuple[Any, ...]]] = {}
    async with reader(settings.kafka, [topic]) as consumer:
        async for records in read_until_quiet(consumer, quiet_s=1.0):
            for record in records:
                found.setdefault(record.partition, []).append((record.key, record.value, record.headers))
    return found


async def test_batches_of_several_partitions_arrive_in_order_with_keys_and_headers(broker: Any) -> None:
    settings = settings_for(broker.bootstrap_servers)
    reports = await create_topics(settings)
    again = await create_topics(settings)
    output = KafkaOutput(settings)
    await output.start()
    try:
        topic = settings.topics.scores.name
        before = {number: len(records) for number, records in (await read_all(settings, topic)).items()}
        many = [OutRecord(b"k", b"%d" % n + b"x" * 300, [("h", b"v")]) for n in range(10_000)]
        ends = await output.publish({(topic, 0): many, (topic, 3): [OutRecord(None, b"alone")]})
        found = await read_all(settings, topic)
        partitions = await output.partitions(topic)
    finally:
        await output.stop()

    assert {report.name for report in reports} == {topic.name for topic in settings.topics.all()}
    assert not any(report.created for report in again)
    assert partitions == 4
    assert found[0][before.get(0, 0) :] == [(one.key, one.value, (("h", b"v"),)) for one in many]
    assert found[3][before.get(3, 0) :] == [(None, b"alone", ())]
    assert ends == {(topic, 0): before.get(0, 0) + 10_000, (topic, 3): before.get(3, 0) + 1}


async def test_a_record_that_the_broker_does_not_take_is_our_own_fault_and_not_retried(kafka_broker: Any) -> None:
    settings = settings_for(kafka_broker.bootstrap_servers)
    await create_topics(settings)
    output = KafkaOutput(settings)
    await output.start()
    try:
        with pytest.raises(MessageSizeTooLargeError):
            await output.publish({(settings.topics.scores.name, 0): [OutRecord(b"k", b"x" * 2_000_000)]})
    finally:
        await output.stop()


async def test_a_broker_that_is_away_is_unavailable_and_what_was_to_be_sent_arrives_after_its_return() -> None:
    with kafka_or_skip(nodes=1) as kafka:
        settings = settings_for(kafka.bootstrap_servers, STREAMSCORE_KAFKA_REQUEST_TIMEOUT="3s")
        await create_topics(settings)
        output = KafkaOutput(settings)
        await output.start()
        topic = settings.topics.scores.name
        tries: Sequence[Any] = []

        async def publish() -> dict[tuple[str, int], int]:
            tries.append(None)  # type: ignore[attr-defined]
            if len(tries) == 2:
                kafka.start_node(0)
            return await output.publish({(topic, 1): [OutRecord(b"k", b"v")]})

        kafka.stop_node(0)
        with pytest.raises(Unavailable):
            await output.publish({(topic, 1): [OutRecord(b"k", b"lost")]})
        await retrying(publish, name="publish")
        found = await read_all(settings, topic)
        await output.stop()

    assert (b"k", b"v", ()) in found[1]
