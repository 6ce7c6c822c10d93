from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from online_models.features.durations import UNITS_MS, parse_duration_ms


@pytest.mark.parametrize(
    ("text", "ms"),
    [
        ("250ms", 250),
        ("30s", 30_000),
        ("15m", 900_000),
        ("1h30m", 5_400_000),
        ("1.5h", 5_400_000),
        ("2w", 1_209_600_000),
    ],
)
def test_durations_are_read_as_people_write_them(text: str, ms: int) -> None:
    assert parse_duration_ms(text) == ms


@pytest.mark.parametrize("zero", [0, "0", "0s"])
def test_only_zero_needs_no_unit(zero: object) -> None:
    assert parse_duration_ms(zero) == 0


@pytest.mark.parametrize("wrong", [30, "30", "", "1 hour", "m", "-5m", "1h 30", None, True, 1.5, ["1h"], "9999999w"])
def test_anything_else_is_refused_with_an_example(wrong: object) -> None:
    with pytest.raises(ValueError, match=r"Expected a duration such as 30s, 15m, 1h30m"):
        parse_duration_ms(wrong)


@given(st.integers(0, 10_000), st.sampled_from(sorted(UNITS_MS)))
def test_a_number_and_a_unit_multiply(number: int, unit: str) -> None:
    assert parse_duration_ms(f"{number}{unit}") == number * UNITS_MS[unit]
