"""Feature values of open triggers: what the objective needs is kept, also across a change of the configuration."""

from __future__ import annotations

from typing import Any

from builders import EventLog, a_click, an_impression
from core_bench import CLICK, FEATURES, Bench
from hypothesis import given
from hypothesis import strategies as st

from online_models.kept_values import KeptValues
from schemas.codec import pack_values

LATER = 31 * 60_000
MODEL: dict[str, Any] = {"name": "ftrl"}
values = st.lists(st.none() | st.integers(0, 99) | st.floats(allow_nan=False) | st.text(max_size=5), max_size=70)


@given(values, st.data())
def test_what_is_needed_is_kept(values: list[Any], data: st.DataObject) -> None:
    positions = data.draw(st.sets(st.integers(0, len(values) - 1)) if values else st.just(set[int]()))
    kept = KeptValues(positions, len(values))

    found, lacking = kept.unpack(kept.pack(values))

    assert list(found) == [value if place in positions else None for place, value in enumerate(values)]
    assert not lacking


@given(values)
def test_triggers_of_before_hold_all(values: list[Any]) -> None:
    found, lacking = KeptValues([0] if values else [], len(values)).unpack(pack_values(values))

    assert (list(found), lacking) == (values, frozenset())


def test_what_another_configuration_has_not_kept_is_told() -> None:
    packed = KeptValues([0, 2], 4).pack(["a", "b", "c", "d"])

    assert KeptValues([2], 4).unpack(packed) == (("a", None, "c", None), frozenset())
    assert KeptValues([1, 2], 4).unpack(packed) == (("a", None, "c", None), frozenset({1}))


def click(**changes: Any) -> dict[str, Any]:
    return {"click": CLICK | changes}


def taken_over(before: dict[str, Any], after: dict[str, Any]) -> Bench:
    """Return what a configuration makes of a trigger that another one has left open."""
    log = EventLog().add(an_impression("i1"), a_click("i1", 1000))
    first, second = Bench(before), Bench(after)
    first.run(log)
    second.users = first.users
    second.core._open.timers.set("u1", log.records[0].timestamp)  # as if it had been restored
    second.core._open.timers.earlier("u1", first.results[-1].changed_timers["u1"] or 0)
    return second.run(EventLog().tick(LATER))


def test_the_example_is_that_of_all_values() -> None:
    some = Bench(click(features=["clicks", "item_x_taste"], rule=[{"score": 0.1}]))
    every = Bench(click(without=[one for one in FEATURES if one not in ("clicks", "item_x_taste")]))
    for one in (some, every):
        one.run(EventLog().add(an_impression("i1", category="shoes"), a_click("i1", 1000)).tick(LATER))

    [example] = some.examples
    assert example.features == every.examples[0].features
    assert set(example.features) >= {"clicks"}


def test_a_trigger_whose_objective_sees_more_by_now_gets_no_example() -> None:
    bench = taken_over(click(features=["clicks"]), click(features=["clicks", "views"]))

    assert bench.examples == []
    assert bench.notes() == {"features_changed": 1}


def test_a_trigger_whose_objective_sees_less_by_now_gets_its_example() -> None:
    bench = taken_over(click(features=["clicks", "views"]), click(features=["views"]))

    [example] = bench.examples
    assert set(example.features) == {"views"}


def test_a_challenger_that_sees_more_learns_nothing_from_triggers_before_it() -> None:
    seen = ["clicks", "rate"]
    challengers = {
        "wide": {"features": ["clicks", "views"], "model": MODEL},
        "narrow": {"features": ["rate"], "model": MODEL},
        "same": {"features": ["clicks", "rate"], "model": MODEL | {"alpha": 0.5}},
    }
    bench = taken_over(click(features=seen), click(features=seen, challengers=challengers))

    [example] = bench.examples
    assert set(example.features) == {"clicks", "rate"}
    assert set(example.features_of) == {"narrow"}
