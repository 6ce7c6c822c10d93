"""What docs/production.md says of upgrades: a changed feature, in place and beside the running deployment."""

from __future__ import annotations

import asyncio
import itertools
import json
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from polling import eventually
from site_under_test import Site, fed_and_accounted, shop_events

from streams.admin import create_topics

EVENTS = 4_000


def change_a_feature(site: Site, **topics: str) -> None:
    """Count page views over another window, and name topics anew."""
    declared = yaml.safe_load(site.config.read_text())
    declared["features"]["views_1h"]["window"] = "2h"
    declared["topics"] |= topics
    site.config.write_text(yaml.safe_dump(declared, sort_keys=False))
    site.reload()


def totals(site: Site) -> dict[str, int]:
    found: dict[str, int] = json.loads(site.get("/status")[1])["totals"]
    return found


def judged(site: Site) -> int:
    """Return how many scores the models that learn now have been judged by."""
    objectives = json.loads(site.get("/status")[1])["objectives"]
    return sum(progress["n"] for progress in objectives.values())


@pytest.fixture
def new_site(
    tmp_path: Path, kafka_broker: Any, valkey_url: str, unique: Callable[[str], str]
) -> Iterator[Callable[[], Site]]:
    made: list[Site] = []

    def make() -> Site:
        folder = tmp_path / str(len(made))
        folder.mkdir()
        made.append(Site(folder, "shop", kafka_broker.bootstrap_servers, valkey_url, unique("site")))
        return made[-1]

    yield make
    for site in made:
        site.end()


def status_with_crowd(site: Site) -> dict[str, Any] | None:
    """Return the worker's status once it has read what the topic of models has."""
    status: dict[str, Any] = json.loads(site.get("/status")[1])
    return status if status["crowd_version"] > 0 else None


async def test_a_changed_feature_loses_no_event_and_its_models_learn_anew(new_site: Callable[[], Site]) -> None:
    site = new_site()
    await create_topics(site.settings)
    old = site.start_worker()
    await fed_and_accounted(site, shop_events(EVENTS))
    assert judged(site) == totals(site)["learned"] > 0
    old.send_signal(signal.SIGTERM)
    assert old.wait(15) == 0, site.logs()

    change_a_feature(site)
    site.start_worker()
    status = eventually(lambda: status_with_crowd(site))
    versions = {model["version"] for model in status["models"].values()}
    report = await fed_and_accounted(site, itertools.islice(shop_events(2 * EVENTS), EVENTS, None))

    assert status["crowd_version"] > 0  # none of the features that describe a visitor was changed
    assert versions == {0}
    assert report["unaccounted"] == 0
    # The totals are those of the second worker alone: nothing of the first one's model is in the second's.
    assert judged(site) == totals(site)["learned"] > 0


async def test_a_second_deployment_learns_from_the_whole_log_beside_the_first(new_site: Callable[[], Site]) -> None:
    first, second = new_site(), new_site()
    await create_topics(first.settings)
    first.start_worker()
    await fed_and_accounted(first, shop_events(EVENTS))

    change_a_feature(second, events=first.settings.topics.events.name)
    await create_topics(second.settings)
    second.start_worker()
    await asyncio.to_thread(eventually, lambda: totals(second)["events"] == EVENTS, within_s=60)
    await asyncio.to_thread(eventually, lambda: totals(second)["learned"] == totals(first)["learned"], within_s=60)

    assert first.get("/readyz")[0] == second.get("/readyz")[0] == 200
    assert totals(first)["events"] == EVENTS
    for counted in ("scored", "scores", "examples", "dead"):
        assert totals(second)[counted] == totals(first)[counted]
