"""No example's features hold its own outcome, in whatever order the two come."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from builders import DAY, EventLog, a_click, a_page_view, a_purchase, an_impression
from core_bench import ALL, CLICK, CONTINUE, PURCHASE, Bench, trigger_of
from hypothesis import given
from hypothesis import strategies as st

SAME = 60_000


def features_without_outcomes(objective: str, trigger: Any, earlier: list[Any]) -> dict[str, float]:
    """Return what the trigger's features are if nothing but `earlier` has happened."""
    declared = {name: {key: value for key, value in body.items() if key != "when"} for name, body in ALL.items()}
    bench = Bench(declared).run(EventLog().add(*earlier, trigger).tick(10 * DAY))
    return next(
        one.features for one in bench.examples if one.objective == objective and trigger_of(one) == len(earlier)
    )


CASES = [
    ("click", CLICK, an_impression("i1", SAME), a_click("i1", SAME)),
    ("purchase", PURCHASE, a_click("i1", SAME), a_purchase(SAME)),
    ("continue", {**CONTINUE, "when": {}}, a_page_view(SAME), a_click("i9", SAME)),
]


@pytest.mark.parametrize("labels", ["at_window_end", "immediate"])
@pytest.mark.parametrize("chunk", [1, 500])
@pytest.mark.parametrize(("name", "declared", "trigger", "outcome"), CASES)
def test_an_outcome_at_the_same_millisecond_is_not_in_the_features(
    name: str, declared: dict[str, Any], trigger: Any, outcome: Any, chunk: int, labels: str
) -> None:
    log = EventLog().add(trigger, outcome).tick(10 * DAY)

    examples = Bench({name: {**declared, "labels": labels}}).run(log, chunk=chunk).examples

    alone = features_without_outcomes(name, trigger, [])
    assert any(one.label for one in examples)
    assert all(one.features == alone for one in examples if one.use != "judge")


@pytest.mark.parametrize("labels", ["at_window_end", "immediate"])
@pytest.mark.parametrize("chunk", [1, 500])
@pytest.mark.parametrize(("name", "declared", "trigger", "outcome"), CASES)
def test_an_outcome_that_stands_before_its_trigger_in_the_log_makes_no_example(
    name: str, declared: dict[str, Any], trigger: Any, outcome: Any, chunk: int, labels: str
) -> None:
    # The outcome is in the features by then: whatever label came would be given away.
    log = EventLog().add(outcome, trigger).tick(10 * DAY)

    bench = Bench({name: {**declared, "labels": labels}}).run(log, chunk=chunk)

    assert [score.offset for score in bench.scores if score.event_id == trigger.event_id] == [1]
    assert [one for one in bench.examples if trigger_of(one) == 1] == []
    assert bench.notes() == {"outcome_first": 1}


@given(st.permutations(range(6)), st.sampled_from([1, 3, 500]))
def test_in_any_order_of_arrival_a_label_never_stands_in_its_own_features(order: list[int], chunk: int) -> None:
    events = [
        an_impression("i1", 0),
        an_impression("i2", 1),
        a_click("i1", 2),
        an_impression("i1", 3),
        a_click("i2", 3),
        a_click("i1", 4),
    ]
    arrived = [events[index] for index in order]

    examples = Bench().run(EventLog().add(*arrived).tick(DAY), chunk=chunk).examples

    for one in examples:
        offset = trigger_of(one)
        trigger = arrived[offset]
        its_outcomes = [
            event
            for event in events
            if event.type == "click" and event.item_id == trigger.item_id and event.ts >= trigger.ts
        ]
        seen = arrived[:offset]
        assert all(outcome not in seen for outcome in its_outcomes)
        assert one.features == features_without_outcomes("click", trigger, seen)


def test_the_next_page_of_a_visit_is_an_outcome_and_not_a_feature_of_the_one_before() -> None:
    views = [a_page_view(at) for at in (0, 1000, 2000, 3000)]
    log = EventLog().add(*views).tick(DAY)

    examples = Bench({"continue": CONTINUE}).run(log).examples

    assert [(trigger_of(one), one.label) for one in examples] == [(1, True), (2, True), (3, False)]
    for one, count in zip(examples, itertools.count(2), strict=False):
        assert one.features["views"] == one.features["visit_events"] == count
