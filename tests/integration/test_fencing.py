"""A worker that finds another writer in its partition drops what it holds and goes on from the store."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import redis.asyncio as redis
from polling import eventually
from site_under_test import Site, fed_and_accounted, shop_events

from streams.admin import create_topics
from streams.stores import PartitionId


def all_stored(site: Site) -> dict[str, Any] | None:
    """Return the worker's status once its four partitions have stored what was sent."""
    status: dict[str, Any] = json.loads(site.get("/status")[1])
    return status if len(status["partitions"]) == 4 and status["totals"]["events"] >= 4000 + 4 * 2 else None


async def test_a_partition_that_another_wrote_to_is_taken_up_from_where_the_other_left_it(
    tmp_path: Path, embedded_broker: Any, valkey_url: str, unique: Any
) -> None:
    site = Site(tmp_path, "shop", embedded_broker.bootstrap_servers, valkey_url, unique("site"))
    await create_topics(site.settings)
    try:
        site.start_worker()
        first = await fed_and_accounted(site, list(shop_events(2000)))
        async with redis.Redis.from_url(valkey_url) as client:
            for number in range(4):
                # As if another owner had stored the very state that is there, but two records earlier.
                key = f"{site.settings.app}:{{{PartitionId(site.settings.topics.events.name, number)}}}:p"
                offset = int(await client.hget(key, "o"))
                await client.hset(key, mapping={"o": offset - 2, "w": "another"})
        later = list(shop_events(4000))[2000:]
        second = await fed_and_accounted(site, later)
        # A batch more is out before a write finds the other owner: scores may be there before the partition is back.
        status = eventually(lambda: all_stored(site), within_s=30)
    finally:
        site.end()

    assert first["unaccounted"] == 0
    assert second["scored"] == sum(event.type in ("page_view", "impression", "click") for event in later)
    assert "partition has another owner" in site.logs()
    assert len(status["partitions"]) == 4
    # The two records before each partition's end were read again, and known by their event ids.
    assert status["totals"]["events"] == 4000 + 4 * 2
