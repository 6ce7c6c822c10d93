"""The collector looks at what is new, once, and a full collection still finds what it passed over."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator

import pytest
from msgspec import Raw

from schemas import samples
from schemas.events import EventBase
from schemas.user_state import OpenAttribution, UserState
from streams import garbage

OBJECTS = 2_000


@pytest.fixture(autouse=True)
def _looking_once() -> Iterator[None]:
    before = gc.get_threshold()
    with garbage.looked_at_once(OBJECTS):
        yield
    assert gc.get_threshold() == before


class _State:
    """Refers to nothing."""


class _Cycle:
    """Refers to itself."""

    def __init__(self) -> None:
        self.me = self


def _generations() -> list[int]:
    """Make objects for some thirty collections; return the level of each."""
    seen: list[int] = []

    def note(phase: str, info: dict[str, int]) -> None:
        if phase == "start":
            seen.append(info["generation"])

    gc.callbacks.append(note)
    try:
        kept = [[number] for number in range(30 * OBJECTS)]
        assert len(kept) == 30 * OBJECTS
    finally:
        gc.callbacks.remove(note)
    return seen


def test_what_was_in_use_is_not_looked_at_again() -> None:
    frozen = gc.get_freeze_count()
    kept = [[number] for number in range(5 * OBJECTS)]
    assert gc.get_freeze_count() - frozen >= 4 * OBJECTS
    assert sum(map(len, (gc.get_objects(level) for level in (0, 1, 2)))) < 2 * OBJECTS
    assert len(kept) == 5 * OBJECTS


def test_only_the_young_are_ever_collected() -> None:
    seen = _generations()
    assert len(seen) >= 25
    assert set(seen) == {0}


def test_a_cycle_that_nobody_uses_is_freed_at_once() -> None:
    gone = weakref.ref(_Cycle())
    _generations()
    assert gone() is None


def test_a_cycle_that_was_in_use_is_freed_by_a_full_collection() -> None:
    cycle = _Cycle()
    gone = weakref.ref(cycle)
    _generations()
    del cycle
    _generations()
    assert gone() is not None
    assert garbage.collect_all() >= 1
    assert gone() is None


def test_a_frozen_object_goes_with_its_last_reference() -> None:
    state = _State()
    gone = weakref.ref(state)
    _generations()
    del state
    assert gone() is None


def test_in_a_quiet_moment_it_looks_if_there_is_much(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(garbage, "QUIET_OBJECTS", OBJECTS // 2)
    gc.collect(0)
    few = [[number] for number in range(OBJECTS // 4)]
    frozen = gc.get_freeze_count()
    garbage.look_when_quiet()
    assert gc.get_freeze_count() == frozen

    many = [[number] for number in range(OBJECTS // 2)]
    garbage.look_when_quiet()
    assert gc.get_freeze_count() - frozen >= len(few) + len(many)


def test_what_is_made_for_each_event_is_not_for_the_collector() -> None:
    of_visitors = [one for one in samples.EVENTS if isinstance(one, EventBase)]
    state = UserState(layout=1, last_ts=0, recent_ids=b"", slots=[], outcome_ts=[], open=[])
    trigger = OpenAttribution("click", 0, "", 0, Raw(b""), 0.5, 0)
    made = [*of_visitors, *samples.SCORES, *samples.EXAMPLES, state, trigger]

    assert [type(one).__name__ for one in made if gc.is_tracked(one)] == []
