"""When a budget should be spent: from nothing to all, and after the days that were seen."""

from __future__ import annotations

from itertools import pairwise
from random import Random

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from online_models.bidding.plan import BUCKET_MS, BUCKETS, DAY_MS, CurveState, DayCurve, Plan, even_plan

HOUR_MS = 3_600_000
OBSERVED = st.lists(st.tuples(st.integers(0, 5 * DAY_MS), st.floats(0.0, 1e6)), max_size=60)


def a_curve(observed: list[tuple[int, float]]) -> DayCurve:
    curve = DayCurve()
    for at_ms, amount in observed:
        curve.observe(at_ms, amount)
    return curve


def shares_of(plan: Plan, count: int = 24) -> list[float]:
    """The parts that fall to equal pieces of a flight."""
    at = [plan.share(plan.starts_ms + (plan.ends_ms - plan.starts_ms) * place // count) for place in range(count + 1)]
    return [after - before for before, after in pairwise(at)]


@given(OBSERVED, st.integers(0, 3 * DAY_MS), st.integers(1, DAY_MS), st.lists(st.integers(-DAY_MS, 9 * DAY_MS)))
def test_a_plan_goes_from_nothing_to_all_and_never_back(
    observed: list[tuple[int, float]], starts_ms: int, length_ms: int, moments: list[int]
) -> None:
    plan = a_curve(observed).plan(starts_ms, starts_ms + length_ms)

    shares = [plan.share(at_ms) for at_ms in sorted(moments)]

    assert shares == sorted(shares)
    assert all(0.0 <= share <= 1.0 for share in shares)
    assert [plan.share(at_ms) for at_ms in (starts_ms, starts_ms + length_ms)] == [0.0, 1.0]


@given(st.integers(0, DAY_MS), st.integers(1, DAY_MS))
def test_a_curve_that_knows_nothing_is_even(starts_ms: int, length_ms: int) -> None:
    assert DayCurve().plan(starts_ms, starts_ms + length_ms) == even_plan(starts_ms, starts_ms + length_ms)


def test_traffic_that_is_the_same_all_day_is_planned_evenly() -> None:
    curve = a_curve([(at_ms, 1.0) for at_ms in range(0, 2 * DAY_MS, BUCKET_MS // 3)])

    assert shares_of(curve.plan(2 * DAY_MS, 3 * DAY_MS)) == pytest.approx([1 / 24] * 24)


def test_the_curve_comes_to_that_of_the_traffic() -> None:
    rng = Random(1)
    hours = [rng.random() * 10 for _ in range(24)]
    curve = a_curve([(at_ms, hours[at_ms % DAY_MS // HOUR_MS]) for at_ms in range(0, 30 * DAY_MS, BUCKET_MS)])

    learned = shares_of(curve.plan(30 * DAY_MS, 31 * DAY_MS))

    # What is remembered counts 1 / (1 - 0.8) = 5 days, evenness a quarter of one.
    mean = sum(hours) / 24
    expected = [(5.0 * hour / mean + 0.25) / 5.25 / 24 for hour in hours]
    assert learned == pytest.approx(expected, rel=0.01)


def test_a_flight_over_some_hours_is_planned_by_those_hours() -> None:
    curve = a_curve([(at_ms, 3.0 if at_ms % DAY_MS < HOUR_MS else 1.0) for at_ms in range(0, 9 * DAY_MS, BUCKET_MS)])

    two_hours = curve.plan(9 * DAY_MS, 9 * DAY_MS + 2 * HOUR_MS)

    assert 0.65 < two_hours.share(9 * DAY_MS + HOUR_MS) < 0.75


def test_a_morning_before_anybody_looked_is_not_taken_for_one_without_traffic() -> None:
    # begins to look at noon     midnight
    # |------------------------------|
    curve = a_curve([(at_ms, 1.0) for at_ms in range(DAY_MS // 2, DAY_MS, BUCKET_MS)])

    assert curve.plan(DAY_MS, 2 * DAY_MS).share(DAY_MS + DAY_MS // 2) == pytest.approx(0.5)


def test_one_late_request_from_before_anybody_looked_is_no_traffic_of_a_day() -> None:
    watched = [(at_ms, 1.0) for at_ms in range(DAY_MS // 2, DAY_MS, BUCKET_MS)]

    curve = a_curve([*watched, (HOUR_MS, 1e6)])

    assert shares_of(curve.plan(DAY_MS, 2 * DAY_MS)) == pytest.approx([1 / 24] * 24)


def test_nothing_is_learned_of_days_on_which_nobody_looked() -> None:
    curve = a_curve([(at_ms, 1.0) for at_ms in range(0, DAY_MS, BUCKET_MS)])

    curve.observe(5 * DAY_MS, 1.0)

    assert curve.state() == CurveState(
        amounts=[1.0 * 0.8 + 1.0, *[1.0] * (BUCKETS - 1)],
        days=[1.0 * 0.8 + 1.0, *[1.0] * (BUCKETS - 1)],
        last=5 * BUCKETS,
    )


def test_what_comes_late_counts_for_its_own_time() -> None:
    in_order = [(at_ms, 1.0) for at_ms in range(0, DAY_MS, BUCKET_MS)]
    late = [*in_order, (HOUR_MS, 5.0)]

    assert a_curve(late).state().amounts[HOUR_MS // BUCKET_MS] == 6.0
    assert a_curve(late).state().last == BUCKETS - 1


@given(OBSERVED, st.integers(0, 60))
def test_a_restored_curve_goes_on_as_if_it_had_never_stopped(observed: list[tuple[int, float]], cut: int) -> None:
    straight, before = a_curve(observed), a_curve(observed[:cut])
    after = DayCurve()
    after.restore(msgspec.msgpack.decode(msgspec.msgpack.encode(before.state()), type=CurveState))
    for at_ms, amount in observed[cut:]:
        after.observe(at_ms, amount)

    assert after.state() == straight.state()
    assert after.plan(DAY_MS, 2 * DAY_MS) == straight.plan(DAY_MS, 2 * DAY_MS)
