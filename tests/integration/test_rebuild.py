"""A lost store is rebuilt by a worker that dies on the way, and by the next one: nothing is published twice."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import pytest
import redis
from aiokafka import AIOKafkaConsumer, TopicPartition
from site_under_test import Site, fed_and_accounted, shop_events

from streams.admin import create_topics
from streams.out_records import OutRecord
from streams.output import KafkaOutput
from streams.reading import read_until_quiet, reader
from streams.rebuild import LogTruncated, committed_offset, expect_log, replay_from
from streams.sources import RawRecord

POISON = [RawRecord(b"u%d" % number, b"no json") for number in range(40)]


async def committed(site: Site) -> list[int | None]:
    topic = site.settings.topics.events.name
    return [await committed_offset(site.settings, TopicPartition(topic, number)) for number in range(4)]


async def count(site: Site, topic: str) -> int:
    async with reader(site.settings.kafka, [topic]) as consumer:
        return sum([len(records) async for records in read_until_quiet(consumer, quiet_s=1.5)])


async def test_a_worker_that_dies_in_a_rebuild_leaves_the_next_one_nothing_to_publish_again(
    tmp_path: Path, embedded_broker: Any, valkey_url: str, unique: Any
) -> None:
    site = Site(tmp_path, "shop", embedded_broker.bootstrap_servers, valkey_url, unique("site"))
    site.environment |= {"STREAMSCORE_WORKER_CHUNK_RECORDS": "50", "STREAMSCORE_KAFKA_SESSION_TIMEOUT": "6s"}
    await create_topics(site.settings)
    topics = site.settings.topics
    published = (topics.scores.name, topics.dead.name)
    try:
        first = site.start_worker()
        await fed_and_accounted(site, [*shop_events(2000), *POISON])
        first.send_signal(signal.SIGTERM)
        assert first.wait(20) == 0, site.logs()
        before = await committed(site), [await count(site, topic) for topic in published]
        with redis.Redis.from_url(valkey_url) as store:
            store.delete(*store.scan_iter(match=f"{site.settings.app}:{{{topics.events.name}-*"))

        site.environment |= {"STREAMSCORE_FAILPOINT": "saved:6"}
        assert site.launch_worker().wait(60) == -signal.SIGKILL, site.logs()
        between = await committed(site)
        del site.environment["STREAMSCORE_FAILPOINT"]
        site.start_worker()
        report = await fed_and_accounted(site, list(shop_events(2400))[2000:])
        after = [await count(site, topic) for topic in published]
    finally:
        site.end()

    assert "it is rebuilt from the log" in site.logs()
    assert between == before[0]
    assert report["unaccounted"] == 0
    assert after == [before[1][0] + report["scores"], before[1][1]]


async def test_a_commit_beyond_the_end_of_the_log_is_nothing_to_be_silent_up_to(
    tmp_path: Path, broker: Any, unique: Any
) -> None:
    site = Site(tmp_path, "shop", broker.bootstrap_servers, "redis://127.0.0.1:1", unique("site"))
    settings, topic = site.settings, site.settings.topics.events.name
    await create_topics(settings)
    output = KafkaOutput(settings)
    await output.start()
    await output.publish({(topic, 1): [OutRecord(None, b"no json")] * 10})
    await output.stop()
    consumer = AIOKafkaConsumer(**settings.kafka.client_kwargs(), group_id=settings.app, enable_auto_commit=False)
    async with consumer:
        where = TopicPartition(topic, 1)
        consumer.assign([where])
        new = await replay_from(settings, *where)
        await consumer.commit({where: 10})
        lost = await replay_from(settings, *where)
        await expect_log(settings, *where, 10)
        await consumer.commit({where: 11})

        assert (new, lost) == ((0, 0), (0, 10))
        for beyond in (replay_from(settings, *where), expect_log(settings, *where, 11)):
            with pytest.raises(LogTruncated, match=r"\[1\] was worked off up to offset 11, .* now ends at 10, "):
                await beyond
