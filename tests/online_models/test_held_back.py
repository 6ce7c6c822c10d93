"""What is known before its window has closed waits for it, by the clock of its own partition."""

from __future__ import annotations

from heapq import heappop, heappush
from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from online_models.held_back import HeldBack
from schemas.examples import Example

Rows = HeldBack[tuple[int, int]]


def an_example(now_ms: int, *, partition: int = 0, topic: str = "events") -> Example:
    return Example(
        objective="click", score_id="events-0-1:click", ts=0, label=True, features={}, score=0.5, model_version=1,
        topic=topic, partition=partition, offset=1, seq=0, released_ts=now_ms,
    )  # fmt: skip


def held_back(*rows: tuple[int, Example]) -> Rows:
    """Hold back rows by (end of the window, example), which are numbered."""
    found: Rows = HeldBack()
    for number, (due_ms, example) in enumerate(rows):
        found.add(example, (due_ms, number))
    return found


def stored(state: list[Any]) -> list[Any]:
    return msgspec.msgpack.decode(msgspec.msgpack.encode(state), type=list[Any])


def kept(one: Rows) -> Rows:
    """Return another that took up its state, as a checkpoint stores it."""
    again: Rows = HeldBack()
    again.restore(stored(one.state()))
    assert again.state() == one.state()
    return again


def test_the_clock_of_another_partition_releases_nothing() -> None:
    rows = held_back((100, an_example(0)), (50, an_example(0, partition=1)))

    for one in (rows, kept(rows)):
        assert one.released(an_example(100)) == [(100, 0)]
        assert one.released(an_example(49, partition=1)) == []
        assert one.released(an_example(50, partition=1)) == [(50, 1)]
        assert len(one) == 0


def test_what_a_log_of_another_name_left_is_given_up_when_its_window_is_over() -> None:
    # events     positive                   window closes, and its negatives never come
    # events-2             a new log, later        x
    rows = held_back((100, an_example(0)), (200, an_example(90, topic="events-2")))

    for one in (rows, kept(rows)):
        assert one.released(an_example(99, topic="events-2")) == []
        assert len(one) == 2
        assert one.released(an_example(200, topic="events-2")) == [(200, 1)]
        assert len(one) == 0


def test_where_too_many_wait_the_earliest_of_the_partition_that_has_most_goes_first() -> None:
    few = an_example(0, partition=1)
    rows = held_back((10, few), (300, an_example(0)), (200, an_example(0)), (400, an_example(0)))

    for one in (rows, kept(rows)):
        assert [one.earliest() for _ in range(len(one))] == [(200, 2), (300, 1), (10, 0), (400, 3)]


step = st.tuples(st.integers(0, 40), st.integers(0, 30), st.booleans())


@given(st.lists(step, max_size=60), st.integers(0, 60), st.booleans())
def test_one_partition_is_one_heap_whatever_was_stored_in_between(
    steps: list[tuple[int, int, bool]], cut: int, earlier_version: bool
) -> None:
    heap: list[tuple[int, int]] = []
    rows = held_back()
    for number, (now_ms, later_ms, too_many) in enumerate(steps):
        if number == cut:
            state = stored(rows.state())
            before = [row[-2:] for row in state] if earlier_version else state
            rows = held_back()
            rows.restore(before)
            assert rows.state() == before
        heappush(heap, (now_ms + later_ms, number))
        rows.add(an_example(now_ms), (now_ms + later_ms, number))
        if too_many:
            assert rows.earliest() == heappop(heap)
        due = []
        while heap and heap[0][0] <= now_ms:
            due.append(heappop(heap))
        assert rows.released(an_example(now_ms)) == due
        assert len(rows) == len(heap)


def test_rows_of_an_earlier_version_go_with_the_first_clock_that_passes_them() -> None:
    rows: Rows = HeldBack()
    rows.restore([[100, 1], [150, 2]])
    rows.add(an_example(0, partition=1), (120, 3))

    for one in (rows, kept(rows)):
        assert len(one) == 3
        assert one.released(an_example(99, partition=7)) == []
        assert one.released(an_example(120, partition=7)) == [(100, 1)]
        assert one.released(an_example(500, partition=1)) == [(120, 3), (150, 2)]
