"""What a ranking shows is told to the crowd counts, as impressions of it are."""

from __future__ import annotations

from typing import Any

import pytest
from builders import HOUR, MINUTE, EventLog, a_click, an_event, an_impression
from core_bench import CLICK, Bench, a_replica

from online_models.closed_loop import learner_pair
from online_models.crowd import CROWD, CrowdCounts
from online_models.features import compile_features
from online_models.learning import LearningCore
from online_models.objectives import parse_objectives
from online_models.rankings import parse_rankings
from schemas.events import RankRequest
from schemas.examples import Example

ITEMS = ["i1", "i2", "i3"]
SHOWN = {
    "item": {"field": "item_id"},
    "hot": {"popularity": "item_id", "of": "impression"},
    "beside": {"follows": "item_id", "of": "impression"},
    "age": {"first_seen": "item_id", "of": "impression"},
}
CLICKED = {"item": {"field": "item_id"}, "hot": {"popularity": "item_id"}}


def a_bench(declared: dict[str, Any]) -> tuple[Bench, LearningCore]:
    """Return a bench that ranks, and the learner of the crowd counts that it reads."""
    features = compile_features(declared)
    [home] = parse_rankings(
        {"home": {"objective": "click", "shown": 3}}, objectives=parse_objectives({"click": CLICK}, features=features)
    )
    counts = CrowdCounts(features.crowd_tables)
    pair = learner_pair(CROWD, lineage="x", model=counts, prior=0.5, publish_examples=1 << 30)
    replicas = {"click": a_replica("click"), CROWD: pair.replica}
    return Bench({"click": CLICK}, features=declared, rankings=[home], replicas=replicas), pair.learner


def a_log() -> EventLog:
    log = EventLog()
    for number in range(2):
        request = an_event(RankRequest, number * MINUTE, event_id=f"ask-{number}", candidates=ITEMS)
        log.add(request, a_click("i2", number * MINUTE + 1, event_id=f"click-{number}"))
    return log


def told(bench: Bench) -> list[Example]:
    return [one for one in bench.examples if one.objective == CROWD]


def test_places_tell_what_impressions_of_them_tell() -> None:
    ranked, _ = a_bench(SHOWN)
    ranked.run(EventLog().add(an_event(RankRequest, HOUR, candidates=ITEMS)))
    order = [one.item_id for one in ranked.scores[0].ranked]
    seen, _ = a_bench(SHOWN)
    seen.run(EventLog().add(*(an_impression(item, HOUR, event_id=item) for item in order)))

    assert [one.features for one in told(ranked)] == [one.features for one in told(seen)]
    assert len(told(ranked)) == 3
    assert {one.ts for one in told(ranked)} == {one.ts for one in told(seen)}


def test_what_each_place_tells_has_a_name_and_a_number_of_its_own() -> None:
    bench, _ = a_bench({**SHOWN, "searched": {"popularity": "category", "of": "rank_request"}})
    bench.run(EventLog().add(an_event(RankRequest, HOUR, candidates=ITEMS, category="shoes")))

    assert [one.score_id for one in told(bench)] == [
        "events-0-0:crowd",  # of the request itself
        "events-0-0:crowd#1",
        "events-0-0:crowd#2",
        "events-0-0:crowd#3",
    ]
    assert [one.seq for one in bench.examples] == list(range(len(bench.examples)))


def test_the_learner_counts_each_of_them() -> None:
    bench, learner = a_bench(SHOWN)
    bench.run(a_log())

    learner.step(list(enumerate(told(bench))))
    learner.publish_pending()

    assert (learner.learned, learner.repeated) == (6, 0)
    weights = bench.replicas[CROWD].weights
    found = bench.features.extract(bench.features.new_slots(), an_impression("i3", 2 * MINUTE), weights)
    assert found[bench.features.position("hot")] == pytest.approx(-1.07, abs=0.01)  # two of six, each of them raised
    assert found[bench.features.position("age")] == pytest.approx(2 / 60)


def test_cutting_the_log_and_an_answer_that_was_published_change_nothing() -> None:
    (straight, _), (cut, _), (again, _) = (a_bench(SHOWN) for _ in range(3))
    straight.run(a_log())
    again.core.published = {one.score_id: one for one in straight.scores}

    assert cut.run(a_log(), chunk=1).fingerprint() == straight.fingerprint()
    assert again.run(a_log()).fingerprint() == straight.fingerprint()
    assert len(told(straight)) == 6


def test_places_tell_nothing_where_nobody_counts_impressions() -> None:
    bench, _ = a_bench(CLICKED)
    bench.run(a_log())

    assert [one.score_id for one in told(bench)] == ["events-0-1:crowd", "events-0-3:crowd"]
