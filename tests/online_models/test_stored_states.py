"""What the store holds is enough to go on from: a window that closes on a visitor who is here writes no state."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from builders import HOUR, MINUTE, EventLog, a_click, a_page_view, an_impression
from core_bench import ALL, CLICK, Bench, cut
from hypothesis import given, settings
from hypothesis import strategies as st
from stored_partition import Stored
from visits import log_of, visits

from schemas.codec import decode_user_state, encode_json, encode_partition_meta, encode_user_state

SHORT = {"click": {**CLICK, "window": "5m"}}


@settings(deadline=None)
@given(visits, st.integers(1, 7), st.sets(st.integers(0, 30)), st.booleans())
def test_what_is_stored_is_enough_to_go_on_from(drawn: list[Any], chunk: int, crashes: set[int], short: bool) -> None:
    objectives = SHORT if short else ALL
    log = log_of(drawn)
    whole = Bench(objectives).run(log)
    stored = Stored(objectives)
    for number, records in enumerate(cut(log.records, chunk)):
        if number in crashes:
            stored.again()
        part = EventLog()
        part.records = [*records]
        stored.run(part)

    assert [encode_json(one) for one in stored.bench.scores] == [encode_json(one) for one in whole.scores]
    assert [encode_json(one) for one in stored.bench.examples] == [encode_json(one) for one in whole.examples]
    assert stored.states() == {name: encode_user_state(user) for name, user in whole.users.items()}
    assert stored.timers == timers_of(whole)
    if log.records:
        assert stored.meta == encode_partition_meta(whole.core.meta())


def timers_of(bench: Bench) -> dict[str, int]:
    found: dict[str, int] = {}
    for result in bench.results:
        for user_id, due_ms in result.changed_timers.items():
            if due_ms is None:
                found.pop(user_id, None)
            else:
                found[user_id] = due_ms
    return found


def test_a_visitor_who_is_here_is_not_written_when_a_window_closes() -> None:
    # impression   closes   page view
    # |------------)        |
    stored = Stored(SHORT).run(EventLog().add(an_impression()))
    before = dict(stored.blobs)

    stored.run(EventLog().tick(11 * MINUTE))

    assert [one.label for one in stored.bench.examples] == [False]
    assert stored.bench.results[-1].changed_users == {}
    assert stored.timers == {}
    assert stored.blobs == before
    stored.again()
    stored.run(EventLog().add(a_page_view(12 * MINUTE), a_click("i1", 13 * MINUTE)).tick(60 * MINUTE))
    assert [one.label for one in stored.bench.examples] == [False], "closed once"
    assert stored.bench.core.open_count == 0
    assert decode_user_state(stored.blobs["u1"]).open == []


def test_windows_that_close_on_a_visitor_who_has_left_are_written() -> None:
    stored = Stored({"click": CLICK}).run(EventLog().add(an_impression()))

    stored.run(EventLog().tick(31 * MINUTE))

    assert decode_user_state(stored.blobs["u1"]).open == []


def test_a_trigger_keeps_the_window_that_was_declared_when_it_opened() -> None:
    stored = Stored(SHORT).run(EventLog().add(an_impression()))
    stored.objectives = {"click": {**CLICK, "window": "20m"}}
    stored.again()

    stored.run(EventLog().tick(11 * MINUTE))
    labelled = [one.label for one in stored.bench.examples]
    stored.again()
    stored.run(EventLog().tick(60 * MINUTE))

    assert labelled == [False]
    assert len(stored.bench.examples) == 1


def test_a_trigger_of_a_version_before_closes_as_declared_now_and_is_written() -> None:
    stored = Stored(SHORT).run(EventLog().add(an_impression()))
    state = msgspec.msgpack.decode(stored.blobs["u1"])
    for one in state[5]:
        del one[-2:]  # neither its window nor its grace were kept
    stored.blobs["u1"] = msgspec.msgpack.encode(state)
    assert [one.closes_after_ms for one in decode_user_state(stored.blobs["u1"]).open] == [-1]
    stored.again()

    stored.run(EventLog().tick(11 * MINUTE))

    assert [one.label for one in stored.bench.examples] == [False]
    assert decode_user_state(stored.blobs["u1"]).open == []


def declared(window: str, grace: Any = 0, labels: str = "at_window_end") -> dict[str, Any]:
    return {"click": {**CLICK, "window": window, "grace": grace, "labels": labels}}


def labels_after(stored: Stored, objectives: dict[str, Any], click_ms: int) -> list[bool]:
    """Return how the trigger of a stored partition is labelled when a click comes after a change."""
    stored.again(objectives)
    stored.run(EventLog().add(a_click("i1", click_ms)).tick(3 * HOUR))
    return [one.label for one in stored.bench.examples if one.use != "learn"]


@pytest.mark.parametrize("labels", ["at_window_end", "immediate"])
@pytest.mark.parametrize("grace", ["5s", 0, "10m"])
@pytest.mark.parametrize("grace_then", ["5s", 0, "20m"])
@pytest.mark.parametrize("window_then", ["5m", "30m", "2h"])
def test_an_outcome_counts_in_the_window_that_was_declared_when_its_trigger_opened(
    window_then: str, grace_then: Any, grace: Any, labels: str
) -> None:
    def label(click_ms: int) -> list[bool]:
        stored = Stored(declared("30m", grace, labels)).run(EventLog().add(an_impression()))
        return labels_after(stored, declared(window_then, grace_then, labels), click_ms)

    assert label(10 * MINUTE) == [True]
    assert label(30 * MINUTE) == [True]
    assert label(30 * MINUTE + 1) == [False]


@pytest.mark.parametrize(("grace", "window_then"), [(0, "30m"), ("5s", "5m"), ("5s", "2h")])
def test_a_trigger_of_a_version_before_that_kept_no_grace_counts_outcomes_in_its_window(
    grace: Any, window_then: str
) -> None:
    def label(click_ms: int) -> list[bool]:
        stored = Stored(declared("30m", grace)).run(EventLog().add(an_impression()))
        state = msgspec.msgpack.decode(stored.blobs["u1"])
        for one in state[5]:
            del one[-1]
        stored.blobs["u1"] = msgspec.msgpack.encode(state)
        return labels_after(stored, declared(window_then, grace), click_ms)

    assert label(30 * MINUTE) == [True]
    assert label(30 * MINUTE + 1) == [False]


def test_the_usual_grace_takes_one_byte_of_a_trigger() -> None:
    stored = Stored(declared("30m", "5s")).run(EventLog().add(an_impression()))

    assert msgspec.msgpack.decode(stored.blobs["u1"])[5][0][-2:] == [30 * MINUTE + 5000, None]
