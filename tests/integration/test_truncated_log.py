"""A log of events that is not what it was: begun later by retention, or another one under the same name."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path
from typing import Any

import redis
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.records_to_delete import RecordsToDelete
from polling import eventually
from site_under_test import Site, fed_and_accounted, shop_events

from streams.admin import create_topics
from streams.stores import PartitionId


def key_of(site: Site, number: int) -> str:
    return f"{site.settings.app}:{{{PartitionId(site.settings.topics.events.name, number)}}}:p"


def stored(site: Site) -> list[int]:
    with redis.Redis.from_url(site.settings.redis.url) as client:
        return [int(client.hget(key_of(site, number), "o") or 0) for number in range(4)]


def ended(site: Site) -> None:
    site.workers[-1].send_signal(signal.SIGTERM)
    assert site.workers[-1].wait(20) == 0, site.logs()


async def ends(consumer: AIOKafkaConsumer, events: str) -> list[int]:
    found = await consumer.end_offsets([TopicPartition(events, number) for number in range(4)])
    return [end for _, end in sorted(found.items())]


async def test_what_retention_took_is_told_and_another_log_of_the_same_name_ends_the_worker(
    tmp_path: Path, kafka_broker: Any, valkey_url: str, unique: Any
) -> None:
    site = Site(tmp_path, "shop", kafka_broker.bootstrap_servers, valkey_url, unique("site"))
    await create_topics(site.settings)
    events, kafka = site.settings.topics.events.name, site.settings.kafka.client_kwargs()
    admin = AIOKafkaAdminClient(**kafka)
    consumer = AIOKafkaConsumer(**kafka, group_id=site.settings.app, enable_auto_commit=False)
    await admin.start()
    await consumer.start()
    try:
        site.start_worker()
        await fed_and_accounted(site, list(shop_events(400)))
        ended(site)
        left = stored(site)

        # The oldest records of what has come since are gone before a worker is there again.
        await site.feed(list(shop_events(1000))[400:])
        begin, end = [offset + 5 for offset in left], await ends(consumer, events)
        await admin.delete_records(
            {TopicPartition(events, number): RecordsToDelete(offset) for number, offset in enumerate(begin)}
        )
        site.start_worker()
        await asyncio.to_thread(eventually, lambda: stored(site) == end, within_s=30)
        ended(site)
        after_retention = site.logs()

        known = stored(site)
        await admin.delete_topics([events])
        await asyncio.sleep(1)
        await create_topics(site.settings)
        await site.feed(shop_events(100))
        status = site.launch_worker().wait(60)
        after_deletion, untouched = site.logs(), stored(site)

        # As it says.
        with redis.Redis.from_url(valkey_url) as client:
            client.delete(*(key_of(site, number) for number in range(4)))
        consumer.assign([TopicPartition(events, number) for number in range(4)])
        await consumer.commit({TopicPartition(events, number): 0 for number in range(4)})
        site.start_worker()
        end = await ends(consumer, events)
        await asyncio.to_thread(eventually, lambda: stored(site) == end, within_s=30)
    finally:
        await consumer.stop()
        await admin.close()
        site.end()

    for number in range(4):
        assert f"{events}-{number}: 5 offsets from {left[number]} on are no longer kept" in after_retention
    assert status == 1
    assert "] was worked off up to offset " in after_deletion
    assert f"redis-cli UNLINK '{site.settings.app}:{{{events}-" in after_deletion
    assert untouched == known
    assert max(end) < min(known)


async def test_a_log_that_becomes_another_one_while_it_is_read_ends_the_worker(
    tmp_path: Path, kafka_broker: Any, valkey_url: str, unique: Any
) -> None:
    site = Site(tmp_path, "shop", kafka_broker.bootstrap_servers, valkey_url, unique("site"))
    await create_topics(site.settings)
    admin = AIOKafkaAdminClient(**site.settings.kafka.client_kwargs())
    await admin.start()
    try:
        worker = site.start_worker()
        await fed_and_accounted(site, list(shop_events(400)))
        known = stored(site)
        await admin.delete_topics([site.settings.topics.events.name])
        await asyncio.sleep(1)
        await create_topics(site.settings)
        await site.feed(shop_events(40))
        status = await asyncio.to_thread(worker.wait, 60)
    finally:
        await admin.close()
        site.end()

    assert status == 1
    assert "] was worked off up to offset " in site.logs()
    assert stored(site) == known
