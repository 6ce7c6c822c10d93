"""Declared rules for numbers and categories."""

from __future__ import annotations

import math
import zlib
from typing import Any

import pytest
from builders import DAY, a_click, a_page_view, an_impression

from online_models.features.transforms import signed_log1p, signed_sqrt
from tests.online_models.features.timelines import Visitor


def shown(declared: dict[str, Any], **fields: Any) -> dict[str, float]:
    return Visitor({"x": declared}).shows(a_page_view(**fields))


@pytest.mark.parametrize(
    ("rules", "price", "expected"),
    [
        ({}, 9.0, {"x": 9.0}),
        ({}, None, {}),
        ({"default": 3}, None, {"x": 3.0}),
        ({"clip": [1, 8]}, 9.0, {"x": 8.0}),
        ({"clip": [1, 8]}, 0.0, {"x": 1.0}),
        ({"clip": [1, 8]}, None, {}),
        ({"clip": [1, 8], "default": 100}, None, {"x": 8.0}),
        ({"transform": "sqrt"}, 9.0, {"x": 3.0}),
        ({"transform": "log1p"}, math.e - 1, {"x": 1.0}),
        ({"clip": [0, 4], "transform": "sqrt"}, 9.0, {"x": 2.0}),
        ({"default": 4, "transform": "sqrt"}, None, {"x": 2.0}),
        ({"bins": [10, 20.5]}, 9.99, {"x=<10": 1.0}),
        ({"bins": [10, 20.5]}, 10.0, {"x=10..20.5": 1.0}),
        ({"bins": [10, 20.5]}, 1e9, {"x=>=20.5": 1.0}),
        ({"bins": [10, 20.5]}, None, {}),
        ({"bins": [10, 20.5], "default": 0}, None, {"x=<10": 1.0}),
    ],
)
def test_a_number_is_defaulted_clipped_then_binned_or_transformed(
    rules: dict[str, Any], price: float | None, expected: dict[str, float]
) -> None:
    assert shown({"field": "price", **rules}, price=price) == pytest.approx(expected)


def test_what_is_stored_is_in_the_features_own_unit_and_transformed_late() -> None:
    visitor = Visitor({"x": {"field": "price", "clip": [0, 8], "transform": "sqrt"}})

    assert visitor.does(a_page_view(price=4.0)) == {"x": 4.0}


def test_a_transform_of_a_negative_number_keeps_its_sign() -> None:
    declared = {"field": "properties.score", "numeric": True, "transform": "log1p"}

    assert shown(declared, properties={"score": -(math.e - 1)}) == pytest.approx({"x": -1.0})
    assert [signed_sqrt(x) for x in (-4.0, 0.0, 9.0)] == [-2.0, 0.0, 3.0]
    assert signed_log1p(0.0) == 0.0


def test_rules_of_a_time_may_be_written_as_durations() -> None:
    declared = {"x": {"time_since": "click", "default": "1d", "clip": ["1m", "1d"], "unit": "h"}}
    binned = {"x": {"time_since": "click", "bins": ["1m", "1h"]}}
    visitor, in_bins = Visitor(declared), Visitor(binned)

    assert visitor.shows(a_page_view()) == {"x": 24.0}
    for each in (visitor, in_bins):
        each.shows(a_click())
    assert visitor.shows(an_impression()) == pytest.approx({"x": 1 / 60})
    assert visitor.shows(an_impression(at_ms=9 * DAY)) == {"x": 24.0}
    assert in_bins.shows(an_impression()) == {"x=<60": 1.0}


@pytest.mark.parametrize(
    ("rules", "country", "expected"),
    [
        ({}, "DE", {"x=DE": 1.0}),
        ({}, None, {}),
        ({"missing": "unknown"}, None, {"x=unknown": 1.0}),
        ({"missing": "None", "lower": True, "keep": ["de"], "hash": 9}, None, {"x=None": 1.0}),
        ({"lower": True}, "DE", {"x=de": 1.0}),
        ({"max_length": 3}, "Deutschland", {"x=Deu": 1.0}),
        ({"keep": ["DE", "FR"]}, "DE", {"x=DE": 1.0}),
        ({"keep": ["DE", "FR"]}, "BR", {"x=other": 1.0}),
        ({"keep": ["de"], "lower": True}, "DE", {"x=de": 1.0}),
        ({"hash": 100}, "DE", {f"x={zlib.crc32(b'DE') % 100}": 1.0}),
    ],
)
def test_a_category_is_completed_and_kept_within_bounds(
    rules: dict[str, Any], country: str | None, expected: dict[str, float]
) -> None:
    assert shown({"field": "country", **rules}, country=country) == expected


def test_long_text_is_cut_unless_said_otherwise() -> None:
    url = "https://shop.example.com/" + "x" * 500

    assert shown({"field": "url"}, url=url) == {f"x={url[:128]}": 1.0}
    assert shown({"field": "url", "max_length": 2048}, url=url) == {f"x={url}": 1.0}


def test_numbers_may_be_kept_values_too() -> None:
    declared = {"field": "properties.tier", "keep": [1, "2"]}

    assert [[*shown(declared, properties={"tier": tier})] for tier in (1, 1.0, "1", 2, "2", 3)] == [
        ["x=1"],
        ["x=1"],
        ["x=1"],
        ["x=other"],
        ["x=2"],
        ["x=other"],
    ]
