"""Stored states after a change of the configuration: slots, outcome times and open triggers keep their meaning."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from builders import (
    DAY,
    HOUR,
    MINUTE,
    T0,
    EventLog,
    a_click,
    a_page_view,
    a_purchase,
    an_event,
    an_impression,
)
from core_bench import CLICK, CONTINUE, FEATURES, PURCHASE
from hypothesis import given, settings
from hypothesis import strategies as st
from stored_partition import Stored

from schemas.codec import decode_user_state
from schemas.events import AddToCart, Click, Impression, PageView, Purchase

FEW = {"purchase": PURCHASE}
MANY = {
    "purchase": PURCHASE,
    "click": CLICK,
    "cart": {**CLICK, "outcome": "add_to_cart"},
}
OTHER_FEATURES = {name: one for name, one in FEATURES.items() if name != "rate"}


def bought(objectives: dict[str, Any]) -> Stored:
    """Return a partition of a visitor who has clicked at 0 and bought a second later, and whose click waits."""
    return Stored(objectives).run(EventLog().add(a_click("i1", 0), a_purchase(1000)))


def test_an_objective_that_is_added_reads_the_outcome_times_of_before() -> None:
    stored = bought(FEW)

    stored.again(MANY)
    stored.run(EventLog().add(an_impression("i2", 2000), a_click("i2", 3000), a_purchase(4000)))

    assert stored.outcome_times() == {"click": T0 + 3000, "purchase": T0 + 4000}
    stored.again(FEW)
    stored.run(EventLog().add(a_purchase(5000)).tick(48 * HOUR))
    assert stored.outcome_times()["purchase"] == T0 + 5000
    assert stored.bench.core.open_count == 0


def test_an_outcome_that_came_before_its_trigger_is_known_after_a_change_of_the_objectives() -> None:
    stored = bought(FEW)
    stored.again(MANY)

    stored.run(EventLog().add(a_click("i3", 500, event_id="late")))  # the purchase at 1000 is in its features

    assert stored.bench.notes() == {"outcome_first": 1}


def test_triggers_wait_on_while_outcomes_change() -> None:
    stored = bought(FEW)
    before = decode_user_state(stored.blobs["u1"])

    stored.again(MANY)
    stored.run(EventLog().add(a_page_view(2000)))
    after = decode_user_state(stored.blobs["u1"])

    assert [(one.offset, one.ts, one.hit) for one in after.open] == [(0, T0, True)]
    clicks = stored.bench.features.slot_keys.index("total:click")
    assert after.slots[clicks] == before.slots[clicks] == 1
    stored.run(EventLog().tick(48 * HOUR))
    assert [one.label for one in stored.bench.examples] == [True]


def test_a_visitor_at_rest_keeps_the_outcome_times() -> None:
    stored = bought({**FEW, "click": CLICK})
    stored.run(EventLog().tick(30 * HOUR))
    assert decode_user_state(stored.blobs["u1"]).resting is not None

    stored.again(MANY)
    stored.run(EventLog().add(an_event(AddToCart, 31 * HOUR, item_id="i1")))

    assert stored.outcome_times() == {"click": T0, "purchase": T0 + 1000, "add_to_cart": T0 + 31 * HOUR}


def test_other_features_end_what_waits_and_keep_the_outcome_times() -> None:
    stored = bought(FEW)

    stored.again(MANY, OTHER_FEATURES)
    stored.run(EventLog().add(an_impression("i2", 2000)))
    assert stored.outcome_times() == {"purchase": T0 + 1000}
    stored.again(FEW, FEATURES)
    stored.run(EventLog().add(a_page_view(3000)))

    assert stored.outcome_times() == {"purchase": T0 + 1000}
    assert decode_user_state(stored.blobs["u1"]).open == []
    assert stored.bench.core.open_count == 0
    assert len(stored.stored_meta().layouts) == 2


def two_who_wait() -> Stored:
    """Return a partition of two visitors with two triggers each: one for five minutes, one for a day."""
    both = {"click": {**CLICK, "window": "5m"}, "bought": {**PURCHASE, "trigger": "impression"}}
    log = EventLog().add(*(an_impression("i1", n, user_id=f"u{n}", event_id=f"e{n}") for n in (1, 2)))
    return Stored(both).run(log)


WINDOWS_END = EventLog().add(a_page_view(6 * MINUTE, user_id="other"))  # too soon for them to be at rest
REPEATED = EventLog().add(an_impression("i1", 1, user_id="u1", event_id="e1"))


@pytest.mark.parametrize("coming", [WINDOWS_END, REPEATED])
def test_what_other_features_end_is_counted_once(coming: EventLog) -> None:
    stored = two_who_wait()

    stored.again(features=OTHER_FEATURES)
    stored.run(coming).run(EventLog().add(an_impression("i1", 6 * MINUTE, user_id="new")))
    stored.again()
    stored.run(EventLog().add(*(a_page_view(7 * MINUTE, user_id=one) for one in ("u1", "u2"))))

    assert stored.bench.core.open_count == 2, "those of the new visitor"
    assert stored.bench.notes() == {"features_changed": 4}


@pytest.mark.parametrize("coming", [WINDOWS_END, REPEATED])
def test_what_other_features_have_ended_does_not_come_back_with_the_features_of_before(coming: EventLog) -> None:
    stored = two_who_wait()

    stored.again(features=OTHER_FEATURES)
    stored.run(coming)
    stored.again(features=FEATURES)
    stored.run(EventLog().tick(2 * DAY))

    ended = ["u1", "u2"] if coming is WINDOWS_END else ["u1"]
    assert stored.bench.notes() == {"features_changed": 2 * len(ended)}
    assert [decode_user_state(stored.blobs[one]).open for one in ended] == [[]] * len(ended)
    labelled = [] if coming is WINDOWS_END else ["events-0-1:click", "events-0-1:bought"]
    assert [one.score_id for one in stored.bench.examples] == labelled
    assert stored.bench.core.open_count == 0


# ---------------------------------------------------------------- what versions before have stored


def as_before(stored: Stored) -> None:
    """Make the stored layouts those of a version before, which did not say with how many types they began."""
    meta = msgspec.msgpack.decode(stored.meta)
    for layout in meta[0]:
        del layout[3:]
    stored.meta = msgspec.msgpack.encode(meta)


def test_a_layout_of_a_version_before_is_read_and_its_order_stays() -> None:
    stored = bought(FEW)
    as_before(stored)

    for objectives in (MANY, FEW, MANY):
        stored.again(objectives)
        stored.run(EventLog().add(a_page_view(2000, user_id="u2")))

        assert stored.outcome_times() == {"purchase": T0 + 1000}
    assert [one.outcome_types for one in stored.stored_meta().layouts] == [("purchase", "add_to_cart", "click")]
    stored.run(EventLog().add(a_click("i2", 4000)))
    assert stored.outcome_times() == {"purchase": T0 + 1000, "click": T0 + 4000}


def test_times_that_a_version_before_stored_for_other_types_are_not_taken_for_those_of_now() -> None:
    # It had begun to store for three objectives, when it met the state of a visitor of before and ended.
    stored = bought(FEW)
    states = dict(stored.blobs)
    stored = Stored(MANY).run(EventLog().add(an_impression("i1", 0, user_id="u2")))
    as_before(stored)
    stored.blobs |= states
    stored.again()

    stored.run(EventLog().add(an_impression("i2", 2000), a_click("i2", 3000)))

    assert stored.outcome_times() == {"click": T0 + 3000}, "and not add_to_cart at 1000"
    stored.again(FEW)  # and back
    stored.run(EventLog().add(a_purchase(5000)))
    assert stored.outcome_times() == {"click": T0 + 3000, "purchase": T0 + 5000}


# ---------------------------------------------------------------- any changes

KINDS = {one.type: one for one in (Impression, Click, AddToCart, PageView, Purchase)}
outcomes = st.lists(st.sampled_from(sorted(KINDS)), min_size=1, max_size=3, unique=True)
configurations = st.tuples(outcomes, outcomes, outcomes, st.sets(st.sampled_from(["click", "continue"])))
visits = st.lists(
    st.tuples(
        st.sampled_from(sorted(KINDS)),
        st.sampled_from(["u1", "u2"]),
        st.sampled_from([1, MINUTE, 20 * MINUTE, HOUR, 25 * HOUR, -MINUTE, -20 * MINUTE]),
    ),
    max_size=8,
)


def declared(drawn: tuple[list[str], list[str], list[str], set[str]]) -> dict[str, Any]:
    click, purchase, continued, missing = drawn
    every = {
        "click": {**CLICK, "outcome": click},
        "purchase": {**PURCHASE, "outcome": purchase},
        "continue": {**CONTINUE, "outcome": continued},
    }
    return {name: one for name, one in every.items() if name not in missing}


@settings(deadline=None)
@given(st.lists(st.tuples(configurations, visits), min_size=1, max_size=6), st.integers(1, 5), st.booleans())
def test_whatever_the_objectives_become_times_are_not_mixed_up_and_no_trigger_is_lost(
    lives: list[tuple[Any, list[Any]]], chunk: int, from_before: bool
) -> None:
    stored = Stored(declared(lives[0][0]))
    noted: set[str] = set()
    times: dict[str, dict[str, int]] = {}
    log, at_ms = EventLog(), DAY
    for number, (configuration, visited) in enumerate(lives):
        objectives = declared(configuration)
        if stored.meta is not None and from_before and number == 1:
            as_before(stored)
        if visited:  # otherwise nothing is stored of this life
            noted |= {kind for one in objectives.values() for kind in one["outcome"]}
        waiting = {name: decode_user_state(state).open for name, state in stored.states().items()}
        stored.again(objectives)
        assert {name: decode_user_state(state).open for name, state in stored.states().items()} == waiting
        first = len(log.records)
        for kind, user_id, pause_ms in visited:
            at_ms += pause_ms
            log.add(an_event(KINDS[kind], at_ms, user_id=user_id, item_id="i1", event_id=f"e{len(log.records)}"))
            known = times.setdefault(user_id, {})
            if kind in noted:
                known[kind] = max(known.get(kind, 0), T0 + at_ms)
        run_part(stored, log, first, chunk)
        assert {name: stored.outcome_times(name) for name in stored.blobs} == times

    log.tick(at_ms + 3 * DAY)
    run_part(stored, log, len(log.records) - 1, chunk)
    bench = stored.bench
    assert bench.core.open_count == 0
    assert len(bench.scores) == len(bench.examples) + sum(bench.notes().values())
    assert bench.notes().keys() <= {"objective_gone", "outcome_first", "window_over"}


def run_part(stored: Stored, log: EventLog, first: int, chunk: int) -> None:
    """Run the records of a log from an offset on."""
    part = EventLog()
    part.records = log.records[first:]
    stored.run(part, chunk=chunk)
