"""What is published arrives, in order, on both brokers; and an absent broker is waited for."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from kafka_cluster import kafka_or_skip

from streams.admin import create_topics
from streams.configs import shipped_config
from streams.embedded import free_port
from streams.out_records import OutRecord, RecordTooLarge
from streams.output import KafkaOutput, partition_for_key
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

    assert {report.name for report in reports} == {topic.name for topic in settings.used_topics}
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
        with pytest.raises(RecordTooLarge, match="scores does not take"):
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


@contextlib.asynccontextmanager
async def an_output(settings: Settings, **options: Any) -> AsyncIterator[KafkaOutput]:
    output = KafkaOutput(settings, **options)
    await output.start()
    try:
        yield output
    finally:
        await output.stop()


async def new_topic(bootstrap_servers: str, name: str, partitions: int = 1, **configs: str) -> str:
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap_servers)
    await admin.start()
    try:
        await admin.create_topics([NewTopic(name, partitions, 1, topic_configs=configs)])
    finally:
        await admin.close()
    return name


@pytest.mark.parametrize("compression", ["none", "gzip"])
async def test_megabytes_in_several_batches_stay_in_order(compression: str, broker: Any, unique: Any) -> None:
    settings = settings_for(broker.bootstrap_servers, STREAMSCORE_KAFKA_COMPRESSION=compression)
    topic = await new_topic(broker.bootstrap_servers, unique("big"), 2)
    records = [OutRecord(None, b"%06d" % n + b"x" * (n % 7) * 10_000, [("n", b"%d" % n)]) for n in range(150)]
    async with an_output(settings) as output:
        ends = await output.publish({(topic, 0): records, (topic, 1): records[::-1]})
        found = await read_all(settings, topic)

    assert ends == {(topic, 0): 150, (topic, 1): 150}
    assert found[0] == [(None, one.value, tuple(one.headers)) for one in records]
    assert found[1] == found[0][::-1]


async def test_tombstones_and_given_times_arrive(broker: Any, unique: Any) -> None:
    settings = settings_for(broker.bootstrap_servers)
    topic = await new_topic(broker.bootstrap_servers, unique("times"))
    async with an_output(settings) as output:
        await output.publish({(topic, 0): [OutRecord(b"gone", None, [], 1_700_000_000_123), OutRecord(b"now", b"")]})
    before = time.time() * 1000
    async with reader(settings.kafka, [topic]) as consumer:
        found = [one async for records in read_until_quiet(consumer, quiet_s=1.0) for one in records]

    assert [(one.key, one.value) for one in found] == [(b"gone", None), (b"now", b"")]
    assert found[0].timestamp == 1_700_000_000_123
    assert before - 60_000 < found[1].timestamp <= before


async def test_a_record_larger_than_a_batch_goes_where_the_topic_takes_it(kafka_broker: Any, unique: Any) -> None:
    servers = kafka_broker.bootstrap_servers
    topic = await new_topic(servers, unique("wide"), **{"max.message.bytes": "5000000"})
    settings = settings_for(servers)
    values = [b"before", b"x" * 3_000_000, b"after"]
    async with an_output(settings) as output:
        await output.publish({(topic, 0): [OutRecord(None, value) for value in values]})
        found = await read_all(settings, topic)

    assert [value for _, value, _ in found[0]] == values


async def test_keys_go_where_other_producers_send_them(broker: Any, unique: Any) -> None:
    topic = await new_topic(broker.bootstrap_servers, unique("keyed"), 5)
    keys = [f"user-{number}".encode() for number in range(40)]
    async with AIOKafkaProducer(bootstrap_servers=broker.bootstrap_servers) as producer:
        sent = [await producer.send_and_wait(topic, b"v", key=key) for key in keys]

    assert [one.partition for one in sent] == [partition_for_key(key, 5) for key in keys]


async def test_a_producer_that_was_closed_is_replaced(broker: Any, unique: Any) -> None:
    settings = settings_for(broker.bootstrap_servers, STREAMSCORE_KAFKA_REQUEST_TIMEOUT="1s")
    topic = await new_topic(broker.bootstrap_servers, unique("closed"))
    async with an_output(settings) as output:
        await output.producer.stop()
        with pytest.raises(Unavailable):
            await output.publish({(topic, 0): [OutRecord(None, b"v")]})

        assert await output.publish({(topic, 0): [OutRecord(None, b"v")]}) == {(topic, 0): 1}


async def test_nothing_leaves_the_process_while_it_may_not_write(broker: Any, unique: Any) -> None:
    settings = settings_for(broker.bootstrap_servers)
    topic = await new_topic(broker.bootstrap_servers, unique("guarded"))
    allowed = True
    async with an_output(settings, may_write=lambda: allowed) as output:
        await output.publish({(topic, 0): [OutRecord(None, b"before")]})
        allowed = False
        with pytest.raises(Unavailable, match="our place in the group is not confirmed"):
            await output.publish({(topic, 0): [OutRecord(None, b"held back")]})
        allowed = True
        await output.publish({(topic, 0): [OutRecord(None, b"after")]})

    assert [value for _, value, _ in (await read_all(settings, topic))[0]] == [b"before", b"after"]


async def test_a_topic_that_does_not_exist_is_unavailable(kafka_broker: Any, unique: Any) -> None:
    settings = settings_for(kafka_broker.bootstrap_servers, STREAMSCORE_KAFKA_REQUEST_TIMEOUT="1s")
    async with an_output(settings) as output:
        with pytest.raises(Unavailable, match="topics create"):
            await output.partitions("..")  # no legal name, so no broker creates it


async def test_several_callers_for_several_partitions_each_get_their_own_ends(broker: Any, unique: Any) -> None:
    settings = settings_for(broker.bootstrap_servers)
    topic = await new_topic(broker.bootstrap_servers, unique("together"), 3)

    async def call(output: KafkaOutput, name: int) -> None:
        for turn in range(20):
            own = [OutRecord(b"%d" % name, b"own %d-%d" % (name, turn))]
            shared = [OutRecord(b"%d" % name, b"shared %d-%d-%d" % (name, turn, n)) for n in range(1 + name)]
            ends = await output.publish({(topic, name % 2): own, (topic, 2): shared})
            told[topic, name % 2, ends[topic, name % 2] - 1] = own[0].value
            for n, one in enumerate(reversed(shared)):
                told[topic, 2, ends[topic, 2] - 1 - n] = one.value

    told: dict[tuple[str, int, int], bytes | None] = {}
    async with an_output(settings) as output:
        await asyncio.gather(*(call(output, name) for name in range(6)))

    there = {
        (topic, number, offset): value
        for number, records in (await read_all(settings, topic)).items()
        for offset, (_, value, _) in enumerate(records)
    }
    assert there == told
    assert len(told) == 6 * 20 + 20 * (1 + 2 + 3 + 4 + 5 + 6)


async def test_nobody_at_the_address_is_unavailable(unique: Any) -> None:
    output = KafkaOutput(settings_for(f"127.0.0.1:{free_port()}"))

    with pytest.raises(Unavailable):
        await output.start()
    await output.stop()
