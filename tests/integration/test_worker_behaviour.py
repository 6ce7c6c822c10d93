"""What a worker does by itself: ticks, giving up when stuck, and models that travel whole."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from polling import eventually
from site_under_test import Site, fed_and_accounted, shop_events

from online_models.crowd import CROWD
from schemas.codec import decode_example
from streams.embedded import EmbeddedValkey
from streams.reading import read_until_quiet, reader


@pytest.fixture
def make_site(tmp_path: Path, embedded_broker: Any, unique: Any) -> Iterator[Any]:
    """Make a site whose configuration and variables are changed before its topics are created."""
    made: list[Site] = []

    def make(redis_url: str, *, objectives: dict[str, Any] | None = None, **variables: str) -> Site:
        site = Site(tmp_path, "shop", embedded_broker.bootstrap_servers, redis_url, unique("site"))
        declared = yaml.safe_load(site.config.read_text())
        if objectives:
            declared["objectives"] = objectives
            del declared["rankings"]  # they go by the shop's own
        site.config.write_text(yaml.safe_dump(declared, sort_keys=False))
        site.environment |= variables
        site.reload()
        created = site.command("topics", "create")
        assert created.returncode == 0, created.stderr
        made.append(site)
        return site

    yield make
    for site in made:
        site.end()


async def test_windows_close_on_a_partition_where_nobody_comes_any_more(make_site: Any, valkey_url: str) -> None:
    objective = {
        "trigger": "page_view",
        "outcome": "click",
        "match": "session",
        "window": "2s",
        "grace": 0,
        "model": {"name": "ftrl"},
    }
    site = make_site(valkey_url, objectives={"click_soon": objective}, STREAMSCORE_WORKER_IDLE_TICK="1s")
    site.start_worker()

    report = await fed_and_accounted(site, shop_events(300))
    waiting = json.loads(site.get("/status")[1])["open_attributions"]
    end = time.monotonic() + 20
    while json.loads(site.get("/status")[1])["open_attributions"] and time.monotonic() < end:
        await asyncio.sleep(0.2)
    examples = []
    async with reader(site.settings.kafka, [site.settings.topics.examples.name]) as consumer:
        async for records in read_until_quiet(consumer, quiet_s=1.5):
            examples += [decode_example(record.value) for record in records]

    assert report["unaccounted"] == 0
    assert waiting > 0
    labelled = [example for example in examples if example.objective != CROWD]
    assert len({example.score_id for example in labelled}) == report["scores"]


def test_a_worker_that_is_stuck_with_records_waiting_ends_with_an_error(make_site: Any) -> None:
    valkey = EmbeddedValkey()
    valkey.start()
    site = make_site(valkey.url, STREAMSCORE_WORKER_STALL_TIMEOUT="4s", STREAMSCORE_REDIS_TIMEOUT="1s")
    worker = site.start_worker()
    try:
        os.kill(valkey.pid, signal.SIGSTOP)
        asyncio.run(site.feed(shop_events(2000)))

        status = worker.wait(90)
    finally:
        os.kill(valkey.pid, signal.SIGCONT)
        valkey.stop()

    assert status == 1
    assert "no progress for 4 s with records waiting" in site.logs()


def test_while_the_store_is_away_what_is_exported_says_so(make_site: Any) -> None:
    valkey = EmbeddedValkey()
    valkey.start()
    site = make_site(valkey.url, STREAMSCORE_REDIS_TIMEOUT="1s", STREAMSCORE_WORKER_CHUNK_RECORDS="50")
    events = site.settings.topics.events.name
    worker = site.start_worker()
    try:
        os.kill(valkey.pid, signal.SIGSTOP)
        asyncio.run(site.feed(shop_events(10_000)))
        # The end that the embedded broker names is too small by up to a batch.
        eventually(lambda: site.exported("lag_records", topic=events) > 6_000, within_s=20)
        asyncio.run(site.feed(shop_events(5_000)))
        eventually(lambda: site.exported("lag_records", topic=events) > 10_000, within_s=20)
        eventually(lambda: site.exported("waiting") > 5, within_s=20)
        lag = json.loads(site.get("/status")[1])["lag"]
        worker.kill()
        worker.wait()

        site.launch_worker()
        eventually(lambda: site.exported("waiting", step="reach the store") > 2, within_s=40)
        assigned = site.exported("assigned_partitions", topic=events)
        os.kill(valkey.pid, signal.SIGCONT)
        site.await_ready()
        eventually(lambda: site.exported("waiting", step="reach the store") == 0, within_s=20)
    finally:
        os.kill(valkey.pid, signal.SIGCONT)
        site.end()
        valkey.stop()

    assert lag > 10_000
    assert assigned == 0


def test_a_store_that_comes_back_is_waited_for_and_nothing_is_lost(make_site: Any) -> None:
    valkey = EmbeddedValkey()
    valkey.start()
    site = make_site(valkey.url, STREAMSCORE_REDIS_TIMEOUT="1s")
    worker = site.start_worker()

    def away_for_a_while() -> None:
        os.kill(valkey.pid, signal.SIGSTOP)
        time.sleep(3)
        os.kill(valkey.pid, signal.SIGCONT)

    try:
        report = asyncio.run(fed_and_accounted(site, shop_events(20_000), away_for_a_while))
        still_running = worker.poll() is None
    finally:
        site.end()
        valkey.stop()

    assert still_running
    assert report["unaccounted"] == 0
    assert report["duplicate_scores"] == 0
    assert "dependency is away, trying again" in site.logs()
    assert "dependency is back" in site.logs()


async def test_a_river_model_scores_live_and_travels_signed(make_site: Any, valkey_url: str) -> None:
    objective = {
        "trigger": "impression",
        "outcome": "click",
        "match": "item",
        "window": "30m",
        "prior": 0.05,
        "features": ["click_rate", "taste", "position", "price"],
        "model": {"name": "river.naive_bayes.BernoulliNB"},
    }
    site = make_site(valkey_url, objectives={"click": objective}, STREAMSCORE_MODEL_KEY="a secret of this test")
    site.start_worker()

    report = await fed_and_accounted(site, shop_events(8000))
    model = json.loads(site.get("/status")[1])["models"]["click"]
    recent = json.loads(site.get("/status")[1])["recent_scores"]

    assert report["unaccounted"] == 0
    assert model["name"] == "river.naive_bayes.BernoulliNB"
    assert model["version"] > 0
    assert report["objectives"]["click"]["auc"] > 0.5
    assert any(score["reasons"] for score in recent)
