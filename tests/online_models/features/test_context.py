from __future__ import annotations

import math
from typing import Any

import pytest
from builders import DAY, HOUR, T0, a_click, a_page_view, a_purchase, an_event

from online_models.features.fields import COMMON_FIELDS, NUMBER_FIELDS, TEXT_FIELDS
from schemas.events import EventBase, Search
from tests.online_models.features.timelines import Visitor, values_of

# T0 is Tuesday 2023-11-14 22:13:20 UTC.


def test_fields_are_categories_or_numbers_by_their_kind() -> None:
    visitor = Visitor({name: {"field": name} for name in ("type", "item_id", "price", "position", "country")})

    seen = visitor.shows(a_click("i1", price=5.0, position=2))

    assert seen == {"type=click": 1.0, "item_id=i1": 1.0, "price": 5.0, "position": 2.0}


def test_a_number_field_may_be_told_to_be_a_category() -> None:
    declared = {"x": {"field": "position", "numeric": False}, "y": {"field": "price", "numeric": False}}

    visitor = Visitor(declared)

    assert visitor.shows(a_click(position=2, price=9.5)) == {"x=2": 1.0, "y=9.5": 1.0}
    # Whole ones have one name, whether they are written 9 or 9.0, and whichever came first.
    assert [[*visitor.shows(a_click(price=price))] for price in (9.0, 9)] == [["y=9"], ["y=9"]]


def test_a_property_may_be_a_text_here_and_a_number_there() -> None:
    declared = {"plan": {"field": "properties.plan", "lower": True, "max_length": 3, "keep": ["gol", 3]}}
    visitor = Visitor(declared)

    names = [[*visitor.shows(a_page_view(properties={"plan": plan}))] for plan in ("GOLD", 3.0, 3, "3", 4.5, True)]

    assert names == [["plan=gol"], ["plan=3"], ["plan=3"], ["plan=3"], ["plan=other"], ["plan=other"]]


def test_fields_of_one_event_type_are_missing_in_the_others() -> None:
    declared = {"query": {"field": "query"}, "value": {"field": "value"}}
    visitor = Visitor(declared)

    assert visitor.shows(an_event(Search, query="boots")) == {"query=boots": 1.0}
    assert visitor.shows(a_purchase(value=7.0)) == {"value": 7.0}
    assert visitor.shows(a_page_view()) == {}


def test_every_declarable_field_is_one_of_the_schema() -> None:
    of_schema = set(COMMON_FIELDS).union(*(kind.__struct_fields__ for kind in EventBase.__subclasses__()))

    assert {*TEXT_FIELDS, *NUMBER_FIELDS} <= of_schema
    assert {"event_id", "ts", "session_id", "order_id"}.isdisjoint({*TEXT_FIELDS, *NUMBER_FIELDS})


@pytest.mark.parametrize(
    ("value", "as_category", "as_number"),
    [
        ("gold", {"x=gold": 1.0}, {}),
        (3, {"x=3": 1.0}, {"x": 3.0}),
        (3.0, {"x=3": 1.0}, {"x": 3.0}),
        (2.5, {"x=2.5": 1.0}, {"x": 2.5}),
        (True, {"x=true": 1.0}, {"x": 1.0}),
        (None, {}, {}),
        (2**70, {f"x={2**70}": 1.0}, {}),
        (1.7e18, {"x=1700000000000000000": 1.0}, {"x": 1.7e18}),
        (-1e300, {f"x={str(int(-1e300))[:128]}": 1.0}, {"x": -(2.0**63)}),
    ],
)
def test_properties_are_read_as_they_come(
    value: Any, as_category: dict[str, float], as_number: dict[str, float]
) -> None:
    event = a_page_view(properties={"plan": value, "other": 1})

    assert Visitor({"x": {"field": "properties.plan"}}).shows(event) == as_category
    assert Visitor({"x": {"field": "properties.plan", "numeric": True}}).shows(event) == as_number


@pytest.mark.parametrize("first", [True, 1, 1.0, "true"])
def test_the_name_of_a_value_does_not_depend_on_what_was_seen_before(first: Any) -> None:
    visitor = Visitor({"x": {"field": "properties.plan"}})
    visitor.shows(a_page_view(properties={"plan": first}))

    names = [[*visitor.shows(a_page_view(properties={"plan": value}))] for value in (True, 1, 1.0, "true")]

    assert names == [["x=true"], ["x=1"], ["x=1"], ["x=true"]]


def test_local_time_follows_the_visitors_offset_or_the_default() -> None:
    declared = {
        "defaults": {"tz_offset_min": 120},
        "hour": {"hour": "categorical"},
        "day": {"weekday": "categorical"},
    }
    visitor = Visitor(declared)

    assert visitor.shows(a_page_view(tz_offset_min=0)) == {"hour=22": 1.0, "day=tue": 1.0}
    assert visitor.shows(a_page_view(tz_offset_min=-330)) == {"hour=16": 1.0, "day=tue": 1.0}
    assert visitor.shows(a_page_view()) == {"hour=0": 1.0, "day=wed": 1.0}


def test_cyclic_time_stands_on_a_circle() -> None:
    visitor = Visitor({"hour": {"hour": "cyclic"}, "day": {"weekday": "cyclic"}})
    points = [visitor.shows(a_page_view(hour * HOUR)) for hour in range(24 * 7)]

    assert all(math.hypot(x["hour.sin"], x["hour.cos"]) == pytest.approx(1.0) for x in points)
    assert len({(x["hour.sin"], x["day.sin"], x["hour.cos"], x["day.cos"]) for x in points}) == 24 * 7
    assert visitor.shows(a_page_view(7 * DAY)) == points[0]


def test_a_late_event_keeps_its_own_local_time() -> None:
    assert values_of({"h": {"hour": "categorical"}}, a_page_view(0), a_page_view(-HOUR)) == [22, 21]


def test_the_oldest_time_stamp_has_a_weekday() -> None:
    declared = {"d": {"weekday": "categorical"}}

    assert Visitor(declared).shows(a_page_view(-T0)) == {"d=thu": 1.0}  # 1970-01-01
