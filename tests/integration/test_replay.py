"""Replaying what was scored live: the commands, on a real broker, beside a live state that stays as it is."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis.asyncio as redis
from site_under_test import Site, fed_and_accounted, shop_events

from schemas.codec import decode_score
from streams.admin import create_topics
from streams.replay.range_reader import open_range
from streams.replay.spec import TopicRange

EVENTS = 6_000


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory, kafka_broker: Any, valkey_url: str) -> Iterator[Site]:
    """A shop that two workers have scored; the second came when the first was at work."""
    folder = tmp_path_factory.mktemp("live")
    site = Site(folder, "shop", kafka_broker.bootstrap_servers, valkey_url, f"replayed-{folder.name}")
    asyncio.run(create_topics(site.settings))
    try:
        site.start_worker()
        report = asyncio.run(fed_and_accounted(site, shop_events(EVENTS), site.start_worker))
        assert report["unaccounted"] == 0
        for worker in site.workers:
            worker.terminate()
            worker.wait(15)
        yield site
    finally:
        site.end()


async def values_on(site: Site, topic: str) -> list[bytes]:
    """Return the values of a topic, in the order of each partition."""
    found: dict[int, list[bytes]] = {}
    async with open_range(TopicRange(topic), site.settings.kafka) as source:
        while batches := await source.read():
            for partition, records in batches.items():
                found.setdefault(partition, []).extend(record.value for record in records)
    return [value for partition in sorted(found) for value in found[partition]]


async def live_state(site: Site) -> Any:
    """Return the store's contents, and the ends of all topics."""
    async with redis.Redis.from_url(site.settings.redis.url) as client:
        keys = sorted([key async for key in client.scan_iter(match=f"{site.settings.app}:*", count=1000)])
        dumped = [await client.dump(key) for key in keys]
    ends = {}
    for topic in site.settings.used_topics:
        async with open_range(TopicRange(topic.name), site.settings.kafka) as source:
            ends[topic.name] = source.ends
    return keys, dumped, ends


def lines(path: Path) -> list[bytes]:
    return path.read_bytes().splitlines()


def events_topic(site: Site) -> str:
    return f"kafka://{site.settings.topics.events.name}"


def test_as_live_gives_the_bytes_that_were_published_and_touches_nothing(live: Site, tmp_path: Path) -> None:
    before = asyncio.run(live_state(live))

    done = live.command("replay", events_topic(live), "--as-live", "--to", str(tmp_path / "again"))

    assert done.returncode == 0, done.stderr
    for name in ("scores", "examples"):
        published = asyncio.run(values_on(live, f"{live.settings.app}.{name}"))
        # What a rebalance has repeated stands there twice, with the same id.
        assert set(lines(tmp_path / "again" / f"{name}.jsonl")) == set(published)
        assert len(published) > EVENTS / 4
    compared = live.command("diff", str(tmp_path / "again"), "live")
    assert compared.returncode == 0, compared.stdout + compared.stderr
    assert asyncio.run(live_state(live)) == before


def test_a_score_can_be_audited(live: Site) -> None:
    scores = [decode_score(value) for value in asyncio.run(values_on(live, live.settings.topics.scores.name))]
    learned = [one for one in scores if one.model_version > 0 and len(one.reasons) == 3]

    done = live.command("audit", learned[-1].score_id, "--json")

    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(done.stdout)
    assert found["differences"] == []
    assert found["live"]["score"] == found["again"]["score"] == learned[-1].score
    strongest = [(one["feature"], one["share"]) for one in found["contributions"]][:3]
    assert strongest == learned[-1].reasons
    assert {"clicks_7d", "price"} <= set(found["values"])


def test_a_score_that_does_not_exist_cannot_be_audited(live: Site) -> None:
    events = live.settings.topics.events.name

    assert "holds no record 999999" in live.command("audit", f"{events}-0-999999:click").stderr
    assert "no objective or ranking 'bid'; it has click" in live.command("audit", f"{events}-0-1:bid").stderr
    assert "Expected a score_id such as" in live.command("audit", "nonsense").stderr


def test_a_replay_that_learns_by_itself_repeats_itself_whatever_the_chunks(live: Site, tmp_path: Path) -> None:
    for folder, chunk in (("a", "2000"), ("b", "137")):
        done = live.command("replay", events_topic(live), "--to", str(tmp_path / folder), "--chunk", chunk)
        assert done.returncode == 0, done.stderr

    for name in ("scores.jsonl", "examples.jsonl"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    assert len(lines(tmp_path / "a" / "scores.jsonl")) > EVENTS / 4


def test_a_range_by_time_or_offset_holds_its_records_and_no_others(live: Site, tmp_path: Path) -> None:
    events = events_topic(live)
    scores = [decode_score(value) for value in asyncio.run(values_on(live, live.settings.topics.scores.name))]
    times = sorted(one.source_ts for one in scores)
    start, end = times[len(times) // 3], times[2 * len(times) // 3]

    for name, query in (("time", f"from={start}&to={end}"), ("offset", "from=0:10,1:20&to=0:500,1:400&partitions=0,1")):
        done = live.command("replay", f"{events}?{query}", "--to", str(tmp_path / name))
        assert done.returncode == 0, done.stderr

    by_time = {decode_score(line).score_id for line in lines(tmp_path / "time" / "scores.jsonl")}
    assert by_time == {one.score_id for one in scores if start <= one.source_ts < end}
    by_offset = {decode_score(line).score_id for line in lines(tmp_path / "offset" / "scores.jsonl")}
    within = {0: range(10, 500), 1: range(20, 400)}
    assert by_offset == {one.score_id for one in scores if one.offset in within.get(one.partition, ())}


def test_scores_can_go_to_a_topic_of_their_own_and_to_no_live_one(live: Site, tmp_path: Path) -> None:
    own = f"{live.settings.app}.replayed"

    done = live.command("replay", events_topic(live), "--to", f"kafka://{own}")
    refused = live.command("replay", events_topic(live), "--to", f"kafka://{live.settings.topics.scores.name}")
    live.command("replay", events_topic(live), "--to", str(tmp_path))

    assert done.returncode == 0, done.stderr
    assert sorted(asyncio.run(values_on(live, own))) == sorted(lines(tmp_path / "scores.jsonl"))
    assert refused.returncode == 1
    assert "is a live topic" in refused.stderr


async def test_as_live_on_the_embedded_broker(
    tmp_path: Path, embedded_broker: Any, valkey_url: str, unique: Any
) -> None:
    site = Site(tmp_path, "shop", embedded_broker.bootstrap_servers, valkey_url, unique("site"))
    await create_topics(site.settings)
    try:
        site.start_worker()
        await fed_and_accounted(site, shop_events(EVENTS // 2))
    finally:
        site.end()

    done = site.command("replay", events_topic(site), "--as-live", "--to", str(tmp_path / "again"))

    assert done.returncode == 0, done.stderr
    assert sorted(lines(tmp_path / "again" / "scores.jsonl")) == sorted(
        await values_on(site, site.settings.topics.scores.name)
    )
