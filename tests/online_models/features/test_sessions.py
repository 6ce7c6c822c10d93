from __future__ import annotations

from typing import Any

import pytest
from builders import DAY, HOUR, MINUTE, a_click, a_page_view, an_event, an_impression
from hypothesis import given, settings

from schemas.events import BidRequest, EventBase
from tests.online_models.features.timelines import Visitor, event_sequences, values_of

SESSION = {
    "events": {"session": "events"},
    "seconds": {"session": "duration"},
    "since_last": {"session": "since_last"},
    "visits": {"visits": "total"},
}


def told(declared: dict[str, Any], *events: EventBase) -> list[tuple[Any, ...]]:
    visitor = Visitor(declared)
    return [tuple(visitor.does(event).values()) for event in events]


def test_a_session_goes_on_with_its_id_however_long_the_pause() -> None:
    # s1        s1                 s2 (2 h later)     s2
    # |---------|        ...       |------------------|
    assert told(
        SESSION,
        a_page_view(0, session_id="s1"),
        a_click(at_ms=MINUTE, session_id="s1"),
        a_page_view(5 * HOUR, session_id="s1"),
        a_page_view(7 * HOUR, session_id="s2"),
        a_page_view(7 * HOUR + 30_000, session_id="s2"),
    ) == [
        (1, 0.0, None, 1),
        (2, 60.0, None, 1),
        (3, 18_000.0, None, 1),
        (1, 0.0, 7200.0, 2),
        (2, 30.0, 7200.0, 2),
    ]


def test_without_an_id_inactivity_ends_a_session() -> None:
    declared = {"defaults": {"inactivity": "10m"}, **SESSION}

    assert told(
        declared,
        a_page_view(0, session_id=None),
        a_page_view(10 * MINUTE, session_id=None),
        a_page_view(20 * MINUTE + 1, session_id=None),
    ) == [(1, 0.0, None, 1), (2, 600.0, None, 1), (1, 0.0, pytest.approx(600.001), 2)]


def test_an_event_without_id_belongs_to_the_session_around_it() -> None:
    visits = values_of(
        {"n": {"visits": "total"}},
        a_page_view(0, session_id=None),
        a_page_view(MINUTE, session_id="s1"),
        a_page_view(2 * MINUTE, session_id=None),
        a_page_view(3 * MINUTE, session_id="s1"),
    )

    assert visits == [1, 1, 1, 1]


def test_two_devices_at_once_are_one_session_not_one_at_every_change() -> None:
    visits = values_of({"n": {"visits": "total"}}, *(a_page_view(at, session_id=f"s{at % 2}") for at in range(6)))

    assert visits == [1, 2, 2, 2, 2, 2]


def test_a_straggler_of_an_old_session_leaves_no_trace() -> None:
    assert told(
        SESSION,
        a_page_view(DAY, session_id="s2"),
        a_page_view(0, session_id="s1"),
        a_page_view(DAY + 1000, session_id="s2"),
    ) == [(1, 0.0, None, 1), (1, 0.0, None, 1), (2, 1.0, None, 1)]


def test_a_session_that_begins_a_little_late_does_not_count_the_time_before_twice() -> None:
    # s1 at 10 m, then s2 at 9 m (out of order) and at 11 m
    assert told(
        SESSION,
        a_page_view(10 * MINUTE, session_id="s1"),
        a_page_view(9 * MINUTE, session_id="s2"),
        a_page_view(11 * MINUTE, session_id="s2"),
    ) == [(1, 0.0, None, 1), (1, 0.0, 0.0, 2), (2, 60.0, 0.0, 2)]


def test_auctions_are_no_visits() -> None:
    assert told(SESSION, an_event(BidRequest, 0)) == [(0, None, None, 0)]


@settings(max_examples=50, deadline=None)
@given(event_sequences())
def test_the_time_since_the_last_visit_stays_the_same_within_a_session(events: list[EventBase]) -> None:
    visitor = Visitor(SESSION)
    of_visit: dict[int, Any] = {}

    for event in events:
        values = visitor.does(event)

        assert values["since_last"] == of_visit.setdefault(values["visits"], values["since_last"])


def test_visits_are_counted_in_a_window_and_as_a_rate() -> None:
    visitor = Visitor(
        {
            "visits_7d": {"visits": "7d"},
            "per_day": {"visits": "per_day", "half_life": "7d"},
            "per_week": {"visits": "per_week", "half_life": "7d"},
        }
    )
    for day in range(100):  # one visit a day of two events each
        visitor.does(a_page_view(day * DAY, session_id=f"s{day}"))
        values = visitor.does(an_impression(at_ms=day * DAY + 1, session_id=f"s{day}"))

    assert values["visits_7d"] in (6, 7)
    assert values["per_day"] == pytest.approx(1.0, rel=0.06)
    assert values["per_week"] == pytest.approx(7 * values["per_day"])
