"""Commands on a broker: what they print is what the topics hold."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from builders import T0, a_page_view
from site_under_test import Site

from schemas.codec import encode_json
from schemas.events import Tick
from streams.admin import create_topics
from streams.reading import TopicMissing, reader
from streams.replay.range_reader import open_range
from streams.replay.spec import ByTime, SpecError, TopicRange

# What a terminal's library would change: names of emoji, markup, colours, and a line longer than any screen.
VALUES = [b'{"event_id": "a:cat:b", "x": "[bold]y[/] \\\\"}', b'{"z": "' + b"long " * 80 + b'"}', b"\xff\x1b[0m raw"]


@pytest.fixture
def site(tmp_path: Path, embedded_broker: Any, unique: Callable[[str], str]) -> Site:
    site = Site(tmp_path, "shop", embedded_broker.bootstrap_servers, "redis://127.0.0.1:1", unique("commands"))
    asyncio.run(create_topics(site.settings))
    return site


async def produce(site: Site, topic: str, values: list[bytes]) -> None:
    async with AIOKafkaProducer(**site.settings.kafka.client_kwargs()) as producer:
        for value in values:
            await producer.send_and_wait(topic, value, partition=0)


def test_tail_shows_messages_as_they_are(site: Site) -> None:
    asyncio.run(produce(site, site.settings.topics.events.name, VALUES[:2]))

    as_they_are = site.command("tail", "events", "--json", "--from-start", "-n", "2")
    shown = site.command("tail", "events", "--from-start", "-n", "2")

    assert as_they_are.returncode == shown.returncode == 0, as_they_are.stderr + shown.stderr
    assert as_they_are.stdout == shown.stdout == b"".join(value + b"\n" for value in VALUES[:2]).decode()


def test_feed_counts_rows_that_became_no_events(site: Site, tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    rows = [encode_json(a_page_view(number)) for number in range(3)] + [encode_json(Tick(ts=T0))] * 2 + [b"no json"]
    path.write_bytes(b"\n".join(rows) + b"\n")

    done = site.command("feed", str(path), "--json")

    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert (report["events"], report["bad_rows"], report["rows_without_event"]) == (3, 1, 2)


def test_tail_passes_on_bytes_that_are_no_text(site: Site) -> None:
    asyncio.run(produce(site, site.settings.topics.dead.name, VALUES))

    command = [sys.executable, "-m", "streams.cli.main", "tail", "dead", "--json", "--from-start", "-n", "3"]
    done = subprocess.run(command, env=site.environment, capture_output=True, timeout=60, check=True)

    assert done.stdout == b"".join(value + b"\n" for value in VALUES)


async def test_a_topic_that_does_not_exist_is_said_to_be_missing_and_not_made(broker: Any, tmp_path: Path) -> None:
    site = Site(tmp_path, "shop", broker.bootstrap_servers, "redis://127.0.0.1:1", "nobody")

    for _ in range(2):
        with pytest.raises(TopicMissing, match=r"no topic 'nobody\.never'; create it"):
            async with reader(site.settings.kafka, ["nobody.never"]):
                pass

    async with AIOKafkaConsumer(bootstrap_servers=broker.bootstrap_servers) as consumer:
        assert "nobody.never" not in await consumer.topics()


def test_a_replay_of_a_topic_that_does_not_exist_ends_with_status_1(site: Site) -> None:
    done = site.command("replay", "kafka://never")

    assert done.returncode == 1
    assert "There is no topic 'never'" in done.stderr


async def test_times_are_refused_where_the_broker_cannot_find_records_by_them(site: Site) -> None:
    topic = site.settings.topics.events.name
    await produce(site, topic, VALUES)

    for wanted in (TopicRange(topic, ByTime(1)), TopicRange(topic, None, ByTime(2**42))):
        with pytest.raises(SpecError, match="This broker cannot find records by time; name offsets"):
            async with open_range(wanted, site.settings.kafka):
                pass
        async with open_range(wanted, site.settings.kafka, exact=False) as source:
            assert source.starts[0] == 0  # where an audit begins to look for a score
