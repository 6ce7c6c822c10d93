"""Somebody else's transaction that is open on `events`: nobody can read on, and a worker says so."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from aiokafka import AIOKafkaProducer
from builders import an_impression
from conftest import Broker
from polling import eventually_async
from site_under_test import Site, shop_events

from schemas.codec import encode_json


async def test_what_a_transaction_keeps_back_is_exported_and_no_lag(
    kafka_broker: Broker, valkey_url: str, unique: Callable[[str], str], tmp_path: Path
) -> None:
    site = Site(tmp_path, "shop", kafka_broker.bootstrap_servers, valkey_url, unique("site"))
    assert site.command("topics", "create").returncode == 0
    events = site.settings.topics.events.name
    servers = {"bootstrap_servers": kafka_broker.bootstrap_servers}
    try:
        site.start_worker()
        async with AIOKafkaProducer(**servers, transactional_id=unique("other")) as other:
            await other.begin_transaction()
            for partition in range(site.settings.topics.events.partitions):
                await other.send_and_wait(events, encode_json(an_impression("item", 0)), partition=partition)
            await site.feed(shop_events(500))

            kept_back = await eventually_async(
                lambda: (found := site.exported("unstable_records", topic=events)) > 500 and found, within_s=20
            )
            lag, scored = site.exported("lag_records", topic=events), site.exported("events_total", outcome="scored")
            await other.commit_transaction()
        await eventually_async(lambda: site.exported("events_total", outcome="scored") > 0, within_s=20)
        await eventually_async(lambda: site.exported("unstable_records", topic=events) == 0, within_s=20)
    finally:
        site.end()

    assert kept_back == 500 + site.settings.topics.events.partitions
    assert (lag, scored) == (0, -1)
