"""Places of a ranking as triggers: which of them wait for a label, and what their features say."""

from __future__ import annotations

from typing import Any

from builders import MINUTE, EventLog, a_click, an_add_to_cart, an_event
from core_bench import CLICK, Bench

from online_models.features import compile_features
from online_models.objectives import parse_objectives
from online_models.rankings import parse_rankings
from schemas.events import RankRequest

WINDOW = 30 * MINUTE


def a_request(*candidates: str, at_ms: int = 0, **fields: Any) -> RankRequest:
    return an_event(RankRequest, at_ms, candidates=list(candidates), **fields)  # type: ignore[no-any-return]


def a_bench(objectives: dict[str, Any], *, features: dict[str, Any], shown: int = 10, **options: Any) -> Bench:
    """Return a bench whose ranking `home` goes by `click`."""
    parsed = parse_objectives(objectives, features=compile_features(features))
    rankings = parse_rankings({"home": {"objective": "click", "shown": shown}}, objectives=parsed)
    return Bench(objectives, features=features, rankings=rankings, **options)


# ---------------------------------------------------------------- which of them wait


def test_a_place_that_the_ranking_s_objective_excludes_is_shown_and_waits_for_nothing() -> None:
    seen: list[str] = []

    class Observer:
        def scored(self, score: Any, event: Any, values: Any, probe: Any) -> None:
            seen.append(score.score_id)

    objectives = {
        "click": {**CLICK, "when": {"item": {"in": ["a"]}}},
        "want": {**CLICK, "outcome": "add_to_cart"},
    }
    log = EventLog().add(a_request("a", "b"), a_click("b", 1), an_add_to_cart("b", 2)).tick(WINDOW + 1)

    bench = a_bench(objectives, features={"item": {"field": "item_id"}}, observer=Observer()).run(log)

    answer = bench.scores[0]
    place = {one.item_id: number for number, one in enumerate(answer.ranked, 1)}
    assert sorted(place) == ["a", "b"]
    judged = {f"events-0-0:click#{place['a']}", "events-0-0:want#1", "events-0-0:want#2"}
    assert {one.score_id: one.label for one in bench.examples} == {
        one: one == f"events-0-0:want#{place['b']}" for one in judged
    }
    assert set(seen) == judged
