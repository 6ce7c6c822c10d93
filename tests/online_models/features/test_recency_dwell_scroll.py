from __future__ import annotations

import pytest
from builders import DAY, MINUTE, a_click, a_page_view, a_scroll, an_impression
from hypothesis import given
from hypothesis import strategies as st

from tests.online_models.features.timelines import Visitor, values_of


def test_time_since_is_measured_to_the_event_before_this_one() -> None:
    # click 0 s      impression 10 s      click 25 s     impression 26 s
    seconds = values_of(
        {"x": {"time_since": "click"}},
        a_click(at_ms=0),
        an_impression(at_ms=10_000),
        a_click(at_ms=25_000),
        an_impression(at_ms=26_000),
    )

    assert seconds == [None, 10.0, 25.0, 1.0]


def test_a_late_event_has_age_zero() -> None:
    seconds = values_of(
        {"x": {"time_since": "click"}},
        a_click(at_ms=60_000),
        a_click(at_ms=0),
        an_impression(at_ms=1_000),
        an_impression(at_ms=61_000),
    )

    assert seconds == [None, 0.0, 0.0, 1.0]


@pytest.mark.parametrize(("unit", "expected"), [("ms", 90_000.0), ("s", 90.0), ("m", 1.5)])
def test_time_since_in_another_unit(unit: str, expected: float) -> None:
    declared = {"x": {"time_since": "click", "unit": unit}}

    assert values_of(declared, a_click(at_ms=0), a_page_view(90_000))[1] == expected


def test_dwell_is_the_time_to_the_next_page_view_of_the_session_capped() -> None:
    # view 0   view 20 s            view 1 h: capped at 10 m      next session: no dwell across
    declared = {"last": {"dwell": "last"}, "visit": {"dwell": "session"}}
    visitor = Visitor(declared)
    told = [
        tuple(visitor.does(event).values())
        for event in (
            a_page_view(0),
            a_click(at_ms=5_000),
            a_page_view(20_000),
            a_page_view(60 * MINUTE),
            a_page_view(61 * MINUTE, session_id="s2"),
            a_page_view(62 * MINUTE, session_id="s2"),
        )
    ]

    assert told == [(None, 0.0), (None, 0.0), (20.0, 20.0), (600.0, 620.0), (600.0, 0.0), (60.0, 60.0)]


def test_a_dwell_that_an_event_tells_is_not_measured_again() -> None:
    seconds = values_of(
        {"x": {"dwell": "session"}},
        a_page_view(0),
        a_scroll(1.0, 8_000, dwell_ms=8_000),
        a_page_view(30_000),
    )

    assert seconds == [0.0, 8.0, 8.0]


def test_a_late_page_view_adds_no_dwell() -> None:
    assert values_of({"x": {"dwell": "session"}}, a_page_view(60_000), a_page_view(0), a_page_view(70_000)) == [
        0.0,
        0.0,
        10.0,
    ]


@given(st.lists(st.tuples(st.integers(-9 * DAY, 9 * DAY), st.floats(0, 1)), min_size=1, max_size=20))
def test_a_decayed_mean_equals_the_closed_form_in_any_order(observed: list[tuple[int, float]]) -> None:
    visitor = Visitor({"x": {"scroll": "mean", "half_life": "2d"}})

    for at_ms, depth in observed:
        value = visitor.does(a_scroll(depth, at_ms))["x"]

    end = max(at_ms for at_ms, _ in observed)
    weights = [2.0 ** ((at_ms - end) / (2 * DAY)) for at_ms, _ in observed]
    weighted = sum(weight * depth for weight, (_, depth) in zip(weights, observed, strict=True))
    assert value == pytest.approx(weighted / sum(weights), abs=1e-7)


def test_mean_dwell_lies_between_the_dwells() -> None:
    seconds = values_of(
        {"x": {"dwell": "mean", "half_life": "1d"}}, a_page_view(0), a_page_view(10_000), a_page_view(30_000)
    )

    assert seconds[:2] == [None, 10.0]
    assert seconds[2] == pytest.approx(15.0, abs=0.01)


def test_scroll_depth_is_the_deepest_of_the_session() -> None:
    assert values_of(
        {"x": {"scroll": "max"}},
        a_page_view(0),
        a_scroll(0.8, 1),
        a_scroll(0.2, 2),
        a_page_view(3, session_id="s2"),
        a_scroll(0.1, 4, session_id="s2"),
    ) == [None, 0.8, 0.8, None, 0.1]
