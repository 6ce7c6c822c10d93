"""The log of examples gets more partitions, and is created anew, while no worker runs."""

from __future__ import annotations

import asyncio
import itertools
import json
import signal
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewPartitions, NewTopic
from conftest import Broker
from faults.oracle import read_topic
from headers import put_batch
from polling import eventually, eventually_async
from site_under_test import Site, fed_and_accounted, shop_events

from online_models.learning import LearningCore
from schemas.codec import decode_example
from streams.admin import create_topics
from streams.example_log import Extent, KafkaExampleLog
from streams.learner import checkpoint_name
from streams.new_models import new_cores
from streams.settings import Settings, parse_settings
from streams.stores import open_store

EVENTS = 3_000


def settings_of(broker: Broker, topic: str) -> Settings:
    return parse_settings(
        f"""
features: {{item: {{field: item_id}}}}
objectives: {{click: {{trigger: impression, outcome: click, match: item, window: 30m}}}}
topics: {{examples: {topic}}}
kafka: {{bootstrap_servers: "{broker.bootstrap_servers}"}}
""",
        {},
    )


async def test_a_record_is_found_by_its_offset_and_what_is_not_there_is_none(broker: Broker, unique: Any) -> None:
    topic = unique("examples")
    settings = settings_of(broker, topic)
    admin = AIOKafkaAdminClient(bootstrap_servers=broker.bootstrap_servers)
    await admin.start()
    await admin.create_topics([NewTopic(topic, 2, 1)])
    await admin.close()
    async with AIOKafkaProducer(bootstrap_servers=broker.bootstrap_servers) as producer:
        for number in range(30):
            await producer.send_and_wait(topic, b"%d" % number, partition=1, timestamp_ms=1_000_000 + number)
    log = KafkaExampleLog(settings)

    assert await log.extent(1) == Extent(2, 0)
    assert [await log.time_of(1, offset) for offset in (0, 17, 29, 30, 5_000)] == [
        1_000_000,
        1_000_017,
        1_000_029,
        None,
        None,
    ]
    assert await log.time_of(0, 0) is None
    rest = [record async for records in log.rest(1, 25) for record in records]
    assert [(one.offset, one.value) for one in rest] == [(number, b"%d" % number) for number in range(25, 30)]


async def test_a_header_name_that_is_not_utf8_hides_no_example(kafka_broker: Broker, unique: Any) -> None:
    settings = settings_of(kafka_broker, unique("examples"))
    topic = settings.topics.examples.name
    await create_topics(settings, [settings.topics.examples])
    await put_batch({"bootstrap_servers": kafka_broker.bootstrap_servers}, topic, {b"good": False, b"foreign": True})
    log = KafkaExampleLog(settings)

    assert await log.time_of(0, 1) is not None
    assert [record.value async for records in log.rest(0, 0) for record in records] == [b"good", b"foreign"]


async def learned(site: Site) -> dict[str, LearningCore]:
    """Return the models as their checkpoints have them."""
    settings, found = site.settings, {}
    store = open_store(settings)
    try:
        for core in new_cores(settings.objectives, settings):
            saved = await store.load_blob(checkpoint_name(settings, core.objective))
            assert saved is not None
            assert core.restore(saved[0])
            found[core.objective] = core
    finally:
        await store.close()
    return found


async def examples_of(site: Site) -> Counter[str]:
    """Count the examples that are there to be learned from."""
    logs = await read_topic(site.settings, site.settings.topics.examples.name)
    read = [decode_example(one.value) for records in logs.values() for one in records]
    return Counter(one.objective for one in read if one.use != "judge")


def follows(site: Site, before: dict[str, LearningCore]) -> bool:
    models = json.loads(site.get("/status")[1])["models"]
    return all(models[name]["version"] > core.version for name, core in before.items())


async def work(site: Site, part: int, before: dict[str, LearningCore]) -> None:
    """Have a worker score and learn the next events, until its scorers have younger models, and end it."""
    worker = site.start_worker()
    report = await fed_and_accounted(site, itertools.islice(shop_events((part + 1) * EVENTS), part * EVENTS, None))
    assert report["unaccounted"] == 0
    await asyncio.to_thread(eventually, lambda: follows(site, before), within_s=30)
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(15) == 0, site.logs()


async def is_gone(admin: AIOKafkaAdminClient, topic: str) -> bool:
    return topic not in await admin.list_topics()


async def test_learning_goes_on_when_examples_get_more_partitions_and_when_they_are_created_anew(
    kafka_broker: Broker, valkey_url: str, unique: Callable[[str], str], tmp_path: Path
) -> None:
    site = Site(tmp_path, "shop", kafka_broker.bootstrap_servers, valkey_url, unique("place"))
    topic = site.settings.topics.examples.name
    declared = yaml.safe_load(site.config.read_text())
    declared["topics"]["examples"] = {"name": topic, "partitions": 1}
    site.config.write_text(yaml.safe_dump(declared, sort_keys=False))
    site.reload()
    await create_topics(site.settings)
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka_broker.bootstrap_servers)
    await admin.start()
    try:
        await work(site, 0, {})
        first = await learned(site)
        await admin.create_partitions({topic: NewPartitions(total_count=2)})
        await work(site, 1, first)
        second, there = await learned(site), await examples_of(site)
        await admin.delete_topics([topic])
        await eventually_async(lambda: is_gone(admin, topic))
        await admin.create_topics([NewTopic(topic, 2, 1)])
        await work(site, 2, second)
        third, added = await learned(site), await examples_of(site)
    finally:
        await admin.close()
        site.end()

    told = site.logs()
    assert "what is left on that of before is learned first" in told
    assert "the topic was created anew" in told
    assert any(first[name].reading.partition != second[name].reading.partition for name in first)
    for name in first:
        assert first[name].learned < second[name].learned < third[name].learned
        assert second[name].learned + second[name].refused == there[name]
        assert third[name].learned + third[name].refused == there[name] + added[name]
