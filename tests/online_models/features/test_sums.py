from __future__ import annotations

import pytest
from builders import DAY, a_page_view, a_purchase, an_impression
from hypothesis import given
from hypothesis import strategies as st

from tests.online_models.features.timelines import Visitor, values_of


def test_a_sum_adds_the_field_of_its_types() -> None:
    spent = values_of(
        {"x": {"sum": "value", "of": "purchase"}},
        a_page_view(0),
        a_purchase(1, value=20.0),
        a_purchase(2),
        a_purchase(3, value=0.5),
    )

    assert spent == [0, 20.0, 20.0, 20.5]


def test_of_a_field_that_only_other_types_have_nothing_is_added() -> None:
    assert values_of({"x": {"sum": "value", "of": "page_view"}}, a_page_view(0)) == [0]


@given(st.lists(st.tuples(st.integers(-9 * DAY, 9 * DAY), st.floats(0, 1e9)), min_size=1, max_size=20))
def test_a_decayed_sum_equals_the_closed_form_in_any_order(orders: list[tuple[int, float]]) -> None:
    visitor = Visitor({"x": {"sum": "value", "of": "purchase", "half_life": "3d"}})
    for at_ms, value in orders:
        visitor.does(a_purchase(at_ms, value=value))
    end = 9 * DAY

    spent = visitor.does(an_impression(at_ms=end))["x"]

    assert spent == pytest.approx(sum(value * 2.0 ** ((at_ms - end) / (3 * DAY)) for at_ms, value in orders), rel=1e-7)
