"""Visitors who have left: their state becomes smaller, and nothing of what is computed changes."""

from __future__ import annotations

from typing import Any

import pytest
from builders import MINUTE, T0, EventLog, an_impression
from core_bench import ALL, CLICK, Bench
from hypothesis import given, settings
from hypothesis import strategies as st
from visits import log_of, visits

from online_models import open_triggers
from online_models.duplicates import MAX_LATE_MS
from online_models.rest import QUIET_MS, wake
from schemas.codec import decode_user_state, encode_json, encode_user_state

LEFT = 31 * MINUTE  # behind the last window of half an hour


def test_the_accumulators_are_packed_when_a_window_closes_on_a_visitor_who_is_away() -> None:
    # impression      closes
    # |----------------)  quiet since a quarter of an hour
    bench = Bench().run(EventLog().add(an_impression()).tick(LEFT))

    user = bench.users["u1"]
    assert (user.slots, user.outcome_ts) == ([], [])
    assert user.resting is not None
    wake(user)
    assert user.slots == Bench().run(EventLog().add(an_impression())).users["u1"].slots


def test_a_visitor_who_is_there_is_left_alone() -> None:
    log = EventLog().add(an_impression(), an_impression("i2", LEFT - QUIET_MS))

    bench = Bench().run(log.tick(30 * MINUTE + 1))

    assert bench.users["u1"].resting is None


def test_ids_are_forgotten_once_each_of_their_repeats_would_be_too_late() -> None:
    bench = Bench().run(EventLog().add(an_impression(at_ms=1000)).tick(LEFT))

    assert bench.results[-1].changed_timers == {"u1": T0 + 1000 + MAX_LATE_MS + 1}
    bench.run(EventLog().tick(1000 + MAX_LATE_MS))
    assert bench.users["u1"].recent_ids
    bench.run(EventLog().tick(1000 + MAX_LATE_MS + 1).add(an_impression(at_ms=1000)))
    assert bench.ignored()["late"] == 1
    assert bench.users["u1"].recent_ids == b""
    assert bench.results[-1].changed_timers == {"u1": None}
    assert encode_user_state(bench.users["u1"])[:1] == b"\xc1"


def test_windows_of_seconds_set_no_timer_for_it() -> None:
    bench = Bench({"click": CLICK | {"window": "10s", "grace": 0}})

    bench.run(EventLog().add(an_impression()).tick(11_000))

    assert bench.results[-1].changed_timers == {"u1": None}


@settings(deadline=None)
@given(visits, st.integers(1, 7), st.booleans())
def test_rest_changes_nothing_of_what_is_computed(visits: list[Any], chunk: int, stored: bool) -> None:
    log = log_of(visits)
    never = Bench(ALL)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(open_triggers, "rest", lambda user, now_ms, next_ms: next_ms)
        never.run(log)
    bench = Bench(ALL)
    if not stored:
        bench.run(log, chunk=chunk)
    for first in range(0, len(log.records) if stored else 0, chunk):
        bench.users = {name: decode_user_state(encode_user_state(user)) for name, user in bench.users.items()}
        part = EventLog()
        part.records = log.records[first : first + chunk]
        bench.run(part)

    assert [encode_json(one) for one in bench.scores] == [encode_json(one) for one in never.scores]
    assert [encode_json(one) for one in bench.examples] == [encode_json(one) for one in never.examples]
    assert bench.ignored() == never.ignored()
    for name, user in bench.users.items():
        wake(user)
        before = never.users[name]
        assert (user.slots, user.outcome_ts, user.open) == (before.slots, before.outcome_ts, before.open)
        assert before.recent_ids.endswith(user.recent_ids)
