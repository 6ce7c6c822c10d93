"""The timers of open windows: a heap that expires in one order, compiled or not."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from online_models import plain_timers, timers

Kind = Callable[..., Any]
needs_compiled = pytest.mark.skipif(not timers.COMPILED, reason="not compiled here: make setup, with Python.h there")
both = pytest.mark.parametrize(
    "kind",
    [
        pytest.param(plain_timers.Timers, id="plain"),
        pytest.param(timers.Timers, id="compiled", marks=needs_compiled),
    ],
)


@both
def test_a_timer_is_moved_forward_only_by_an_earlier_one(kind: Kind) -> None:
    timers = kind()
    timers.earlier("u1", 100)
    timers.earlier("u1", 200)
    timers.earlier("u2", 150)
    timers.earlier("u2", 50)

    assert timers.due_until(100) == ["u2", "u1"]
    assert list(timers.pop_due(99)) == [(50, "u2")]


@both
def test_changed_timers_are_told_once(kind: Kind) -> None:
    timers = kind({"kept": 7}.items())
    timers.set("u1", 5)
    timers.set("u2", 6)
    timers.set("u2", None)

    assert timers.take_changed() == {"u1": 5, "u2": None}
    assert timers.take_changed() == {}


@both
@given(st.lists(st.tuples(st.sampled_from("abcdef"), st.none() | st.integers(0, 50)), max_size=60), st.integers(0, 60))
def test_timers_equal_a_plain_dictionary(kind: Kind, moves: list[tuple[str, int | None]], now_ms: int) -> None:
    timers, oracle = kind(), {}
    for user_id, due_ms in moves:
        timers.set(user_id, due_ms)
        if due_ms is None:
            oracle.pop(user_id, None)
        else:
            oracle[user_id] = due_ms
    expected = sorted((due, user_id) for user_id, due in oracle.items() if due <= now_ms)

    assert sorted(set(timers.due_until(now_ms))) == sorted(user_id for _, user_id in expected)
    popped = []
    for due_ms, user_id in timers.pop_due(now_ms):
        popped.append((due_ms, user_id))
        timers.set(user_id, None)
    assert popped == expected
    assert len(timers) == len(oracle) - len(expected)


users, times = st.sampled_from("abcdef"), st.integers(-2, 5000)


@both
@given(
    st.lists(st.tuples(users, times), max_size=30),
    st.lists(st.tuples(st.integers(0, 2500), st.lists(st.tuples(users, st.none() | times), max_size=6)), max_size=12),
    st.data(),
)
def test_timers_that_are_set_anew_while_they_run_out_come_in_order(
    kind: Kind,
    stored: list[tuple[str, int]],
    steps: list[tuple[int, list[tuple[str, int | None]]]],
    data: st.DataObject,
) -> None:
    timers, oracle = kind(dict(stored).items()), dict(stored)
    now_ms = 0

    def next_due() -> tuple[int, str] | None:
        return min(((due, user_id) for user_id, due in oracle.items() if due <= now_ms), default=None)

    for passed_ms, moves in steps:
        now_ms += passed_ms
        for user_id, due_ms in moves:
            timers.set(user_id, due_ms)
            oracle.pop(user_id, None)
            if due_ms is not None:
                oracle[user_id] = due_ms
        assert set(timers.due_until(now_ms)) == {user for user, due in oracle.items() if due <= now_ms}
        assert timers.is_due(now_ms) or next_due() is None
        for due_ms, user_id in timers.pop_due(now_ms):
            assert (due_ms, user_id) == next_due()
            del oracle[user_id]
            again_ms = data.draw(st.none() | st.integers(due_ms + 1, due_ms + 3000))
            timers.set(user_id, again_ms)
            if again_ms is not None:
                oracle[user_id] = again_ms
        assert next_due() is None
        assert len(timers) == len(oracle)


@both
@given(
    st.dictionaries(users, times),
    st.lists(st.tuples(users, st.lists(times, min_size=30, max_size=90)), min_size=1, max_size=4),
    st.data(),
)
def test_timers_that_are_moved_often_run_out_in_order(
    kind: Kind, stored: dict[str, int], moves: list[tuple[str, list[int]]], data: st.DataObject
) -> None:
    timers, oracle = kind(stored.items()), dict(stored)
    popped = []
    for user_id, due_times in moves:
        for due_ms in due_times:
            timers.set(user_id, due_ms)
        oracle[user_id] = due_times[-1]
    expected = sorted((due_ms, user_id) for user_id, due_ms in oracle.items())
    again = data.draw(users)

    for due_ms, user_id in timers.pop_due(5000):
        popped.append((due_ms, user_id))
        timers.set(user_id, None)
        if user_id == again:  # far away, and often: the heap is made anew while it is run down
            for later_ms in range(6000, 6200):
                timers.set(user_id, later_ms)

    assert popped == expected
    assert timers.due_until(7000) == ([again] if again in oracle else [])


@both
def test_what_is_left_of_timers_that_were_moved_is_bounded(kind: Kind) -> None:
    user_id = f"visitor-{'x' * 20}"
    held = kind((f"u{i}", 10**6 + i) for i in range(100))
    before = sys.getrefcount(user_id)

    for due_ms in range(10_000):  # as by the triggers of one visitor beyond those that may wait
        held.set(user_id, due_ms)

    assert sys.getrefcount(user_id) - before <= 2 * 101 + plain_timers.MOST_STALE
    assert list(held.pop_due(10_000)) == [(9_999, user_id)]


# Ids of one, two and four bytes a character: their order is that of code points, however they are held in memory.
names = st.sampled_from(["", "a", "aa", "b", "ü", "\u20ac", "\uffff", "\U0001f600", *(f"user-{i}" for i in range(80))])
operations = st.one_of(
    st.tuples(st.just("set"), names, st.none() | times),
    st.tuples(st.just("earlier"), names, times),
    st.tuples(st.just("pop"), times, st.lists(st.none() | st.integers(-50, 50), max_size=8)),
    st.tuples(st.just("take"), st.none(), st.none()),
    st.tuples(st.just("move"), names, st.lists(times, min_size=60, max_size=160)),
)


@needs_compiled
@given(st.dictionaries(names, times, max_size=80), st.lists(operations, max_size=120))
def test_compiled_timers_are_the_plain_ones_in_the_same_order(stored: dict[str, int], steps: list[Any]) -> None:
    def told(kind: Kind) -> list[Any]:
        held = kind(stored.items())
        said: list[Any] = []
        for step, one, other in steps:
            if step == "set":
                held.set(one, other)
            elif step == "earlier":
                held.earlier(one, other)
            elif step == "take":
                said.append(list(held.take_changed().items()))
            elif step == "move":
                for due_ms in other:
                    held.set(one, due_ms)
            else:
                again = iter(other)
                for due_ms, user_id in held.pop_due(one):
                    said.append((due_ms, user_id))
                    later_ms = next(again, None)  # at most eight are set anew, so that it comes to an end
                    held.set(user_id, None if later_ms is None else due_ms + later_ms)
            said.append((len(held), held.is_due(2500), held.due_until(2500)))
        return said

    assert told(timers.Timers) == told(plain_timers.Timers)


@needs_compiled
def test_user_ids_are_let_go_with_the_timers() -> None:
    ids = [f"visitor-{i}-{'x' * 20}" for i in range(1000)]
    before = [sys.getrefcount(one) for one in ids]

    held = timers.Timers((one, at) for at, one in enumerate(ids[:500]))
    for at, one in enumerate(ids):
        held.set(one, at)
    for _, one in list(held.pop_due(700)):
        held.set(one, None)
    held.take_changed()
    del held, one

    assert [sys.getrefcount(one) for one in ids] == before


@needs_compiled
def test_what_is_no_user_id_is_refused() -> None:
    held = timers.Timers()
    for wrong in (None, 7, b"u1"):
        with pytest.raises(TypeError):
            held.set(wrong, 5)
        with pytest.raises(TypeError):
            held.set(wrong, None)

    assert list(held.pop_due(9)) == []
    assert held.take_changed() == {}
