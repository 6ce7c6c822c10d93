from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from online_models.attribution import Timers, mark_outcome
from online_models.objectives import Objective
from schemas.user_state import OpenAttribution

WINDOW_MS = 1000


def an_objective(**fields: object) -> Objective:
    return Objective(
        **{  # type: ignore[arg-type]
            "name": "click",
            "trigger": ("impression",),
            "outcome": ("click",),
            "match": "item",
            "window_ms": WINDOW_MS,
            "model": {"name": "ftrl"},
            **fields,
        }
    )


def an_open(ts: int, *, key: str = "i1", offset: int = 0, objective: str = "click") -> OpenAttribution:
    return OpenAttribution(objective, offset, key, ts, [], 0.5, 0)


def test_an_outcome_counts_from_the_trigger_up_to_and_including_the_end_of_the_window() -> None:
    # trigger                    window ends
    # |-------------------------------|
    # hit at 0               hit at 1000   not at 1001, nor before the trigger
    def hits(at_ms: int) -> bool:
        open_ = [an_open(ts=0)]
        mark_outcome(an_objective(), open_, "i1", at_ms)
        return open_[0].hit

    assert [hits(at) for at in (-1, 0, WINDOW_MS, WINDOW_MS + 1)] == [False, True, True, False]


def test_an_outcome_matches_only_its_item_and_its_objective() -> None:
    open_ = [an_open(0), an_open(0, key="i2"), an_open(0, objective="other")]

    mark_outcome(an_objective(), open_, "i1", 10)

    assert [one.hit for one in open_] == [True, False, False]


def test_credit_goes_to_all_open_triggers_or_to_the_last_one() -> None:
    everyone = [an_open(0, offset=1), an_open(5, offset=2)]
    latest = [an_open(0, offset=1), an_open(5, offset=2)]

    mark_outcome(an_objective(), everyone, "i1", 10)
    mark_outcome(an_objective(credit="last"), latest, "i1", 10)

    assert [one.hit for one in everyone] == [True, True]
    assert [one.hit for one in latest] == [False, True]


def test_a_second_outcome_is_no_second_hit() -> None:
    open_ = [an_open(0)]

    assert mark_outcome(an_objective(), open_, "i1", 10) == open_
    assert mark_outcome(an_objective(), open_, "i1", 11) == []


def test_a_timer_is_moved_forward_only_by_an_earlier_one() -> None:
    timers = Timers()
    timers.earlier("u1", 100)
    timers.earlier("u1", 200)
    timers.earlier("u2", 150)
    timers.earlier("u2", 50)

    assert timers.due_until(100) == ["u2", "u1"]
    assert list(timers.pop_due(99)) == [(50, "u2")]


def test_changed_timers_are_told_once() -> None:
    timers = Timers({"kept": 7}.items())
    timers.set("u1", 5)
    timers.set("u2", 6)
    timers.set("u2", None)

    assert timers.take_changed() == {"u1": 5, "u2": None}
    assert timers.take_changed() == {}


@given(st.lists(st.tuples(st.sampled_from("abcdef"), st.none() | st.integers(0, 50)), max_size=60), st.integers(0, 60))
def test_timers_equal_a_plain_dictionary(moves: list[tuple[str, int | None]], now_ms: int) -> None:
    timers, oracle = Timers(), {}
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


@given(
    st.lists(st.tuples(users, times), max_size=30),
    st.lists(st.tuples(st.integers(0, 2500), st.lists(st.tuples(users, st.none() | times), max_size=6)), max_size=12),
    st.data(),
)
def test_timers_that_are_set_anew_while_they_run_out_come_in_order(
    stored: list[tuple[str, int]], steps: list[tuple[int, list[tuple[str, int | None]]]], data: st.DataObject
) -> None:
    timers, oracle = Timers(dict(stored).items()), dict(stored)
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
