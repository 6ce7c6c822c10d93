from __future__ import annotations

from typing import Any

import pytest
from builders import DAY, HOUR, MINUTE, a_click, a_page_view, a_scroll, an_event, an_impression
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


OF_THE_SESSION = {
    "n": {"count": "page_view", "window": "session"},
    "rate": {"rate": "page_view", "over": ["page_view", "click"], "window": "session", "prior": {"rate": 0.5}},
    "dwell": {"dwell": "session"},
    "last": {"dwell": "last"},
    "depth": {"scroll": "max"},
    "before": {"previous": "item_id", "of": "page_view", "within": "session"},
    "after": {"follows": "item_id", "of": "page_view"},
    **SESSION,
}


@pytest.mark.parametrize("session_id", [None, "an old one"])
def test_nothing_that_is_of_the_session_sees_a_straggler(session_id: str | None) -> None:
    events = [
        a_page_view(2 * HOUR, session_id="s1", item_id="i1"),
        a_page_view(2 * HOUR + 20_000, session_id="s1", item_id="i2"),
    ]
    straggler = a_page_view(0, event_id="late", session_id=session_id, item_id="i9", depth=0.9, dwell_ms=5000)
    end = a_page_view(2 * HOUR + 30_000, event_id="end", session_id="s1", item_id="i3")

    undisturbed, disturbed = Visitor(OF_THE_SESSION), Visitor(OF_THE_SESSION)
    for event in (*events, end):
        last = undisturbed.does(event)
    for event in (*events, straggler, end):
        last_of_disturbed = disturbed.does(event)
        if event is straggler:
            assert last_of_disturbed["before"] == "i2"

    assert last_of_disturbed == last
    assert last["dwell"] == 30.0
    [told] = disturbed.crowd.weights.keys() - undisturbed.crowd.weights.keys()
    assert told.endswith(":\ti9"), "that it came at all, and behind nothing"


def test_a_late_event_with_the_sessions_own_id_is_no_straggler() -> None:
    visitor = Visitor(OF_THE_SESSION)

    visitor.does(a_page_view(2 * HOUR, session_id="s1"))
    values = visitor.does(a_page_view(0, event_id="late", session_id="s1", depth=0.9, dwell_ms=5000))

    assert (values["events"], values["n"], values["dwell"], values["depth"]) == (2, 2, 5.0, 0.9)


def test_a_late_event_within_the_inactivity_is_of_the_session() -> None:
    visitor = Visitor(OF_THE_SESSION)

    visitor.does(a_page_view(30 * MINUTE, session_id=None))
    values = visitor.does(a_page_view(0, event_id="late", session_id=None, depth=0.9, dwell_ms=5000))

    assert (values["events"], values["n"], values["dwell"], values["depth"]) == (2, 2, 5.0, 0.9)


def test_what_a_straggler_tells_counts_for_the_mean_dwell_and_ends_no_page() -> None:
    # view (2 h)   a dwell of 40 s is told two hours late   view, 20 s after the first
    declared = {"x": {"dwell": "mean", "half_life": "366d"}}
    first, second = a_page_view(2 * HOUR), a_page_view(2 * HOUR + 20_000)
    told = values_of(declared, first, a_scroll(1.0, 0, session_id=None, dwell_ms=40_000), second)
    silent = values_of(declared, first, a_page_view(0, event_id="late", session_id=None), second)

    assert told == [None, pytest.approx(40.0), pytest.approx(30.0, abs=0.1)]
    assert silent == [None, None, pytest.approx(20.0)]


def of_tabs(ids: str, pause_ms: int = 1000) -> list[int]:
    """Return the visits after page views from tabs that have sessions of their own."""
    views = (a_page_view(n * pause_ms, event_id=f"e{n}", session_id=one) for n, one in enumerate(ids))
    return values_of({"n": {"visits": "total"}}, *views)


def test_up_to_four_tabs_at_once_are_a_visit_each_and_not_one_at_every_change() -> None:
    assert of_tabs("ABCABCABC") == [1, 2, 3, 3, 3, 3, 3, 3, 3]
    assert of_tabs("ABCDADBCCBA") == [1, 2, 3, 4, 4, 4, 4, 4, 4, 4, 4]
    assert of_tabs("ABCDEA") == [1, 2, 3, 4, 5, 6]


def test_an_id_of_some_sessions_ago_goes_on_only_within_the_inactivity() -> None:
    assert of_tabs("ABCA", pause_ms=30 * MINUTE) == [1, 2, 3, 3]
    assert of_tabs("ABCA", pause_ms=30 * MINUTE + 1) == [1, 2, 3, 4]


def test_only_tabs_that_take_turns_make_the_session_longer() -> None:
    def places(ids: str, pause_ms: int) -> int:
        visitor = Visitor({"n": {"visits": "total"}})
        for n, one in enumerate(ids):
            visitor.does(a_page_view(n * pause_ms, event_id=f"e{n}", session_id=one))
        [state] = [slot for slot in visitor.slots if isinstance(slot, list)]
        return len(state)

    usual = places("A", 1000)
    assert places("ABABAB", 1000) == usual
    assert places("ABCDEFG", DAY) == usual
    assert places("ABC", 1000) == usual + 1
    assert places("ABCDEFG", 1000) == usual + 2


def test_after_a_pause_the_tabs_of_before_are_forgotten() -> None:
    visitor = Visitor(SESSION)
    for n, one in enumerate("ABC"):
        visitor.does(a_page_view(n * 1000, event_id=f"e{n}", session_id=one))
    visitor.does(a_page_view(DAY, event_id="next day", session_id="D"))

    assert visitor.does(a_page_view(DAY + 1000, event_id="old", session_id="B"))["visits"] == 5
