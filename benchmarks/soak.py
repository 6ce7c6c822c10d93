"""A worker for half an hour at half of its speed: memory, latency and file descriptors must not grow.

    PYTHONPATH=tests python -m benchmarks.soak [--minutes 30] [--rate EVENTS_A_SECOND] [--json build/soak.json]

Without ``--rate`` the speed is measured first, with a backlog. Every ten seconds it notes the worker's resident memory
and open descriptors, the store's memory, and the latency from an event's append to its score's. The first tenth counts
as warming up; of the rest the last third is put beside the first. Needs Java 17 and Maven: the embedded broker keeps
all data in memory. The simulated shop has as many visitors as come within the time, so that the state is as large at
the end as after the first minutes.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import os
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import redis
from aiokafka import AIOKafkaProducer
from kafka_cluster import USUAL_HEAP, KafkaCluster
from site_under_test import Site, fed_and_accounted

from schemas.codec import decode_score
from streams.admin import create_topics
from streams.embedded import EmbeddedValkey
from streams.feed import PRODUCER_OPTIONS, feed
from streams.reading import reader
from streams.simulate import Shop

EVERY_S = 10.0
WARMING_UP = 0.1
BACKLOG = 40_000
VISITORS = 2_000
KEPT = {"log.retention.ms": 120_000, "log.segment.bytes": 32 << 20, "log.retention.check.interval.ms": 20_000}


def of_process(pid: int) -> dict[str, float]:
    """Return a process's resident memory and open descriptors."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return {"rss_mib": pages * os.sysconf("SC_PAGE_SIZE") / 2**20, "fds": len(os.listdir(f"/proc/{pid}/fd"))}


class Latencies:
    """Follows the topic of scores."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._seen: list[int] = []

    async def follow(self) -> None:
        settings = self._site.settings
        async with reader(settings.kafka, [settings.topics.scores.name], from_end=True) as consumer:
            while True:
                for records in (await consumer.getmany(timeout_ms=200)).values():
                    # Every tenth is enough, and leaves the machine to what is measured.
                    self._seen += [one.timestamp - decode_score(one.value).source_ts for one in records[::10]]

    def take(self) -> dict[str, float]:
        seen, self._seen = self._seen, []
        if not seen:
            return {"p50_ms": float("inf"), "p99_ms": float("inf")}
        p50, p99 = np.percentile(seen, (50, 99))
        return {"p50_ms": float(p50), "p99_ms": float(p99)}


async def soak(
    site: Site, valkey: EmbeddedValkey, events: Iterator[Any], rate: float, minutes: float
) -> list[dict[str, float]]:
    stop = asyncio.Event()
    latencies = Latencies(site)
    following = asyncio.create_task(latencies.follow())
    options = {**site.settings.kafka.client_kwargs(), **PRODUCER_OPTIONS}
    samples = []
    async with AIOKafkaProducer(**options) as producer:
        feeding = asyncio.create_task(feed(events, producer, site.settings.topics.events.name, rate=rate, stop=stop))
        started = time.monotonic()
        with redis.Redis(port=valkey.port) as store:
            while time.monotonic() - started < minutes * 60:
                await asyncio.sleep(EVERY_S)
                assert site.workers[-1].poll() is None, site.logs()
                sample = {
                    "at_s": round(time.monotonic() - started, 1),
                    **of_process(site.workers[-1].pid),
                    "store_mib": store.info("memory")["used_memory"] / 2**20,
                    "visitors": float(store.dbsize()),
                    **latencies.take(),
                }
                samples.append(sample)
                print("  ".join(f"{key} {value:,.1f}" for key, value in sample.items()), flush=True)
        stop.set()
        fed = await feeding
    following.cancel()
    print(f"fed {fed.events:,} events, {fed.events / (time.monotonic() - started):,.0f} a second")
    return samples


def growth(samples: Sequence[dict[str, float]]) -> dict[str, dict[str, float]]:
    """Return the medians of the first and the last third after warming up, and their ratio."""
    settled = samples[int(len(samples) * WARMING_UP) :]
    third = max(1, len(settled) // 3)
    found = {}
    for key in samples[0]:
        if key != "at_s":
            first, last = (median(one[key] for one in some) for some in (settled[:third], settled[-third:]))
            found[key] = {"first": round(first, 1), "last": round(last, 1), "ratio": round(last / first, 3)}
    return found


async def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--rate", type=float)
    parser.add_argument("--json", type=Path, default=Path("build/soak.json"))
    given = parser.parse_args()
    with (
        KafkaCluster(1, KEPT, jvm=USUAL_HEAP) as kafka,
        EmbeddedValkey() as valkey,
        tempfile.TemporaryDirectory() as folder,
    ):
        site = Site(Path(folder), "shop", kafka.bootstrap_servers, valkey.url, "soak")
        await create_topics(site.settings)
        try:
            await asyncio.to_thread(site.start_worker)
            # One stream for both: what came behind the backlog's time would be passed over as late.
            events = Shop(seed=7, visitors=VISITORS).events()
            fastest: dict[str, Any] = await fed_and_accounted(site, itertools.islice(events, BACKLOG))
            rate = given.rate or fastest["events_per_s"] / 2
            print(
                f"a backlog of {BACKLOG:,}: {fastest['events_per_s']:,.0f} events/s; soaking at {rate:,.0f}", flush=True
            )
            samples = await soak(site, valkey, events, rate, given.minutes)
        finally:
            site.end()
    result = {"minutes": given.minutes, "events_per_s": rate, "growth": growth(samples), "samples": samples}
    given.json.parent.mkdir(parents=True, exist_ok=True)
    given.json.write_text(json.dumps(result, indent=1) + "\n")
    for key, found in result["growth"].items():
        print(f"{key:10} {found['first']:10,.1f} -> {found['last']:10,.1f}   x {found['ratio']}")


if __name__ == "__main__":
    asyncio.run(main())
