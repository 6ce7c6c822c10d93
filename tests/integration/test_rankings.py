"""Rank requests on a real broker: what the site gets, what is learned from it, and that a replay says the same."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from site_under_test import Site, asking, fed_and_accounted, shop_events, working_site

from schemas.codec import decode_example, decode_score
from schemas.events import EventBase, RankRequest
from schemas.scores import Score
from streams.replay.range_reader import open_range
from streams.replay.spec import TopicRange

EVENTS = 3_000
SHOWN = 5
OVER_HTTP = 8
WITHIN_S = 30


def asked_shop(count: int) -> Iterator[EventBase]:
    return asking(shop_events(count))


EPSILON_GREEDY = {"kind": "epsilon_greedy", "epsilon": 0.1}
THOMPSON = {"kind": "thompson"}


@pytest.fixture(scope="module", params=[EPSILON_GREEDY, THOMPSON], ids=lambda policy: policy["kind"])
def live(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, kafka_broker: Any, valkey_url: str
) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("ranked")
    events = list(asked_shop(EVENTS))
    # In two parts, so that requests of the second meet a model.
    half = len(list(asked_shop(EVENTS // 2)))
    sources = ["similar", "category", "popular", "recent"]
    sections = {"rankings": {"home": {"objective": "click", "shown": SHOWN, "sources": sources, **request.param}}}
    with working_site(folder, kafka_broker.bootstrap_servers, valkey_url, events[:half], sections) as site:
        end = time.monotonic() + WITHIN_S
        while not has_model(site):
            assert time.monotonic() < end
            time.sleep(0.05)
        for number in range(OVER_HTTP):
            body = {
                "user_id": f"http-{number}",
                "ts": events[half - 1].ts,
                "candidates": [f"item-{n}" for n in range(9)],
            }
            site.post("/v1/rank", {"event_id": f"http-{number}", **body})
        while sum("answered" in one.flags for one in answers_on(site)) < OVER_HTTP:
            assert time.monotonic() < end
        while not json.loads(site.get("/status")[1])["crowd_version"]:  # what all visitors did so far
            assert time.monotonic() < end
            time.sleep(0.05)
        report = asyncio.run(fed_and_accounted(site, events[half:]))
        assert report["unaccounted"] == 0
        [worker] = site.workers
        worker.terminate()
        worker.wait(15)
        yield site


def has_model(site: Site) -> bool:
    models = json.loads(site.get("/v1/models")[1])["models"]
    return any(one["objective"] == "click" and one["model_version"] for one in models)


async def values_on(site: Site, topic: str) -> list[bytes]:
    found: list[bytes] = []
    async with open_range(TopicRange(topic), site.settings.kafka) as source:
        while batches := await source.read():
            found += [record.value for records in batches.values() for record in records]
    return found


def answers_on(site: Site) -> list[Score]:
    scores = map(decode_score, asyncio.run(values_on(site, site.settings.topics.scores.name)))
    return [score for score in scores if score.ranked]


def test_each_request_is_answered_once_with_the_likeliest_first(live: Site) -> None:
    asked = [event for event in asked_shop(EVENTS) if isinstance(event, RankRequest)]

    answers = [one for one in answers_on(live) if "answered" not in one.flags]

    assert len(asked) > 100
    with_candidates = {event.event_id for event in asked if event.candidates}
    of_sources = [one for one in answers if one.event_id not in with_candidates]
    assert sorted(one.event_id for one in answers if one not in of_sources) == sorted(with_candidates)
    assert len({one.event_id for one in of_sources}) == len(of_sources) > 20
    told = [place.category is not None and place.price is not None for one in of_sources for place in one.ranked]
    assert sum(told) > len(told) / 2, "some items were met by clicks only that do not say what they are"
    assert {len(one.ranked) for one in answers if one not in of_sources} == {SHOWN}
    informed = [one for one in answers if one.model_version]
    assert len(informed) > 50
    assert all(place.reasons for one in informed for place in one.ranked)
    if live.settings.rankings[0].policy.kind == "epsilon_greedy":
        # Candidates that the model cannot tell apart share their chance; mostly one is ahead.
        assert sum(one.ranked[0].propensity > 0.9 for one in informed) > len(informed) / 2
        assert any(one.ranked[0].propensity < 0.1 for one in informed), "a tenth of the places explores"
    else:
        chances = [place.propensity for one in informed for place in one.ranked]
        assert len(set(chances)) > len(chances) / 2, "they follow what is known of each candidate"


def test_what_was_shown_is_learned_from(live: Site) -> None:
    examples = map(decode_example, asyncio.run(values_on(live, live.settings.topics.examples.name)))
    of_places = [one for one in examples if "#" in one.score_id]

    assert {one.objective for one in of_places} == {"click"}
    assert len(of_places) > SHOWN * 50
    assert 0 < sum(one.label for one in of_places) < len(of_places) / 3
    assert all(any(name.startswith("item=") for name in one.features) for one in of_places)


def test_a_replay_as_it_was_live_gives_the_same_answers(live: Site, tmp_path: Path) -> None:
    over_http = [one for one in answers_on(live) if "answered" in one.flags]
    replayed = live.command(
        "replay", f"kafka://{live.settings.topics.events.name}", "--as-live", "--to", str(tmp_path / "again")
    )
    compared = live.command("diff", str(tmp_path / "again"), "live")

    assert len(over_http) == OVER_HTTP
    assert all(one.model_version and len(one.ranked) == SHOWN for one in over_http)
    assert replayed.returncode == 0, replayed.stdout + replayed.stderr
    assert compared.returncode == 0, compared.stdout + compared.stderr


def test_a_place_can_be_audited_by_the_answer_s_name_and_by_its_own(live: Site) -> None:
    answer = [one for one in answers_on(live) if one.model_version and not one.flags][-1]
    own = answer.score_id.replace(":home", ":click#2")

    by_ranking, by_place = live.command("audit", f"{answer.score_id}#2"), live.command("audit", own)
    beyond = live.command("audit", f"{answer.score_id}#6")

    assert by_ranking.returncode == 0, by_ranking.stdout + by_ranking.stderr
    assert by_place.stdout == by_ranking.stdout
    assert answer.ranked[1].item_id in by_place.stdout
    assert beyond.returncode != 0
    assert f"The answer {answer.score_id} has 5 places" in beyond.stderr
