"""Crowd values that come back: taken where they mean what they would mean here, else as if they had not come."""

from __future__ import annotations

from typing import Any

import pytest
from builders import an_impression

from online_models.features import FeatureSet, compile_features

POPULAR = {"popularity": "item_id"}


def made(declaration: dict[str, Any], segments: object = None, **others: Any) -> FeatureSet:
    return compile_features({"visits": {"visits": "total"}, **others, "x": declaration}, segments)


def hash_of(declaration: dict[str, Any], segments: object = None, **others: Any) -> str:
    return made(declaration, segments, **others).crowd_hash


def came_back(features: FeatureSet, crowd_values: list[Any], crowd_hash: str) -> bool:
    values = features.extract(features.new_slots(), an_impression("a", 0))
    return features.with_crowd(values, crowd_values, crowd_hash) != values


def test_without_features_of_the_crowd_there_is_no_hash() -> None:
    assert compile_features({"item": {"field": "item_id"}}).crowd_hash == ""
    assert len(hash_of(POPULAR)) == 8


@pytest.mark.parametrize(
    "other",
    [
        {"first_seen": "item_id"},
        {"popularity": "category"},
        {"popularity": "item_id", "bins": [-3, -1]},
        {"popularity": "item_id", "clip": [-3, 0]},
        {"popularity": "item_id", "default": -3},
        {"popularity": "item_id", "half_life": "2h"},
        {"popularity": "item_id", "of": "purchase"},
        {"popularity": "item_id", "by": "country"},
    ],
)
def test_what_decides_the_values_is_told_apart(other: dict[str, Any]) -> None:
    assert hash_of(other) != hash_of(POPULAR)


def test_what_does_not_decide_the_values_is_not() -> None:
    assert hash_of({"popularity": "item_id", "half_life": "60m", "of": ["page_view", "click"]}) == hash_of(POPULAR)
    assert hash_of({"popularity": "item_id", "transform": "sqrt"}) == hash_of(POPULAR)
    assert hash_of(POPULAR, clicks={"count": "click"}) == hash_of(POPULAR)
    assert hash_of(POPULAR, defaults={"tz_offset_min": 60, "inactivity": "1h"}) == hash_of(POPULAR)
    assert compile_features({"named": POPULAR}).crowd_hash == compile_features({"otherwise": POPULAR}).crowd_hash


def test_the_order_and_the_sessions_of_what_follows_decide() -> None:
    hot, new = POPULAR, {"first_seen": "item_id"}
    follows = {"follows": "item_id"}

    assert compile_features({"a": hot, "b": new}).crowd_hash != compile_features({"b": new, "a": hot}).crowd_hash
    assert hash_of(follows, defaults={"inactivity": "1h"}) != hash_of(follows)


def test_segments_decide_where_they_are_read() -> None:
    two, three = ({"of": ["visits"], "count": count} for count in (2, 3))
    here = {"popularity": "item_id", "by": "segment"}
    segment = {"segment": "visitor"}

    assert hash_of(here, two) != hash_of(here, three)
    assert hash_of(POPULAR, two) not in (hash_of(POPULAR), hash_of(POPULAR, three))
    declared = compile_features({"visits": {"visits": "total"}, "x": POPULAR, "s": segment}, two)
    assert declared.crowd_hash == hash_of(POPULAR, two), "it is there without being declared"


@pytest.mark.parametrize(
    ("declaration", "values", "fit"),
    [
        (POPULAR, [-1.97], True),
        (POPULAR, [2], True),
        (POPULAR, ["x"], False),
        (POPULAR, [True], False),
        (POPULAR, [-1.97, -1.97], False),
        (POPULAR, [], False),
        ({**POPULAR, "bins": [-3, -1]}, [2], True),
        ({**POPULAR, "bins": [-3, -1]}, [3], False),
        ({**POPULAR, "bins": [-3, -1]}, [-1], False),
        ({**POPULAR, "bins": [-3, -1]}, [1.0], False),
        ({**POPULAR, "clip": [-3, -1]}, [-1.97], True),
        ({**POPULAR, "clip": [-3, -1]}, [0.0], False),
        ({**POPULAR, "default": -5}, [None], False),
        ({"first_seen": "item_id", "transform": "log1p"}, [0.5], True),
        ({"first_seen": "item_id", "transform": "log1p"}, [-1.97], False),
        ({"first_seen": "item_id", "default": -1}, [-1], True),
    ],
)
def test_values_of_before_are_taken_if_the_features_could_have_them(
    declaration: dict[str, Any], values: list[Any], fit: bool
) -> None:
    features = made(declaration)
    untouched = features.extract(features.new_slots(), an_impression("a", 0))

    found = features.with_crowd(untouched, values, "")

    expected = [untouched[0], *values] if fit else untouched
    assert (found, [*map(type, found)]) == (expected, [*map(type, expected)])
    features.vectorize(found)


def test_a_missing_value_of_before_stands() -> None:
    features = made({"popularity": "category"})

    assert features.with_crowd([1, -2.5], [None], "") == [1, None]


def test_a_segment_of_before_must_be_one_of_the_segments() -> None:
    features = made({"segment": "visitor"}, {"of": ["visits"], "count": 2})

    assert features.with_crowd([1, None], ["2"], "") == [1, "2"]
    assert features.with_crowd([1, None], ["3"], "") == [1, None]
    assert features.with_crowd([1, None], [2], "") == [1, None]


def test_values_of_another_hash_are_not_taken_though_they_would_fit() -> None:
    features = made(POPULAR)

    assert came_back(features, [-1.97], features.crowd_hash)
    assert not came_back(features, [-1.97], hash_of({"popularity": "category"}))


def test_a_segment_that_was_told_is_known_by_its_hash() -> None:
    features = made(POPULAR, {"of": ["visits"], "count": 2})
    another = hash_of(POPULAR, {"of": ["visits"], "count": 3})

    assert features.told_segment([-1.97, "2"], features.crowd_hash) == "2"
    assert features.told_segment([-1.97, "2"], "") == "2"
    assert features.told_segment([-1.97, "2"], another) is None
    assert features.told_segment([], "") is None
