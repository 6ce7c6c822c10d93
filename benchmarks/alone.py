"""What streamscore does by itself: latency, several workers, the learner, the store, memory, a model's distribution."""

from __future__ import annotations

import asyncio
import contextlib
import math
import random
import time
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import msgspec
import numpy as np
import redis
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

from benchmarks.deployment import (
    Failed,
    Servers,
    all_records,
    create,
    create_ours,
    fill,
    our_workers,
    send,
    watched,
)
from benchmarks.peers.workload import PARTITIONS, by_partition, events
from online_models.distribution import WeightDistributor
from online_models.estimators import SparseFTRL
from online_models.records import decode_batch
from online_models.replica import LinearReplica, ReplicaSet
from online_models.scoring import ScoringCore
from schemas.codec import decode_model_record, decode_score, decode_user_state, encode_json, encode_user_state
from schemas.events import Tick
from schemas.examples import Example
from schemas.models import ModelManifest
from streams.configs import shipped_config
from streams.new_models import new_replicas
from streams.settings import Settings, load_settings
from streams.simulate import Shop
from streams.stores import PartitionId, open_store

ROLES = ("scoring", "learning")
_JOIN_S = 60.0
_WARM_S = 3.0
_TICK_S = 0.01
_VISIT_MS = 30 * 60_000


async def joined(servers: Servers, group: str, members: int) -> None:
    """Wait until a group has so many members and is at rest."""
    admin = AIOKafkaAdminClient(bootstrap_servers=servers.kafka)
    await admin.start()
    try:
        until = time.monotonic() + _JOIN_S
        while time.monotonic() < until:
            with contextlib.suppress(KafkaError):  # a new broker has no coordinator at first
                (answer,) = await admin.describe_consumer_groups([group])
                _, _, state, _, _, found, *_ = answer.groups[0]
                if state == "Stable" and len(found) == members:
                    await asyncio.sleep(1.0)  # until they have taken up their partitions
                    return
            await asyncio.sleep(0.2)
        raise Failed(f"{group} did not reach {members} members within {_JOIN_S:g} s")
    finally:
        await admin.close()


# ---------------------------------------------------------------- latency


async def latency_ms(
    servers: Servers, app: str, per_s: float, seconds: float, *, spread: bool = False
) -> dict[str, float]:
    """Feed events at a steady rate; return how long after its event's append a score was appended, in ms.

    Parameters
    ----------
    spread
        The partitions are written to one after another, not all at the same moments.

    Returns
    -------
    dict
        Percentiles, the rate at which was really fed, and how much of a core the workers used meanwhile, where /proc
        tells.
    """
    source = f"{app}.events"
    await create(servers, (source, PARTITIONS))
    await create_ours(servers, app)
    due = list(events(int(per_s * (seconds + _WARM_S))))
    with our_workers(servers, source, app, ROLES) as (scoring, learning):
        await joined(servers, app, 1)
        await joined(servers, f"{app}.learning", 1)
        before = [one.cpu_s() for one in (scoring, learning)]
        began_ms = await feed(servers, source, due, per_s, spread=spread)
        fed_s = time.time() - began_ms / 1000
        after = [one.cpu_s() for one in (scoring, learning)]
        await asyncio.sleep(2.0)
        if scoring.ended or learning.ended:
            raise Failed(scoring.last_words + learning.last_words)
    records = await all_records(servers, f"{app}.scores", PARTITIONS)
    waited = [
        one.timestamp - score.source_ts
        for one in records
        if (score := decode_score(one.value)).source_ts > began_ms + _WARM_S * 1000
    ]
    if len(waited) < 0.9 * per_s * seconds:
        raise Failed(f"{len(waited)} scores of {per_s * seconds:.0f} events in time")
    p50, p99 = np.percentile(waited, [50, 99])
    cores = {
        f"{role}_cores": round((now - then) / fed_s, 2)
        for role, then, now in zip(ROLES, before, after, strict=True)
        if then is not None and now is not None
    }
    return {"events_per_s": round(len(due) / fed_s), "p50": float(p50), "p99": float(p99), **cores}


async def feed(
    servers: Servers, topic: str, due: Sequence[tuple[int, bytes, bytes]], per_s: float, *, spread: bool
) -> float:
    """Send events (partition, key, value) at a steady rate, those of a partition every few ms; return when it began."""
    per_tick = per_s * _TICK_S
    ticks: dict[int, dict[int, list[tuple[bytes, bytes]]]] = {number: {} for number in range(PARTITIONS)}
    for place, (number, key, value) in enumerate(due):
        ticks[number].setdefault(1 + int(place / per_tick), []).append((key, value))
    async with AIOKafkaProducer(bootstrap_servers=servers.kafka, max_batch_size=1 << 20) as producer:
        began_ms, started = time.time() * 1000, time.monotonic()

        async def send_all(number: int) -> None:
            later = number / PARTITIONS if spread else 0.0
            for tick, records in ticks[number].items():
                await asyncio.sleep(max(0.0, started + (tick + later) * _TICK_S - time.monotonic()))
                await send(producer, topic, number, records)

        await asyncio.gather(*map(send_all, range(PARTITIONS)))
        return began_ms


# ---------------------------------------------------------------- several workers


async def with_workers(servers: Servers, app: str, scoring: int, count: int) -> dict[str, Any]:
    """Let so many scoring workers, beside one that learns, work off a backlog that comes once all have joined."""
    source = f"{app}.events"
    await create(servers, (source, PARTITIONS))
    await create_ours(servers, app)
    backlog = by_partition(count)
    with our_workers(servers, source, app, ["scoring"] * scoring + ["learning"]) as processes:
        await joined(servers, app, scoring)
        await joined(servers, f"{app}.learning", 1)
        filling = asyncio.create_task(fill(servers, source, backlog))
        found = await watched(processes[:scoring], servers, f"{app}.scores", count)
        await filling
    cpu = None if found.cpu_s_per_million is None else round(sum(found.cpu_s_per_million), 1)
    return {"events_per_s": round(found.per_s), "cpu_s_per_million": cpu}


# ---------------------------------------------------------------- the learner


def labelled(count: int, *, features: int = 20) -> list[tuple[bytes, bytes]]:
    """Return examples as a scorer writes them: 12 one-hots of 25 or 4,000 values each, the rest numbers."""
    rng = random.Random(7)
    names = [[f"f{i}={j}" for j in range(4000 if i % 4 == 0 else 25)] for i in range(12)]
    found = []
    for number in range(count):
        x = {those[int(len(those) * rng.random() ** 3)]: 1.0 for those in names}
        x |= {f"number{i}": round(rng.random() * 3, 3) for i in range(features - len(x))}
        example = Example(
            objective="click",
            score_id=f"events-{number % 4}-{number}:click",
            ts=1_767_225_600_000 + number,
            label=rng.random() < 0.1,
            features=x,
            score=rng.random() / 5,
            model_version=max(1, number - 500),
            topic="events",
            partition=number % 4,
            offset=number,
            seq=0,
            released_ts=1_767_225_630_000 + number,
        )
        found.append((b"click", encode_json(example)))
    return found


async def learner(servers: Servers, app: str, count: int) -> dict[str, Any]:
    """Let a learning worker work off a backlog of examples; measured by the append times of its models."""
    source = f"{app}.events"
    await create(servers, (source, PARTITIONS))
    await create_ours(servers, app)
    await fill(servers, f"{app}.examples", {0: labelled(count)})
    with our_workers(servers, source, app, ["learning"]) as (process,):
        deadline = time.monotonic() + _JOIN_S + count / 2000
        versions: list[tuple[int, int]] = []
        while not versions or versions[-1][1] < count:
            await asyncio.sleep(0.5)
            if process.ended or time.monotonic() > deadline:
                raise Failed(f"the learner did not come to its end\n{process.last_words}")
            versions = [
                (one.timestamp, model.version)
                for one in await all_records(servers, f"{app}.models", 1)
                if one.value and isinstance(model := decode_model_record(one.value), ModelManifest)
            ]
    (first_ms, first), (last_ms, last) = versions[0], versions[-1]
    return {"examples_per_s": round((last - first) / (last_ms - first_ms) * 1000)}


# ---------------------------------------------------------------- store, memory, model


async def store(servers: Servers, *, visitors: int = 1500) -> dict[str, Any]:
    """Store what a simulated shop leaves, with the features of `shop`: after two weeks, and after each first visit."""
    settings = load_settings(shipped_config("shop"), {"STREAMSCORE_REDIS_URL": servers.valkey})
    shop = Shop(seed=7, visitors=visitors)
    events = [*shop.events(until_ms=shop.start_ms + 14 * 86_400_000)]
    return {
        "two_weeks": await _stored(servers, settings, events),
        "first_visit": await _stored(
            servers, settings, [*_first_visits(events), Tick(ts=events[-1].ts + 2 * 86_400_000)]
        ),
    }


def _first_visits(events: Iterable[Any]) -> Iterator[Any]:
    last: dict[str, int] = {}
    gone: set[str] = set()
    for event in events:
        if event.ts - last.get(event.user_id, event.ts) > _VISIT_MS:
            gone.add(event.user_id)
        last[event.user_id] = event.ts
        if event.user_id not in gone:
            yield event


async def _stored(servers: Servers, settings: Settings, events: Sequence[Any]) -> dict[str, Any]:
    core = ScoringCore(
        topic="store",
        partition=0,
        features=settings.features,
        objectives=settings.objectives,
        replicas=new_replicas(settings),
    )
    users: dict[str, Any] = {}
    written: dict[str, bytes] = {}  # not all that changes is written
    for offset, event in enumerate(events):
        record = _Record(offset, event.ts, None, encode_json(event))  # type: ignore[arg-type]
        result = core.step(decode_batch([record], topic="store", partition=0), users)
        for user_id, user in result.changed_users.items():
            written[user_id] = encode_user_state(user)
    stored = [decode_user_state(state) for state in written.values()]
    states = [*written.values()]
    copies = math.ceil(1e6 / len(states))  # a million: what a key costs beside its value depends on how many there are
    client = redis.Redis.from_url(servers.valkey)
    opened = open_store(settings)
    try:
        # The tables of what was there before would be large enough already, and what is freed late would be counted.
        client.execute_command("FLUSHALL", "SYNC")
        while client.info("memory")["lazyfree_pending_objects"]:
            time.sleep(0.1)
        before = client.info("memory")["used_memory"]
        for copy in range(copies):
            await opened.save(
                PartitionId("store", copy),
                expected_offset=None,
                next_offset=1,
                meta=b"",
                users={f"user-{copy:04}-{number:07}": state for number, state in enumerate(states)},
                timers={},
            )
        used = client.info("memory")["used_memory"] - before
        client.flushall()
    finally:
        await opened.close()
        client.close()
    parts = {
        "state": sum(map(len, states)),
        "recent_ids": sum(len(one.recent_ids) for one in stored),
        "open": sum(len(msgspec.msgpack.encode(one.open)) for one in stored),
        "resting": sum(len(one.resting or b"") for one in stored),
    }
    return {
        "mib_per_million_users": round(used / (copies * len(states)) * 1e6 / 2**20, 1),
        "events_per_user": round(len(events) / len(states)),
        "bytes_per_user": {name: round(size / len(states)) for name, size in parts.items()},
        "by_hours_away": _by_hours_away(stored, states, events[-1].ts),
    }


def _by_hours_away(users: Sequence[Any], states: Sequence[bytes], now_ms: int) -> dict[str, dict[str, float]]:
    """Return the share of the users, and the bytes of each, by how long they have been away."""
    sizes: dict[str, list[int]] = {"at most 0.5": [], "at most 24": [], "more": []}
    for user, state in zip(users, states, strict=True):
        hours = (now_ms - user.last_ts) / 3_600_000
        sizes["at most 0.5" if hours <= 0.5 else "at most 24" if hours <= 24 else "more"].append(len(state))
    return {
        name: {"share": round(len(some) / len(states), 3), "bytes": round(sum(some) / max(1, len(some)))}
        for name, some in sizes.items()
    }


class _Record(NamedTuple):
    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None


async def worker_memory_mib(servers: Servers, app: str, *, visitors: Sequence[int], cache_users: int) -> dict[str, Any]:
    """Return the most memory that a scoring worker had resident, by the number of visitors that came."""
    found = {}
    for number in visitors:
        name = f"{app}-{number}"
        source = f"{name}.events"
        await create(servers, (source, PARTITIONS))
        await create_ours(servers, name)
        await fill(servers, source, by_partition(4 * max(visitors) // 3, visitors=number))
        with our_workers(servers, source, name, ["scoring"], cache_users=cache_users) as processes:
            await watched(processes, servers, f"{name}.scores", 4 * max(visitors) // 3)
            found[number] = processes[0].highest_rss_mib()
    return {"cache_users": cache_users, "rss_mib_by_visitors": found}


def model_distribution(*, weights: int = 1_000_000, examples_per_s: int = 2000, seconds: int = 5) -> dict[str, Any]:
    """Return the share of its time that a scorer spends on following a large model that is learned at a rate."""
    rng = random.Random(7)
    names = [f"item={number}" for number in range(weights)]
    model = SparseFTRL(max_weights=weights)
    for first in range(0, weights, 100):
        model.learn_one(dict.fromkeys(names[first : first + 100], 1.0), first % 300 == 0)
    distributor = WeightDistributor("click", lineage="0", model=model)
    replicas = ReplicaSet({"click": LinearReplica(lineage="0", name="ftrl", prior=0.1)})
    version = 1
    for _, value in distributor.publish(version):
        replicas.apply(value)
    used = []
    for _ in range(seconds):
        spent = 0.0
        for _ in range(max(1, examples_per_s // 1000)):
            for _ in range(min(1000, examples_per_s)):
                x = {names[int(weights * rng.random() ** 2)]: 1.0 for _ in range(20)}
                model.learn_one(x, rng.random() < 0.1)
                version += 1
            records = distributor.publish(version)
            started = time.process_time()
            for _, value in records:
                replicas.apply(value)
            spent += time.process_time() - started
        used.append(spent)
    if replicas["click"].version != version:
        raise Failed("the replica did not follow")
    return {"weights": weights, "examples_per_s": examples_per_s, "share_of_scorer": round(float(np.median(used)), 4)}
