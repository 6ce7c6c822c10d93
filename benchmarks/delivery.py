"""What `delivery: exactly_once` costs beside the default, on Apache Kafka, with the shop's three objectives.

    PYTHONPATH=tests python -m benchmarks.delivery [--events 40000] [--rounds 3]

Each round runs both settings, each with a broker's topics, a store and a worker of its own: first a backlog at full
speed, then the same visitors at 200 events a second. Needs Java 17 and Maven, as the tests on Apache Kafka do.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import tempfile
from pathlib import Path
from statistics import median
from typing import Any

from aiokafka import AIOKafkaProducer
from kafka_cluster import USUAL_HEAP, KafkaCluster
from site_under_test import Site, shop_events

from streams.admin import create_topics
from streams.embedded import EmbeddedValkey
from streams.feed import PRODUCER_OPTIONS, feed
from streams.watch import Watch

DELIVERIES = ("at_least_once", "exactly_once")
SLOW_RATE = 200
SLOW_EVENTS = 2_000


async def measured(site: Site, events: Any, rate: float | None) -> dict[str, Any]:
    watch = Watch(site.settings)
    await watch.start()
    options = {**site.settings.kafka.client_kwargs(), **PRODUCER_OPTIONS}
    async with AIOKafkaProducer(**options) as producer:
        fed = await feed(events, producer, site.settings.topics.events.name, rate=rate)
    await watch.wait(fed, silent_s=60)
    return await watch.report(fed)


async def one(delivery: str, bootstrap_servers: str, name: str, count: int) -> tuple[float, float, float]:
    with EmbeddedValkey() as valkey, tempfile.TemporaryDirectory() as folder:
        site = Site(Path(folder), "shop", bootstrap_servers, valkey.url, name)
        site.environment["STREAMSCORE_DELIVERY"] = delivery
        site.reload()
        await create_topics(site.settings)
        try:
            await asyncio.to_thread(site.start_worker)
            fast = await measured(site, shop_events(count), None)
            slow = await measured(site, itertools.islice(shop_events(count + SLOW_EVENTS), count, None), SLOW_RATE)
        finally:
            site.end()
        assert fast["unaccounted"] == slow["unaccounted"] == 0
        return fast["events_per_s"], slow["latency_ms"]["p50"], slow["latency_ms"]["p99"]


async def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--events", type=int, default=40_000)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    found: dict[str, list[tuple[float, float, float]]] = {one: [] for one in DELIVERIES}
    with KafkaCluster(1, jvm=USUAL_HEAP) as kafka:
        for number, delivery in itertools.product(range(given.rounds), DELIVERIES):
            result = await one(delivery, kafka.bootstrap_servers, f"{delivery}-{number}", given.events)
            found[delivery].append(result)
            print(
                f"{delivery:14} {result[0]:8,.0f} events/s   p50 {result[1]:6.1f} ms   p99 {result[2]:6.1f} ms",
                flush=True,
            )
    least, once = ([median(one) for one in zip(*found[delivery], strict=True)] for delivery in DELIVERIES)
    print(f"medians: {once[0] / least[0]:.2f} of the throughput, {once[1] / least[1]:.1f} times the p50 latency")


if __name__ == "__main__":
    asyncio.run(main())
