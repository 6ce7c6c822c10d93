"""Dead letters that are fed back, of any size."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from conftest import Broker
from site_under_test import Site
from typer.testing import CliRunner

from schemas import dead_letters as why
from streams.admin import create_topics
from streams.cli.main import app
from streams.reading import read_until_quiet, reader

MIB = 1 << 20


@pytest.mark.parametrize("broker", ["kafka"], indirect=True)
def test_one_that_is_too_large_for_the_topic_keeps_none_of_the_others(
    tmp_path: Path, broker: Broker, valkey_url: str, unique: Callable[[str], str]
) -> None:
    site = Site(tmp_path, "shop", broker.bootstrap_servers, valkey_url, unique("redrive"))
    kafka, events = site.settings.kafka, site.settings.topics.events.name
    values = [b"a", b"b" * (3 * MIB // 2), b"c" * (3 * MIB), b"d"]

    async def put() -> None:
        admin = AIOKafkaAdminClient(**kafka.client_kwargs())
        await admin.start()
        await admin.create_topics([NewTopic(events, 4, 1, topic_configs={"max.message.bytes": str(2 * MIB)})])
        await admin.close()
        await create_topics(site.settings)
        async with AIOKafkaProducer(**kafka.client_kwargs(), max_request_size=8 * MIB) as producer:
            for value in values:
                headers = [(why.REASON_HEADER, b"not_json"), (why.SOURCE_HEADER, b"events[0]@5")]
                await producer.send_and_wait(site.settings.topics.dead.name, value, headers=headers)

    async def fed() -> list[bytes | None]:
        async with reader(kafka, [events]) as consumer:
            return [one.value async for records in read_until_quiet(consumer, quiet_s=1.0) for one in records]

    asyncio.run(put())

    done = CliRunner().invoke(app, ["dead", "redrive", "--yes"], env={**site.environment, "COLUMNS": "300"})

    assert done.exit_code == 1
    assert "3 fed back" in done.output
    assert f"1 are larger than {events} takes" in str(done.exception)
    assert sorted(value or b"" for value in asyncio.run(fed())) == [values[0], values[1], values[3]]
