"""Intervals: what they become in the cases that are known."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chi2, gamma, norm

from online_models.policies.intervals import (
    Interval,
    Z,
    gamma_quantile,
    normal_interval,
    summed_interval,
    weighted_events_interval,
)


@given(p=st.sampled_from([0.001, 0.025, 0.5, 0.975, 0.999]), shape=st.floats(0.01, 9_999.0) | st.floats(1e-9, 0.01))
def test_the_gamma_quantile_is_that_of_scipy(p: float, shape: float) -> None:
    assert gamma_quantile(p, shape) == pytest.approx(gamma.ppf(p, shape), rel=1e-9, abs=1e-290)


@pytest.mark.parametrize("shape", [10_001.0, 1e6, 1e9])
def test_beyond_the_exact_range_the_gamma_quantile_is_right_to_seven_digits(shape: float) -> None:
    assert gamma_quantile(0.975, shape) == pytest.approx(gamma.ppf(0.975, shape), rel=1e-7)


def test_the_normal_interval_is_that_of_95_in_100() -> None:
    assert pytest.approx(norm.ppf(0.975), rel=1e-15) == Z


@given(events=st.integers(1, 5000), weight=st.floats(0.01, 100.0))
def test_with_equal_weights_the_interval_is_the_exact_one_of_a_poisson_count(events: int, weight: float) -> None:
    low, high = weighted_events_interval(events * weight, events * weight**2, weight)

    assert low == pytest.approx(weight * chi2.ppf(0.025, 2 * events) / 2, rel=1e-8)
    assert high == pytest.approx(weight * chi2.ppf(0.975, 2 * events + 2) / 2, rel=1e-8)


def test_no_event_still_has_an_upper_end() -> None:
    low, high = weighted_events_interval(0.0, 0.0, 5.0)

    assert low == 0.0
    assert high == pytest.approx(5.0 * 3.688879, rel=1e-6)


def test_many_events_have_the_normal_interval() -> None:
    assert weighted_events_interval(1e6, 4e6, 3.0) == pytest.approx(normal_interval(1e6, 2e3), abs=10)


@given(
    a=st.floats(-1, 1), b=st.floats(-1, 1), sa=st.floats(0.01, 1), sb=st.floats(0.01, 1), correlation=st.floats(-1, 1)
)
def test_the_sum_of_two_normal_intervals_is_the_normal_interval_of_the_sum(
    a: float, b: float, sa: float, sb: float, correlation: float
) -> None:
    both = max(sa**2 + sb**2 + 2 * correlation * sa * sb, 0.0) ** 0.5

    found = summed_interval(a, normal_interval(a, sa), b, normal_interval(b, sb), correlation)

    assert found == pytest.approx(Interval(a + b - Z * both, a + b + Z * both), abs=1e-7)
