"""How many triggers wait: told truly, and again so when the store has lost visitors with theirs."""

from __future__ import annotations

from typing import Any

import msgspec
from builders import DAY, HOUR, MINUTE, EventLog, a_page_view, an_impression
from core_bench import ALL, CLICK, PURCHASE, cut
from hypothesis import given, settings
from hypothesis import strategies as st
from stored_partition import Stored
from visits import log_of, visits

from online_models.open_count import SPAN_BITS, OpenCount
from schemas.codec import decode_user_state

SPAN_MS = 1 << SPAN_BITS
HALF_AN_HOUR = {"click": CLICK}
LONG = {"click": {**CLICK, "window": "3d"}}


def many(first_ms: int, name: str, count: int = 30) -> EventLog:
    """Return impressions to as many visitors."""
    log = EventLog()
    return log.add(
        *(an_impression("i1", first_ms + n, user_id=f"{name}{n}", event_id=f"{name}{n}") for n in range(count))
    )


def waiting(stored: Stored) -> int:
    return sum(len(decode_user_state(state).open) for state in stored.states().values())


@settings(deadline=None)
@given(visits, st.integers(1, 7), st.sets(st.integers(0, 30)))
def test_while_nothing_is_lost_the_count_is_what_waits(drawn: list[Any], chunk: int, restarts: set[int]) -> None:
    stored = Stored(ALL)
    for number, records in enumerate(cut(log_of(drawn).records, chunk)):
        if number in restarts:
            stored.again()
        part = EventLog()
        part.records = [*records]
        stored.run(part)

        meta = stored.stored_meta()
        assert meta.open_count == sum(meta.open_by_end.values()) == waiting(stored)
        assert all(meta.open_by_end.values()), "spans without triggers are not stored"


def test_what_was_lost_is_counted_no_more_when_its_windows_are_over() -> None:
    # 30 impressions   state lost   windows end      the span is over
    # |----------------x------------)----------------|
    stored = Stored(HALF_AN_HOUR).run(many(0, "u"))
    stored.blobs.clear()
    assert stored.bench.core.open_count == 30

    stored.run(EventLog().tick(HOUR))
    stored.again()
    stored.run(EventLog().tick(HOUR + SPAN_MS))

    assert stored.bench.core.open_count == 0, "or an idle partition would be ticked for ever"
    assert stored.stored_meta().open_by_end == {}


def test_the_triggers_of_visitors_who_are_there_stay_counted() -> None:
    stored = Stored(LONG).run(many(0, "lost", 20)).run(many(1000, "kept", 10))
    for name in [one for one in stored.blobs if one.startswith("lost")]:
        del stored.blobs[name]
    for day in range(1, 6):
        stored.run(many(day * DAY, f"day{day}-", 5))
        stored.again()
    stored.run(EventLog().tick(5 * DAY + MINUTE))

    assert stored.bench.core.open_count == waiting(stored) == 15, "three days of five"


def test_a_visitor_who_was_lost_and_came_back_is_counted_for_what_waits_now() -> None:
    stored = Stored(LONG).run(many(0, "u", 1))
    stored.blobs.clear()

    stored.run(EventLog().add(a_page_view(HOUR, user_id="u0"), an_impression("i2", DAY, user_id="u0")))
    stored.run(EventLog().tick(3 * DAY + SPAN_MS))

    assert stored.bench.notes() == {}
    assert stored.bench.core.open_count == waiting(stored) == 1


def as_before(stored: Stored, *, open_count: int) -> None:
    """Make of the stored meta what a version before stored, which counted in all only."""
    meta = msgspec.msgpack.decode(stored.meta)
    assert len(meta) == 9
    stored.meta = msgspec.msgpack.encode([*meta[:2], open_count, *meta[3:6]])


def test_what_a_version_before_has_counted_is_known_as_long_as_it_can_wait() -> None:
    stored = Stored({"click": CLICK, "purchase": PURCHASE}).run(many(0, "u", 10))
    as_before(stored, open_count=10 + 300)  # of which 300 were lost
    stored.again()

    stored.run(many(HOUR, "v", 5))
    assert stored.bench.core.open_count == 300 + 5
    stored.again()
    stored.run(EventLog().tick(2 * HOUR))
    assert stored.bench.core.open_count == 300
    stored.run(many(DAY + SPAN_MS + HOUR, "w", 5))

    assert stored.bench.core.open_count == waiting(stored) == 5


def test_where_more_is_lost_than_may_be_open_learning_goes_on() -> None:
    stored = Stored(HALF_AN_HOUR)
    for number in range(40):
        stored.run(many(number * HOUR, f"hour{number}-", 10))
        stored.blobs.clear()
        stored.again(max_open_per_partition=100)

    assert stored.bench.notes().get("open_full", 0) == 0
    assert stored.bench.core.open_count <= 60


@given(
    st.lists(st.tuples(st.integers(0, 5 * DAY), st.booleans()), max_size=30),
    st.integers(0, 40),
)
def test_counts_are_those_of_a_plain_list(steps: list[tuple[int, bool]], of_before: int) -> None:
    count, due = OpenCount(of_before, latest_ms=9 * DAY), [9 * DAY] * of_before
    for due_ms, closes in steps:
        if closes and due:
            count.closed(due[-1])
            due.pop()
        elif not closes:
            count.opened(due_ms)
            due.append(due_ms)
        assert count.total == len(due) == sum(count.by_end().values())
    again = OpenCount(count.total, count.by_end(), latest_ms=0)

    assert again.by_end() == count.by_end()
    count.closed(MINUTE, 1000)
    assert (count.total, count.by_end()) == (0, {}), "never below nothing"


def test_what_was_never_counted_leaves_those_that_are_opened_behind_it() -> None:
    count = OpenCount()
    count.closed(MINUTE)
    count.opened(2 * MINUTE)

    assert count.total == 1
    assert sum(count.by_end().values()) == 1
