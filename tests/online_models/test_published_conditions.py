"""A condition on what all visitors do is not asked again of events of which it is known what was published."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from builders import HOUR, EventLog, an_event, an_impression
from core_bench import CLICK, Bench
from crowds import FEATURES, HOT, crowded_bench
from msgspec.structs import replace

from online_models.crowd import CROWD
from online_models.features import compile_features
from online_models.objectives import parse_objectives
from online_models.published import NEVER
from online_models.rankings import parse_rankings
from schemas.events import RankRequest
from schemas.scores import Score

LOG = EventLog().add(*(an_impression(f"i{number}", number, event_id=f"e{number}") for number in range(4))).tick(HOUR)
NOBODY: dict[str, Score] = {}


def scored(bench: Bench) -> list[str]:
    return [one.score_id for one in bench.scores]


def labelled(bench: Bench) -> list[str]:
    return [one.score_id for one in bench.examples if one.objective != CROWD]


def again(bench: Bench, scores: Mapping[str, Score], *, to: int, known_from: int = 0, log: EventLog = LOG) -> Bench:
    bench.core.published, bench.core.published_to, bench.core.published_from = scores, to, known_from
    return bench.run(log)


@pytest.fixture
def published() -> dict[str, Score]:
    """Only i1 was hot."""
    live = crowded_bench("i1").run(LOG)
    assert scored(live) == labelled(live) == ["events-0-1:click"]
    return {one.score_id: one for one in live.scores}


@pytest.mark.parametrize("chunk", [1, 500])
def test_what_was_published_stands_and_nothing_else(published: dict[str, Score], chunk: int) -> None:
    bench = crowded_bench("i2")
    bench.core.published, bench.core.published_to = published, 5

    bench.run(LOG, chunk=chunk)

    assert scored(bench) == labelled(bench) == list(published)
    assert bench.ignored() == {"condition_not_met": 3, "tick": 1}


def test_a_part_without_anything_published_is_known_too() -> None:
    assert scored(again(crowded_bench("i2"), NOBODY, to=5)) == []


def test_what_was_never_published_is_scored(published: dict[str, Score]) -> None:
    # The log of scores ends with that of i1: whatever came of later events was not written.
    assert scored(again(crowded_bench("i2"), published, to=1)) == ["events-0-1:click", "events-0-2:click"]
    assert scored(again(crowded_bench("i1"), NOBODY, to=1)) == ["events-0-1:click"], (
        "the last one may be cut off as well"
    )


def test_before_what_is_still_kept_the_condition_is_asked(published: dict[str, Score]) -> None:
    assert scored(again(crowded_bench("i2"), published, to=5, known_from=2)) == list(published)
    assert scored(again(crowded_bench("i2"), published, to=5, known_from=3)) == ["events-0-1:click", "events-0-2:click"]


def test_scores_of_a_topic_of_the_same_name_say_nothing_of_what_they_lack(published: dict[str, Score]) -> None:
    others = {name: replace(one, event_id="another") for name, one in published.items()}
    bench = again(crowded_bench("i2"), others, to=5)

    assert scored(bench) == ["events-0-2:click"]
    assert bench.core.published_from == NEVER


def test_other_conditions_are_asked_of_what_was_not_published() -> None:
    live = crowded_bench("i1", {"seen": {"max": 2}}).run(LOG)
    last = {one.score_id: one for one in live.scores[-1:]}

    assert scored(live) == ["events-0-0:click", "events-0-1:click"]
    assert scored(again(crowded_bench("i1", {"seen": {"max": 2}}), last, to=5)) == scored(live)


def test_a_trigger_whose_other_condition_has_changed_stands() -> None:
    live = crowded_bench("i1", None).run(LOG)
    everything = {one.score_id: one for one in live.scores}

    assert scored(again(crowded_bench("i1", {"seen": {"max": 1}}), everything, to=5)) == list(everything)


def test_places_of_a_ranking_are_scored_as_they_were() -> None:
    features = compile_features(FEATURES)
    objectives = parse_objectives({"rank": CLICK}, features=features)
    [home] = parse_rankings({"home": {"objective": "rank", "shown": 2}}, objectives=objectives)
    log = EventLog().add(an_event(RankRequest, candidates=["i1", "i2"], event_id="q")).tick(HOUR)
    live = crowded_bench("i1", HOT, "rank", rankings=[home]).run(log)
    answer, placed = live.scores
    # Of another version, without the counts that it was made with: the condition would be asked with those of today.
    answer.ranked = [replace(one, crowd=[]) for one in answer.ranked]
    bench = again(
        crowded_bench("i2", HOT, "rank", rankings=[home]), {one.score_id: one for one in live.scores}, to=2, log=log
    )

    assert placed.score_id.startswith("events-0-0:click#")
    assert scored(bench) == scored(live)
    assert sorted(labelled(bench)) == sorted(labelled(live))
