"""The main job as a user runs it: the commands, real processes, a real broker and store."""

from __future__ import annotations

import asyncio
import itertools
import json
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis.asyncio as redis
from builders import T0, a_page_view
from site_under_test import Site, fed_and_accounted, shop_events

from online_models.rest import wake
from schemas.codec import decode_user_state, encode_json
from schemas.events import PageView
from streams.admin import create_topics
from streams.dead import read_dead
from streams.embedded import EmbeddedValkey
from streams.output import partition_for_key
from streams.simulate import disturbed
from streams.simulate.trouble import POISON
from streams.sources import RawRecord

EVENTS = 6_000


@pytest.fixture
def site(request: pytest.FixtureRequest, tmp_path: Path, broker: Any, valkey_url: str, unique: Any) -> Iterator[Site]:
    config = getattr(request, "param", "shop")
    made = Site(tmp_path, config, broker.bootstrap_servers, valkey_url, unique("site"))
    asyncio.run(create_topics(made.settings))
    yield made
    made.end()


async def test_every_event_is_scored_passed_over_or_refused_whatever_comes(site: Site) -> None:
    site.start_worker()
    poison = list(disturbed(shop_events(EVENTS), seed=3, duplicates=0.02, late=0.02, poison=0.01))

    report = await fed_and_accounted(site, poison)

    refused = sum(isinstance(item, RawRecord) for item in poison)
    assert report["unaccounted"] == 0
    assert report["events"] == len(poison)
    assert report["duplicate_scores"] == 0
    assert report["dead"] + report["ignored_by_rule"].get("tombstone", 0) == refused > 0
    assert report["ignored_by_rule"]["duplicate"] > 0
    assert report["objectives"]["click"]["n"] > 1000
    dead = [one async for one in read_dead(site.settings)]
    assert {one.value for one in dead} <= {item.value for item in poison if isinstance(item, RawRecord)}
    assert all(one.source_place for one in dead)


async def test_a_worker_that_is_told_to_end_does_so_in_order_and_the_next_one_goes_on(site: Site) -> None:
    first = site.start_worker()
    await fed_and_accounted(site, shop_events(EVENTS))
    learned = json.loads(site.get("/status")[1])["totals"]["learned"]

    first.send_signal(signal.SIGTERM)
    status = first.wait(15)
    site.start_worker()
    report = await fed_and_accounted(site, itertools.islice(shop_events(2 * EVENTS), EVENTS, None))

    assert status == 0, site.logs()
    assert learned > 0
    assert report["unaccounted"] == 0
    assert report["ignored_by_rule"].get("duplicate", 0) == 0
    versions = {name: model["version"] for name, model in json.loads(site.get("/status")[1])["models"].items()}
    assert versions["click"] > learned / 2, "the second worker went on from the first one's model"


async def test_a_worker_tells_how_it_is(site: Site) -> None:
    worker = site.start_worker()
    await fed_and_accounted(site, shop_events(1000))

    health, metrics, status = site.get("/healthz"), site.get("/metrics"), json.loads(site.get("/status")[1])

    assert health[0] == 200
    assert 'streamscore_events_total{outcome="scored"}' in metrics[1]
    assert "streamscore_score_latency_seconds_bucket" in metrics[1]
    assert status["totals"]["events"] == 1000
    assert status["recent_scores"][0]["objective"] in ("click", "purchase", "continue")
    worker.send_signal(signal.SIGINT)
    assert worker.wait(15) == 0
    assert site.get("/healthz")[0] == 0


async def test_an_emptied_store_is_rebuilt_from_the_log_without_publishing_twice(
    tmp_path: Path, embedded_broker: Any, unique: Any
) -> None:
    with EmbeddedValkey() as valkey:
        site = Site(tmp_path, "shop", embedded_broker.bootstrap_servers, valkey.url, unique("site"))
        await create_topics(site.settings)
        try:
            first = site.start_worker()
            before = await fed_and_accounted(site, shop_events(EVENTS))
            states = await user_states(site)
            first.send_signal(signal.SIGTERM)
            first.wait(15)
            async with redis.Redis.from_url(valkey.url) as client:
                await client.flushdb()
            site.start_worker()
            more = [*itertools.islice(shop_events(EVENTS + 200), EVENTS, None)]
            after = await fed_and_accounted(site, [*more, *newcomers(more[-1].ts)])
            rebuilt = await user_states(site)
        finally:
            site.end()

    assert (before["unaccounted"], after["unaccounted"]) == (0, 0)
    assert after["duplicate_scores"] == 0
    unchanged = [key for key, state in states.items() if features_of(rebuilt[key]) == features_of(state)]
    assert set(rebuilt) >= set(states)
    # Only those who came again among the last 200 events have changed.
    assert len(states) - len(unchanged) <= 30


def newcomers(ts: int) -> list[PageView]:
    """Return an event for each partition, so that whoever waits for them waits for all partitions."""
    by_partition = {partition_for_key(name.encode(), 4): name for name in (f"newcomer-{n}" for n in range(40))}
    assert sorted(by_partition) == [0, 1, 2, 3]
    return [a_page_view(ts - T0, event_id=name, user_id=name) for name in by_partition.values()]


async def user_states(site: Site) -> dict[bytes, bytes]:
    async with redis.Redis.from_url(site.settings.redis.url) as client:
        keys = [key async for key in client.scan_iter(match=f"{site.settings.app}:*:u:*", count=1000)]
        return dict(zip(keys, await client.mget(keys), strict=True))


def features_of(blob: bytes) -> tuple[Any, ...]:
    state = decode_user_state(blob)
    wake(state)
    return state.slots, state.recent_ids, state.last_ts


async def test_partitions_move_between_workers_and_state_follows(
    tmp_path: Path, kafka_broker: Any, valkey_url: str, unique: Any
) -> None:
    site = Site(tmp_path, "shop", kafka_broker.bootstrap_servers, valkey_url, unique("site"))
    await create_topics(site.settings)
    moves: list[int] = []

    def join_then_leave() -> None:
        second = site.start_worker()
        moves.append(len(json.loads(site.get("/status")[1])["partitions"]))
        first.send_signal(signal.SIGTERM)
        assert first.wait(20) == 0
        assert second.poll() is None

    try:
        first = site.start_worker()
        report = await fed_and_accounted(site, shop_events(8 * EVENTS), join_then_leave)
    finally:
        site.end()

    assert report["unaccounted"] == 0
    assert report["scored"] + report["ignored"] == 8 * EVENTS
    assert 0 < moves[0] < 4, "the second worker got some of the partitions, and the first kept others"


@pytest.mark.parametrize("broker", ["embedded"], indirect=True)
async def test_dead_letters_are_listed_and_fed_back(site: Site) -> None:
    site.start_worker()
    report = await fed_and_accounted(site, [RawRecord(b"u1", value) for value in POISON])

    listed = site.command("dead", "list", "--limit", "100")
    counted = site.command("dead", "redrive")
    redriven = site.command("dead", "redrive", "--reason", "not_json", "--yes")

    assert report["dead"] > 0
    assert "not_json" in listed.stdout, listed.stderr
    assert "would be fed back" in counted.stderr
    assert "fed back" in redriven.stderr
    assert redriven.returncode == 0


@pytest.mark.parametrize("broker", ["kafka"], indirect=True)
def test_feed_waits_and_ends_with_one_json_object(site: Site, tmp_path: Path) -> None:
    path = tmp_path / "shop.jsonl"
    path.write_bytes(b"\n".join(encode_json(event) for event in shop_events(2000)) + b"\nno json\n")
    site.start_worker()

    done = site.command("feed", str(path), "--wait", "--json")

    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert (report["events"], report["unaccounted"], report["bad_rows"]) == (2000, 0, 1)
    assert set(report["latency_ms"]) == {"p50", "p99"}
    tailed = site.command("tail", "scores", "--from-start", "-n", "3")
    assert len(tailed.stdout.splitlines()) == 3


def test_feed_without_a_worker_gives_up_and_says_so(site: Site, tmp_path: Path) -> None:
    path = tmp_path / "shop.jsonl"
    path.write_bytes(b"\n".join(encode_json(event) for event in shop_events(10)))

    done = site.command("feed", str(path), "--wait", "--json", "--silent", "2")

    assert done.returncode == 1
    assert "Is one running?" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("site", ["globo"], indirect=True)
def test_globo_through_the_live_path_is_accounted_for_and_predicted(site: Site, real_data: Path) -> None:
    site.start_worker()

    done = site.command(
        "feed", str(real_data / "globo_clicks_first300k.csv.gz"), "-m", "globo", "--wait", "--json", within_s=280
    )

    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    quality = report["objectives"]["continue"]
    assert (report["events"], report["unaccounted"], report["dead"]) == (300_000, 0, 0)
    assert quality["n"] > 175_000
    # Above 0.80 the label would have leaked into the features.
    assert 0.675 <= quality["auc"] < 0.80
    assert quality["log_loss"] < quality["base_log_loss"]
