"""Places of a ranking as triggers: which of them wait for a label, and what their features say."""

from __future__ import annotations

from collections.abc import Sequence
from math import log as ln
from typing import Any

from builders import MINUTE, EventLog, a_click, an_add_to_cart, an_event, an_impression
from core_bench import CLICK, Bench, a_replica
from msgspec.structs import replace

from online_models.features import compile_features
from online_models.objectives import parse_objectives
from online_models.rankings import parse_rankings
from schemas.events import EventBase, RankRequest
from schemas.scores import Score

WINDOW = 30 * MINUTE


def a_request(*candidates: str, at_ms: int = 0, **fields: Any) -> RankRequest:
    return an_event(RankRequest, at_ms, candidates=list(candidates), **fields)  # type: ignore[no-any-return]


def a_bench(objectives: dict[str, Any], *, features: dict[str, Any], shown: int = 10, **options: Any) -> Bench:
    """Return a bench whose ranking `home` goes by `click`."""
    parsed = parse_objectives(objectives, features=compile_features(features))
    rankings = parse_rankings({"home": {"objective": "click", "shown": shown}}, objectives=parsed)
    return Bench(objectives, features=features, rankings=rankings, **options)


# ---------------------------------------------------------------- what their features say

OF_IMPRESSIONS = {
    "met": {"seen": "item_id", "of": "impression"},
    "met_category": {"seen": "category", "of": "impression"},
    "since": {"time_since": "impression"},
    "before": {"previous": "item_id", "of": "impression"},
    "before_here": {"previous": "item_id", "of": "impression", "within": "session"},
    "shown": {"count": "impression"},
}


def met() -> EventLog:
    """A visitor who met a twice, then z."""
    hats = {"category": "hats"}
    return EventLog().add(an_impression("a", **hats), an_impression("a", 10_000, **hats), an_impression("z", 20_000))


class Values:
    """An observer that keeps feature values by name, and what another item would have been scored with."""

    def __init__(self, features: dict[str, Any], others: Sequence[EventBase] = ()) -> None:
        self.of: dict[str | None, dict[str, Any]] = {}
        self.would: list[list[float]] = []
        self._names = compile_features(features).base_names
        self._others = others

    def scored(self, score: Score, event: EventBase, values: Any, probe: Any) -> None:
        self.of[score.item_id] = dict(zip(self._names, values, strict=True))
        self.would.append([logit(probe(replace(event, **one))) for one in self._others])


def logit(p: float) -> float:
    return round(ln(p / (1.0 - p)), 6)


def test_a_candidate_s_features_speak_of_the_candidate() -> None:
    seen = Values(OF_IMPRESSIONS)

    a_bench({"click": CLICK}, features=OF_IMPRESSIONS, observer=seen).run(
        met().add(a_request("a", "new", at_ms=60_000))
    )

    of_both = {"since": 40.0, "before": "z", "before_here": "z", "shown": 3, "met_category": None}
    assert seen.of["a"] == {"met": 1, **of_both}
    assert seen.of["new"] == {"met": 0, **of_both}


def test_a_place_counts_for_the_next_request() -> None:
    seen = Values(OF_IMPRESSIONS)
    log = EventLog().add(a_request("a", at_ms=0), a_request("a", at_ms=5_000))

    a_bench({"click": CLICK}, features=OF_IMPRESSIONS, observer=seen).run(log)

    assert seen.of["a"]["met"] == 1
    assert (seen.of["a"]["since"], seen.of["a"]["before"], seen.of["a"]["shown"]) == (5.0, "a", 1)


def test_what_was_seen_is_not_shown_again_by_a_model_that_has_learned_so() -> None:
    """By the order, which is made of the shortlist, and by the scores at the places."""
    replica = a_replica("click")
    replica.weights = {"met": -3.0, "since": 0.01}
    bench = a_bench({"click": CLICK}, features=OF_IMPRESSIONS, replicas={"click": replica})

    bench.run(met().add(a_request("a", "new", "z", at_ms=60_000)))

    ranked = bench.scores[-1].ranked
    assert [(one.item_id, one.propensity) for one in ranked[:1]] == [("new", 1.0)]
    assert {one.item_id: dict(one.reasons) for one in ranked} == {
        "new": {"since": 0.4},
        "a": {"since": 0.4, "met": -3.0},
        "z": {"since": 0.4, "met": -3.0},
    }


def test_a_published_answer_teaches_what_was_extracted_when_it_was_made() -> None:
    log = met().add(a_request("a", "new", at_ms=60_000)).tick(WINDOW + 60_001)
    first = a_bench({"click": CLICK}, features=OF_IMPRESSIONS).run(log)
    again = a_bench({"click": CLICK}, features=OF_IMPRESSIONS)
    again.core.published = {one.score_id: one for one in first.scores}

    assert again.run(log).examples == first.examples


WEIGHTS = {"met": -1.0, "met_category": -0.25, "since": 0.5, "before=a": 0.125, "before=z": -2.0}
NEW, SAME_CATEGORY, SHOWN_BEFORE = {"item_id": "new"}, {"item_id": "new", "category": "hats"}, {"item_id": "a"}


def would_score(log: EventLog) -> list[list[float]]:
    """Return, for each trigger, the logits of a new item, of one of the category of `a`, and of `a` itself."""
    replica = a_replica("click")
    replica.intercept, replica.weights = 0.0, WEIGHTS
    seen = Values(OF_IMPRESSIONS, [NEW, SAME_CATEGORY, SHOWN_BEFORE])
    a_bench({"click": CLICK}, features=OF_IMPRESSIONS, replicas={"click": replica}, observer=seen).run(log)
    return seen.would


def test_another_item_in_the_place_of_an_impression_is_taken_for_what_it_is() -> None:
    """Another one was not shown because the one that was shown was; what was before the event stays."""
    log = EventLog().add(an_impression("a", 0), an_impression("a", 2_000), an_impression("z", 6_000))

    first, second, third = would_score(log)

    assert first == [0.0, 0.0, 0.0]  # a for a: it was met here first
    assert second == [0.5 * 2 + 0.125, 0.5 * 2 + 0.125, 0.5 * 2 + 0.125 - 1.0]
    assert third == [0.5 * 4 + 0.125, 0.5 * 4 + 0.125, 0.5 * 4 + 0.125 - 1.0]


def test_the_category_that_was_shown_first_here_was_not_met_before_by_another_item_of_it() -> None:
    [[new, of_hats, _]] = would_score(EventLog().add(an_impression("z", category="hats")))

    assert (new, of_hats) == (0.0, 0.0)


def test_another_item_at_a_place_of_a_ranking_is_a_candidate_like_it() -> None:
    would = would_score(met().add(a_request("z", at_ms=24_000)))

    assert would[-1] == [0.5 * 4 - 2.0, 0.5 * 4 - 2.0 - 0.25, 0.5 * 4 - 2.0 - 1.0]


# ---------------------------------------------------------------- which of them wait

ITEM = {"item": {"field": "item_id"}}
IMMEDIATE = {**CLICK, "labels": "immediate"}


def labels_of(bench: Bench) -> dict[str, list[tuple[bool, str]]]:
    """Return (label, use) of the examples, by trigger as in `0:click#1`."""
    found: dict[str, list[tuple[bool, str]]] = {}
    for one in bench.examples:
        found.setdefault(one.score_id.removeprefix("events-0-"), []).append((one.label, one.use))
    return found


def top_of(bench: Bench) -> str:
    """Return the item at the first place of the last answer."""
    return next(one for one in reversed(bench.scores) if one.ranked).ranked[0].item_id  # type: ignore[return-value]


def test_the_top_places_keep_their_labels_where_a_request_opens_more_triggers_than_are_kept() -> None:
    objectives = {"click": CLICK, "want": {**CLICK, "outcome": "add_to_cart"}}

    bench = a_bench(objectives, features=ITEM, max_open_per_user=5).run(EventLog().add(a_request(*"abcd")))
    log = EventLog().add(a_request(*"abcd"), a_click(top_of(bench), 1)).tick(WINDOW + 1)
    bench = a_bench(objectives, features=ITEM, max_open_per_user=5).run(log)

    kept = ["0:click#1", "0:want#1", "0:click#2", "0:want#2", "0:click#3"]
    assert labels_of(bench) == {name: [(name == "0:click#1", "both")] for name in kept}
    assert bench.notes() == {"open_cut": 3}
    assert bench.core.open_count == 0


def test_what_never_opened_is_not_learned_as_a_negative_at_once() -> None:
    bench = a_bench({"click": IMMEDIATE}, features=ITEM, max_open_per_user=2).run(EventLog().add(a_request(*"abc")))
    log = EventLog().add(a_request(*"abc"), a_click(top_of(bench), 1)).tick(WINDOW + 1)
    bench = a_bench({"click": IMMEDIATE}, features=ITEM, max_open_per_user=2).run(log)

    assert labels_of(bench) == {
        "0:click#1": [(False, "learn"), (True, "both")],
        "0:click#2": [(False, "learn"), (False, "judge")],
    }


def test_the_triggers_of_earlier_events_go_first_the_oldest_of_them() -> None:
    log = EventLog().add(an_impression("x"), an_impression("y", 1), a_request(*"abc", at_ms=2)).tick(WINDOW + 3)

    bench = a_bench({"click": CLICK}, features=ITEM, max_open_per_user=4).run(log)

    assert list(labels_of(bench)) == ["1:click", "2:click#1", "2:click#2", "2:click#3"]
    assert bench.core.open_count == 0


def test_an_outcome_does_not_keep_a_trigger_or_a_visitor_who_is_cut_would_teach_outcomes_alone() -> None:
    log = EventLog().add(an_impression("x"), an_impression("y", 1), a_click("x", 2), an_impression("z", 3))

    bench = Bench(max_open_per_user=2).run(log.tick(WINDOW + 4))

    assert bench.labels() == [(1, False, "both"), (3, False, "both")]


def test_a_positive_that_was_learned_at_once_makes_room_before_what_still_waits() -> None:
    log = EventLog().add(an_impression("x"), an_impression("y", 1), a_click("y", 2), an_impression("z", 3))
    log.add(a_click("x", 4)).tick(WINDOW + 4)

    bench = Bench({"click": IMMEDIATE}, max_open_per_user=2).run(log)

    assert labels_of(bench) == {
        "0:click": [(False, "learn"), (True, "both")],
        "1:click": [(False, "learn"), (True, "both")],
        "3:click": [(False, "learn"), (False, "judge")],
    }
    assert bench.core.open_count == 0


def test_of_the_last_alone_a_positive_stays_because_it_tells_that_an_outcome_has_found_it() -> None:
    """Were it gone, a second click would make the impression before it positive, which nobody clicked."""
    log = EventLog().add(an_impression("x"), an_impression("x", 1), a_click("x", 2), an_impression("y", 3))
    log.add(an_impression("z", 4), a_click("x", 5)).tick(WINDOW + 5)

    bench = Bench({"click": {**IMMEDIATE, "credit": "last"}}, max_open_per_user=3).run(log)

    assert [offset for offset, examples in labels_of(bench).items() if (True, "both") in examples] == ["1:click"]


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
