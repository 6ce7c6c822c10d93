"""What describes a visitor, when it is told, and which segment is read from it."""

from __future__ import annotations

from typing import Any

import pytest
from builders import DAY, HOUR, MINUTE, a_click, a_page_view, an_add_to_cart, an_impression

from online_models.clusters import FIRST_PER_CLUSTER
from online_models.crowd import CrowdCounts
from online_models.errors import ConfigError
from online_models.features import FeatureSet, compile_features
from online_models.segments import described
from tests.online_models.features.timelines import Visitor

FEATURES: dict[str, Any] = {
    "visits": {"visits": "total"},
    "clicks": {"count": "click", "transform": "log1p"},
    "carts": {"count": "add_to_cart", "bins": [1, 5]},
    "shoes": {"affinity": "category", "to": "shoes"},
    "item": {"field": "item_id"},
}
SEGMENTS: dict[str, Any] = {"of": ["visits", "clicks", "carts", "shoes"], "count": 2, "at_event": 3}


def a_set(segments: dict[str, Any] | None = None, **more: Any) -> FeatureSet:
    return compile_features({**FEATURES, **more}, {**SEGMENTS, **(segments or {})})


def told(features: FeatureSet, *events: Any) -> list[dict[str, float]]:
    """What each event tells of the visitor."""
    visitor = Visitor(features)
    found = []
    for event in events:
        features.fold(visitor.slots, event)
        found.append({name.partition(":")[2]: value for name, value in features.told(visitor.slots, event, {}).items()})
    return found


def a_learned_crowd(features: FeatureSet, visitors: int = 4 * FIRST_PER_CLUSTER) -> CrowdCounts:
    """Visitors who click on shoes much and others who click on hats a little: one in three and two in three."""
    crowd = CrowdCounts(features.crowd_tables)
    for number in range(visitors):
        visitor = Visitor(features)
        visitor.crowd = crowd
        much = number % 3 == 0
        for click in range(20 + number % 7 if much else 3 + number % 2):
            category = "shoes" if much else "hats"
            session = f"s{click // 10 if much else 0}"
            visitor.does(a_click(f"i{click}", click * MINUTE, category=category, session_id=session))
    return crowd


def test_a_visitor_is_described_once_a_visit() -> None:
    events = [a_click(f"i{n}", n * MINUTE, category="shoes") for n in range(6)]
    events += [a_click(f"i{n}", DAY + n * MINUTE, category="hats", session_id="s2") for n in range(3)]

    found = told(a_set(), *events)

    assert [bool(one) for one in found] == [False, False, True, False, False, False, False, False, True]
    assert found[2] == {"visits": 1.0, "clicks": pytest.approx(1.386294), "carts": 0.0, "shoes": 1.0}
    assert found[8]["visits"] == 2.0
    assert found[8]["shoes"] == pytest.approx(0.647, abs=0.01)


def test_what_is_shown_to_a_visitor_is_nothing_that_the_visitor_does() -> None:
    shown = [an_impression(f"i{n}", n * MINUTE) for n in range(5)]
    done = [a_click("i1", 6 * MINUTE), a_page_view(7 * MINUTE), an_add_to_cart("i1", 8 * MINUTE)]

    found = told(a_set(), *shown, *done)

    assert [bool(one) for one in found] == [False] * 7 + [True]


def test_a_feature_with_bins_describes_without_them() -> None:
    events = [an_add_to_cart(f"i{n}", n * MINUTE) for n in range(10)]

    found = told(a_set({"at_event": 10}), *events)

    assert found[-1]["carts"] == pytest.approx(2.397895)  # log(1 + 10)


def test_a_straggler_tells_nothing_twice() -> None:
    events = [a_click("i1", 2 * DAY), a_click("i2", 2 * DAY + MINUTE), a_click("i3", HOUR, session_id=None)]
    events += [a_click("i4", 2 * DAY + 2 * MINUTE), a_click("i5", 2 * DAY + 3 * MINUTE)]

    assert [bool(one) for one in told(a_set(), *events)] == [False, False, True, False, False]


def test_a_visitor_is_in_the_segment_of_those_who_are_alike() -> None:
    features = a_set()
    crowd = a_learned_crowd(features)
    names = {one.name: one.id for one in described(features.segments, crowd.weights)}
    visitor = Visitor(features)
    visitor.crowd = crowd

    first = visitor.does(a_click("i1", category="hats"))["segment"]
    for number in range(30):
        last = visitor.does(a_click("i1", number * MINUTE, category="shoes", session_id=f"s{number % 9}"))["segment"]

    assert [first, last] == ["1", "2"]
    assert next(name for name, number in names.items() if number == "2") == "visits high, clicks high, shoes high"


def test_while_too_few_are_known_there_are_no_segments() -> None:
    features = a_set()
    crowd = a_learned_crowd(features, visitors=10)
    visitor = Visitor(features)
    visitor.crowd = crowd

    assert visitor.does(a_click("i1"))["segment"] is None
    assert described(features.segments, crowd.weights) == []


def test_the_centre_of_a_segment_is_in_the_features_own_units() -> None:
    features = a_set({"at_event": 20})
    crowd = CrowdCounts(features.crowd_tables)
    for number in range(90):
        visitor = Visitor(features)
        visitor.crowd = crowd
        for event in range(20):
            visitor.does((a_click if number % 3 else an_add_to_cart)(f"i{event}", event * MINUTE, category="shoes"))

    found = described(features.segments, crowd.weights)

    assert [(one.id, one.size) for one in found] == [("1", 40 + 20), ("2", 20 + 10)]
    assert found[0].centroid == {
        "visits": pytest.approx(1.0), "clicks": pytest.approx(20.0), "carts": pytest.approx(0.0, abs=1e-6),
        "shoes": pytest.approx(1.0),
    }  # fmt: skip
    assert found[1].centroid["carts"] == pytest.approx(20.0)
    assert found[0].name == "clicks high, carts low"
    assert found[1].name == "clicks low, carts high"
    assert [one.share for one in found] == [pytest.approx(2 / 3, abs=0.02), pytest.approx(1 / 3, abs=0.02)]


def test_models_see_the_segment_where_it_is_declared() -> None:
    undeclared = a_set()
    declared = a_set(mine={"segment": "visitor"}, item_x_mine={"cross": ["item", "mine"]})

    assert undeclared.base_names[-1] == "segment"
    assert "segment" not in undeclared.names
    assert "segment" not in declared.base_names
    values = [1, 3, 0, 0.0, "i1", "2"]
    assert {"mine=2", "item=i1*mine=2"} < declared.vectorize(values).keys()
    assert all("segment" not in name for name in undeclared.vectorize(values))
    assert [one.segment_in(["2"]) for one in (undeclared, declared)] == ["2", "2"]


def test_without_segments_nothing_changes() -> None:
    plain = compile_features(FEATURES)

    assert plain.crowd_tables == {}
    assert plain.segment_in([]) is None
    assert plain.hash == compile_features(FEATURES, None).hash
    assert plain.hash != a_set().hash


@pytest.mark.parametrize(
    ("segments", "path", "message"),
    [
        (["visits"], (), "Expected a mapping such as `segments: "),
        ({}, ("of",), "Expected a list of 1 to 20 features that are numbers"),
        ({"of": ["visit"]}, ("of", 0), "No feature is called 'visit'; expected: visits, clicks"),
        ({"of": ["visits", "visits"]}, ("of", 1), "'visits' stands here twice"),
        ({"of": ["item"]}, ("of", 0), "'item' describes the event; take what describes the visitor"),
        ({"of": ["taste"]}, ("of", 0), "'taste' describes the event; .*such as `to: shoes`"),
        ({"of": ["favourite"]}, ("of", 0), "'favourite' is no number; take numbers"),
        ({"of": ["both"]}, ("of", 0), "'both' is no number"),
        ({"of": ["visits"], "count": 1}, ("count",), "Expected a whole number from 2 to 12, got 1"),
        ({"of": ["visits"], "at_event": True}, ("at_event",), "Expected a whole number from 1 to 100, got True"),
        ({"of": ["visits"], "number": 3}, ("number",), "Unknown key; expected one of: of, count, at_event"),
    ],
)
def test_a_wrong_declaration_says_what_to_do(segments: Any, path: tuple[str | int, ...], message: str) -> None:
    more = {
        "taste": {"affinity": "category"},
        "favourite": {"favourite": "category"},
        "both": {"cross": ["item", "favourite"]},
    }

    with pytest.raises(ConfigError, match=message) as caught:
        compile_features({**FEATURES, **more}, segments)

    assert caught.value.path == ("segments", *path)


def test_the_family_needs_the_section_and_the_name_is_taken() -> None:
    with pytest.raises(ConfigError, match="declare `segments: "):
        compile_features({**FEATURES, "mine": {"segment": "visitor"}})
    with pytest.raises(ConfigError, match="Segments have this name"):
        a_set(segment={"count": "click"})
    with pytest.raises(ConfigError, match="Unknown key"):
        a_set(mine={"segment": "visitor", "missing": "none"})
