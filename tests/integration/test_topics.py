"""Topics as they are created, and what is told of those that are there and are otherwise."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.client import AIOKafkaClient
from aiokafka.errors import UnknownTopicOrPartitionError
from conftest import Broker
from kafka_cluster import kafka_or_skip
from polling import eventually
from site_under_test import Site
from typer.testing import CliRunner

from streams.admin import create_topics, topic_configs
from streams.cli.main import app
from streams.producer import BatchProducer
from streams.reading import read_until_quiet, reader

YEAR_MS = 365 * 86_400_000


@pytest.fixture
def site(tmp_path: Path, broker: Broker, valkey_url: str, unique: Callable[[str], str]) -> Site:
    return Site(tmp_path, "shop", broker.bootstrap_servers, valkey_url, unique("topics"))


async def make(site: Site, topic: str, partitions: int, configs: dict[str, str]) -> None:
    """Create a topic as somebody else has."""
    admin = AIOKafkaAdminClient(**site.settings.kafka.client_kwargs())
    await admin.start()
    try:
        await admin.create_topics([NewTopic(topic, partitions, 1, topic_configs=configs)])
    finally:
        await admin.close()


def said_by_create(site: Site) -> str:
    done = CliRunner().invoke(app, ["topics", "create"], env={**site.environment, "COLUMNS": "200"})
    assert done.exception is None, done.exception
    return done.stderr


@pytest.mark.parametrize("broker", ["kafka"], indirect=True)
async def test_records_of_events_are_stamped_by_the_broker_whatever_a_producers_clock_says(site: Site) -> None:
    await create_topics(site.settings)
    topic, now_ms = site.settings.topics.events.name, time.time_ns() // 1_000_000

    async with AIOKafkaProducer(**site.settings.kafka.client_kwargs()) as producer:
        for apart_ms in (-YEAR_MS, 0, YEAR_MS):
            await producer.send_and_wait(topic, b"{}", partition=0, timestamp_ms=now_ms + apart_ms)
    async with reader(site.settings.kafka, [topic]) as consumer:
        found = [one.timestamp async for some in read_until_quiet(consumer, quiet_s=1.0) for one in some]

    assert len(found) == 3
    assert all(abs(one - now_ms) < 60_000 for one in found)


@pytest.mark.parametrize(
    ("configs", "is_told"),
    [
        ({"message.timestamp.after.max.ms": str(YEAR_MS)}, True),
        ({"message.timestamp.after.max.ms": "600000"}, False),
        ({"message.timestamp.type": "LogAppendTime", "message.timestamp.after.max.ms": str(YEAR_MS)}, False),
    ],
)
@pytest.mark.parametrize("broker", ["kafka"], indirect=True)
def test_a_topic_that_trusts_its_producers_clocks_is_told_of(
    site: Site, configs: dict[str, str], is_told: bool
) -> None:
    asyncio.run(make(site, site.settings.topics.events.name, 4, configs))

    told, told_again = said_by_create(site), said_by_create(site)

    for one in (told, told_again):
        assert ("--add-config message.timestamp.type=LogAppendTime" in one) == is_told
        assert "was there" in one


@pytest.mark.parametrize("broker", ["kafka"], indirect=True)
def test_models_that_are_not_compacted_and_other_numbers_of_partitions_are_told_of(site: Site) -> None:
    models, scores = site.settings.topics.models.name, site.settings.topics.scores.name
    asyncio.run(make(site, models, 1, {"cleanup.policy": "delete"}))
    asyncio.run(make(site, scores, 1, {}))

    told = said_by_create(site)

    assert f"{models} is not compacted" in told
    assert f"--topic {models} --add-config cleanup.policy=compact" in told
    assert f"{scores} has 1 partitions, the configuration says 4" in told
    assert told.count("is not compacted") == told.count("the configuration says") == 1

    assert "kafka-configs" not in said_by_create(asyncio.run(made_anew(site, models, scores)))


async def made_anew(site: Site, *topics: str) -> Site:
    admin = AIOKafkaAdminClient(**site.settings.kafka.client_kwargs())
    await admin.start()
    try:
        await admin.delete_topics(list(topics))
    finally:
        await admin.close()
    await create_topics(site.settings)
    return site


async def test_no_broker_makes_a_topic_because_we_ask_for_it() -> None:
    """As most would: with one partition, and models that are forgotten after a week."""
    with kafka_or_skip(settings={"auto.create.topics.enable": "true"}) as kafka:
        client = AIOKafkaClient(bootstrap_servers=kafka.bootstrap_servers)
        producer = BatchProducer(client, compression="none", request_timeout_ms=500)
        await producer.start()
        try:
            with pytest.raises(UnknownTopicOrPartitionError):
                await producer.partitions_for("models")
            there = (await client.fetch_all_metadata()).topics()
        finally:
            await producer.stop()

    assert "models" not in there


@pytest.mark.parametrize("broker", ["kafka"], indirect=True)
def test_a_worker_that_comes_before_its_topics_says_so_and_waits_for_them(site: Site) -> None:
    try:
        worker = site.launch_worker()
        eventually(lambda: site.exported("waiting", step="find the topics") > 3, within_s=20)
        not_ready = site.get("/readyz")
        told = site.logs()

        asyncio.run(create_topics(site.settings))
        site.await_ready()

        assert not_ready == (
            503,
            '{"status":"not ready","why":"the worker is starting; it waits to find the topics"}',
        )
        assert f"topic {site.settings.topics.events.name} does not exist; was `streamscore topics create` run?" in told
        assert site.exported("waiting", step="find the topics") == 0
        worker.send_signal(signal.SIGTERM)
        assert worker.wait(15) == 0, site.logs()
        assert "Traceback" not in site.logs()
    finally:
        site.end()


@pytest.mark.parametrize("broker", ["embedded"], indirect=True)
def test_a_broker_that_does_not_tell_its_settings_is_no_fault(site: Site) -> None:
    assert "created" in said_by_create(site)

    again = said_by_create(site)

    assert "was there" in again
    assert "kafka-configs" not in again


def test_only_events_is_stamped_by_the_broker(tmp_path: Path) -> None:
    settings = Site(tmp_path, "shop", "127.0.0.1:1", "redis://127.0.0.1:1/0", "made").settings

    stamped = [one for one in settings.topics.all() if "message.timestamp.type" in topic_configs(one, settings)]

    assert stamped == [settings.topics.events]
