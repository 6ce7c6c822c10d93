from __future__ import annotations

from typing import Any

import pytest
from builders import DAY, HOUR, MINUTE, T0, a_click, a_page_view, an_impression
from hypothesis import given
from hypothesis import strategies as st

from tests.online_models.features.timelines import Visitor, values_of

WINDOW_MS, BUCKETS = HOUR, 12
BUCKET_MS = WINDOW_MS // BUCKETS


def test_a_total_counts_its_types_and_the_event_itself() -> None:
    counted = values_of(
        {"n": {"count": ["click", "page_view"]}}, a_page_view(0), an_impression(at_ms=1), a_click(at_ms=2)
    )

    assert counted == [1, 1, 2]


def test_a_window_forgets_what_is_older() -> None:
    # view 0m   view 10m              59m            70m: the first is out
    # |---------|---------------------|--------------|
    counted = values_of(
        {"n": {"count": "page_view", "window": "1h"}},
        a_page_view(0),
        a_page_view(10 * MINUTE),
        an_impression(at_ms=50 * MINUTE),
        an_impression(at_ms=66 * MINUTE),
        an_impression(at_ms=5 * HOUR),
        a_page_view(5 * HOUR),
    )

    assert counted == [1, 2, 2, 1, 0, 1]


def test_a_session_window_starts_anew_with_each_session() -> None:
    counted = values_of(
        {"n": {"count": "click", "window": "session"}},
        a_click(at_ms=0, session_id="s1"),
        a_click(at_ms=1, session_id="s1"),
        a_page_view(2, session_id="s2"),
        a_click(at_ms=3, session_id="s2"),
    )

    assert counted == [1, 2, 0, 1]


steps = st.lists(
    st.integers(-2 * WINDOW_MS, 2 * WINDOW_MS) | st.integers(-BUCKET_MS, BUCKET_MS), min_size=1, max_size=40
)
marked_steps = st.lists(
    st.tuples(
        st.booleans(), st.sampled_from([-2, -1, 0, 0, 1, 2, 5, 11, 12, 13, -11, -13]), st.integers(0, BUCKET_MS - 1)
    ),
    min_size=1,
    max_size=40,
)


@given(marked_steps)
def test_a_windowed_count_equals_the_exact_one_up_to_one_bucket_and_never_exceeds_the_total(
    marked: list[tuple[bool, int, int]],
) -> None:
    visitor = Visitor({"n": {"count": "click", "window": "1h"}, "total": {"count": "click"}})
    clicks: list[int] = []
    at_ms, now = T0, 0
    for is_click, buckets, rest_ms in marked:
        at_ms += buckets * BUCKET_MS + rest_ms
        now = max(now, at_ms)
        if is_click:
            clicks.append(at_ms)
        values = visitor.does((a_click if is_click else an_impression)(at_ms=at_ms - T0))

        def exact(window_ms: int, now: int = now) -> int:
            return sum(now - window_ms < time <= now for time in clicks)

        in_buckets = sum(now // BUCKET_MS - BUCKETS < time // BUCKET_MS for time in clicks)
        assert values["n"] == in_buckets
        assert exact(WINDOW_MS - BUCKET_MS) <= values["n"] <= exact(WINDOW_MS) <= values["total"]


@given(steps, st.randoms(use_true_random=False))
def test_the_order_of_arrival_does_not_matter_within_the_window(steps_ms: list[int], random: Any) -> None:
    times = [step % WINDOW_MS for step in steps_ms]
    shuffled = random.sample(times, len(times))
    end = an_impression(at_ms=WINDOW_MS)

    def counted(order: list[int]) -> dict[str, Any]:
        visitor = Visitor({"n": {"count": "click", "window": "2h"}})
        for at_ms in order:
            visitor.does(a_click(at_ms=at_ms))
        return visitor.does(end)

    assert counted(shuffled) == counted(times)


@given(st.lists(st.integers(-3 * DAY, 3 * DAY), min_size=1, max_size=30), st.sampled_from(["1m", "1h", "7d"]))
def test_a_decayed_count_equals_the_closed_form_in_any_order(times: list[int], half_life: str) -> None:
    half_life_ms = {"1m": MINUTE, "1h": HOUR, "7d": 7 * DAY}[half_life]
    visitor = Visitor({"n": {"decayed_count": "click", "half_life": half_life}})

    for at_ms in times:
        value = visitor.does(a_click(at_ms=at_ms))["n"]

    closed_form = sum(2.0 ** -((max(times) - at_ms) / half_life_ms) for at_ms in times)
    assert value == pytest.approx(closed_form, rel=1e-7)


def test_a_decayed_count_halves_after_each_half_life() -> None:
    counted = values_of(
        {"n": {"decayed_count": "click", "half_life": "1h"}},
        a_click(at_ms=0),
        an_impression(at_ms=HOUR),
        an_impression(at_ms=3 * HOUR),
        an_impression(at_ms=10_000 * DAY),
    )

    assert counted == pytest.approx([1.0, 0.5, 0.125, 0.0])


def test_of_a_visitor_who_did_nothing_all_counts_are_zero() -> None:
    declared = {
        "total": {"count": "click"},
        "window": {"count": "click", "window": "1h"},
        "visit": {"count": "click", "window": "session"},
        "decayed": {"decayed_count": "click", "half_life": "1h"},
    }

    assert Visitor(declared).does(a_page_view(T0)) == {"total": 0, "window": 0, "visit": 0, "decayed": 0.0}
