"""The topic `events` as it is created: no producer's clock is trusted, and a topic that trusts one is told of."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from conftest import Broker
from site_under_test import Site
from typer.testing import CliRunner

from streams.admin import create_topics, topic_configs
from streams.cli.main import app
from streams.reading import read_until_quiet, reader

YEAR_MS = 365 * 86_400_000


@pytest.fixture
def site(tmp_path: Path, broker: Broker, valkey_url: str, unique: Callable[[str], str]) -> Site:
    return Site(tmp_path, "shop", broker.bootstrap_servers, valkey_url, unique("topics"))


async def make_events(site: Site, configs: dict[str, str]) -> None:
    """Create the topic `events` as somebody else has."""
    admin = AIOKafkaAdminClient(**site.settings.kafka.client_kwargs())
    await admin.start()
    try:
        await admin.create_topics([NewTopic(site.settings.topics.events.name, 2, 1, topic_configs=configs)])
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
    asyncio.run(make_events(site, configs))

    told, told_again = said_by_create(site), said_by_create(site)

    for one in (told, told_again):
        assert ("--add-config message.timestamp.type=LogAppendTime" in one) == is_told
        assert "was there" in one


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
