"""A lost store is rebuilt by a worker that dies on the way, and by the next one: nothing is published twice."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import redis
from aiokafka import TopicPartition
from site_under_test import Site, fed_and_accounted, shop_events

from streams.admin import create_topics
from streams.reading import read_until_quiet, reader
from streams.rebuild import committed_offset
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
    site.environment |= {"STREAMSCORE_WORKER_CHUNK_RECORDS": "50"}
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
