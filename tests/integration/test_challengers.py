"""Challengers on a live path: in the shadow, promoted by hand and by the test, rolled back, and replayed."""

from __future__ import annotations

import asyncio
import itertools
import json
import time
from pathlib import Path
from typing import Any

import yaml
from site_under_test import Site, fed_and_accounted, shop_events

from schemas.codec import decode_metric, decode_score
from schemas.metrics import Contest, Progress, Promotion
from schemas.scores import Score
from streams.admin import create_topics
from streams.replay.range_reader import open_range
from streams.replay.spec import TopicRange

PART = 2_500


def a_site(folder: Path, bootstrap_servers: str, redis_url: str, name: str, **click: Any) -> Site:
    """A shop whose objective `click` is declared with `click` on top."""
    site = Site(folder, "shop", bootstrap_servers, redis_url, name)
    declared = yaml.safe_load(site.config.read_text())
    declared["objectives"]["click"] |= click
    site.config.write_text(yaml.safe_dump(declared, sort_keys=False))
    site.reload()
    asyncio.run(create_topics(site.settings))
    return site


async def _values_on(site: Site, topic: str) -> list[bytes]:
    values = []
    async with open_range(TopicRange(topic), site.settings.kafka) as source:
        while batches := await source.read():
            values += [record.value for records in batches.values() for record in records]
    return values


def metrics_of(site: Site, kind: type) -> list[Any]:
    metrics = [decode_metric(value) for value in asyncio.run(_values_on(site, site.settings.topics.metrics.name))]
    return [one for one in metrics if isinstance(one, kind)]


def click_scores(site: Site) -> list[Score]:
    scores = [decode_score(value) for value in asyncio.run(_values_on(site, site.settings.topics.scores.name))]
    return [one for one in scores if one.objective == "click"]


def served(site: Site) -> str:
    return str(json.loads(site.get("/status")[1])["served"].get("click", ""))


def wait_until_served(site: Site, variant: str) -> None:
    end = time.monotonic() + 15
    while served(site) != variant:
        assert time.monotonic() < end, site.logs()
        time.sleep(0.05)


def wait_until_judged(site: Site, challenger: str) -> Contest:
    """Standings are told with the next published version, up to an interval after the last example was learned."""
    end = time.monotonic() + 15
    while True:
        told = metrics_of(site, Contest)
        if told and (standing := told[-1].standings.get(challenger)) and standing.judged:
            return told[-1]
        assert time.monotonic() < end, site.logs()
        time.sleep(0.2)


def test_promoted_by_hand_rolled_back_and_replayed_as_it_was(
    tmp_path: Path, kafka_broker: Any, valkey_url: str, unique: Any
) -> None:
    rival = {"model": {"name": "ftrl", "alpha": 0.5}, "without": ["price"]}
    site = a_site(
        tmp_path,
        kafka_broker.bootstrap_servers,
        valkey_url,
        unique("contest"),
        challengers={"rival": rival},
        promotion={"after": 10},
    )
    events = shop_events(3 * PART)
    parts = [list(itertools.islice(events, PART)) for _ in range(3)]
    try:
        site.start_worker()
        asyncio.run(fed_and_accounted(site, parts[0]))
        early = site.command("rollback", "click")
        done = site.command("promote", "click", "rival")
        assert done.returncode == 0, done.stderr
        assert "click serves rival from now on (change 1)" in done.stdout
        wait_until_served(site, "rival")
        asyncio.run(fed_and_accounted(site, parts[1]))

        # A new worker, and a new learner, know who is served.
        site.workers[0].terminate()
        site.workers[0].wait(15)
        site.start_worker()
        assert served(site) == "rival"
        again = site.command("promote", "click", "rival")
        unknown = site.command("promote", "click", "nobody")
        table = site.command("challengers")
        back = site.command("rollback", "click")
        assert back.returncode == 0, back.stderr
        wait_until_served(site, "")
        asyncio.run(fed_and_accounted(site, parts[2]))
        contest = wait_until_judged(site, "rival")
    finally:
        site.end()

    assert "has served its declared model all the time" in early.stderr
    assert "rival is what click serves" in again.stderr
    assert "click has no challenger 'nobody'; it has rival" in unknown.stderr
    assert "rival" in table.stdout
    assert "served" in table.stdout
    scores = sorted(click_scores(site), key=lambda one: (one.partition, one.offset))
    turns = [[name for name, _ in itertools.groupby(one.variant for one in some)] for some in by_partition(scores)]
    assert turns == [["", "rival", ""]] * len(turns)
    promotions = metrics_of(site, Promotion)
    assert [(one.variant, one.before, one.cause, one.number) for one in promotions] == [
        ("rival", "", "command", 1),
        ("", "rival", "rollback", 2),
    ]
    assert {one.objective for one in metrics_of(site, Progress)} >= {"click", "click~rival"}
    assert contest.champion == ""

    replayed = site.command(
        "replay", f"kafka://{site.settings.topics.events.name}", "--as-live", "--to", str(tmp_path / "again")
    )
    compared = site.command("diff", str(tmp_path / "again"), "live")
    audited = site.command("audit", next(one.score_id for one in reversed(scores) if one.variant), "--json")
    assert replayed.returncode == 0, replayed.stderr
    assert compared.returncode == 0, compared.stdout + compared.stderr
    assert json.loads(audited.stdout)["differences"] == []


def by_partition(scores: list[Score]) -> list[list[Score]]:
    return [list(some) for _, some in itertools.groupby(scores, key=lambda one: one.partition)]


def test_the_test_promotes_a_better_challenger_and_says_why(
    tmp_path: Path, embedded_broker: Any, valkey_url: str, unique: Any
) -> None:
    site = a_site(
        tmp_path,
        embedded_broker.bootstrap_servers,
        valkey_url,
        unique("contest"),
        # A champion that believes the last thing it saw.
        model={"name": "ftrl", "alpha": 2.0, "l2": 0.0},
        challengers={"calm": {"model": {"name": "ftrl", "alpha": 0.02}}},
        promotion={"automatic": True, "after": 100},
    )
    try:
        site.start_worker()
        asyncio.run(fed_and_accounted(site, shop_events(12_000)))
        wait_until_served(site, "calm")
        table = site.command("challengers")
    finally:
        site.end()

    first = metrics_of(site, Promotion)[0]
    assert (first.variant, first.cause, first.number) == ("calm", "test", 1)
    assert first.standing.evidence >= 20
    assert first.standing.advantage > 0
    assert "declared -> calm, by test" in table.stdout
    assert "another model is served" in site.logs()
