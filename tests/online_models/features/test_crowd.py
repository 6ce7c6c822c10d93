"""Popularity, what follows what, and when an item was first seen: of all visitors together."""

from __future__ import annotations

from math import log
from typing import Any

import pytest
from builders import HOUR, MINUTE, a_click, an_impression
from hypothesis import given
from hypothesis import strategies as st

from online_models.crowd import CrowdCounts
from online_models.features import compile_features
from online_models.sums import sigmoid
from tests.online_models.features.timelines import Visitor


class Crowd:
    """Visitors by name, whose events all tell the same counts."""

    def __init__(self, declaration: dict[str, Any]) -> None:
        self.features = compile_features({"x": declaration})
        self.counts = CrowdCounts(self.features.crowd_tables)
        self.visitors: dict[str, Visitor] = {}

    def visitor(self, name: str) -> Visitor:
        found = self.visitors.setdefault(name, Visitor(self.features))
        found.crowd = self.counts
        return found

    def clicks(self, name: str, items: str, at_ms: int = 0, **fields: Any) -> None:
        """One click each minute on items of one letter each."""
        for number, item in enumerate(items):
            self.visitor(name).does(a_click(item, at_ms + number * MINUTE, **fields))

    def value(self, item: str, at_ms: int, name: str = "somebody else", **fields: Any) -> Any:
        """The feature for an impression of the item, which leaves no trace."""
        return self.visitor(name).values_at(an_impression(item, at_ms, **fields))["x"]


def test_popularity_is_the_log_of_an_items_share() -> None:
    crowd = Crowd({"popularity": "item_id", "half_life": "366d"})
    crowd.clicks("u1", "aab")
    crowd.clicks("u2", "a")

    assert crowd.value("a", HOUR) == pytest.approx(log(3.1 / 4.1), abs=1e-3)
    assert crowd.value("b", HOUR) == pytest.approx(log(1.1 / 4.1), abs=1e-3)
    assert crowd.value("never seen", HOUR) == pytest.approx(log(0.1 / 4.1), abs=1e-3)


def test_popularity_decays() -> None:
    crowd = Crowd({"popularity": "item_id", "half_life": "1h"})
    crowd.clicks("u1", "a")
    crowd.clicks("u2", "b", at_ms=2 * HOUR)

    # two half-lives back: a quarter of a click
    assert crowd.value("a", 2 * HOUR) == pytest.approx(log(0.35 / 1.35), abs=1e-3)


def test_without_an_item_there_is_no_popularity() -> None:
    crowd = Crowd({"popularity": "category"})
    crowd.clicks("u1", "a", category="shoes")

    assert crowd.value("a", HOUR) is None
    assert crowd.value("a", HOUR, category="shoes") == pytest.approx(0.0, abs=1e-6)


def test_popularity_within_a_group_is_what_is_more_than_expected() -> None:
    crowd = Crowd({"popularity": "item_id", "by": "country", "half_life": "366d", "strength": 1})
    crowd.clicks("u1", "aaa", country="de")
    crowd.clicks("u2", "abbb", country="fr")

    share_of_a = 4 / 7
    assert crowd.value("a", HOUR, country="de") == pytest.approx(log((3 + 1) / (3 * share_of_a + 1)), abs=1e-3)
    assert crowd.value("a", HOUR, country="fr") == pytest.approx(log((1 + 1) / (4 * share_of_a + 1)), abs=1e-3)
    assert crowd.value("a", HOUR) is None


def test_an_item_or_a_group_of_which_nothing_is_known_has_no_lift() -> None:
    crowd = Crowd({"popularity": "item_id", "by": "properties.shelf"})
    crowd.clicks("u1", "ab" * 50, properties={"shelf": 3})

    assert crowd.value("new", 2 * HOUR, properties={"shelf": 3}) == 0.0
    assert crowd.value("a", 2 * HOUR, properties={"shelf": 4}) == 0.0
    assert crowd.value("a", 2 * HOUR, properties={"shelf": 3}) == pytest.approx(0.0, abs=1e-9)


def test_what_others_went_on_to_is_lifted() -> None:
    crowd = Crowd({"follows": "item_id", "half_life": "366d", "strength": 1})
    for name in ("u1", "u2", "u3"):
        crowd.clicks(name, "ab")
    crowd.clicks("u4", "cd")
    crowd.clicks("me", "a", at_ms=HOUR)

    # a was left three times, each time for b, which has 3 of the 9 clicks
    assert crowd.value("b", HOUR, "me") == pytest.approx(log((3 + 1) / (3 * 3 / 9 + 1)), abs=1e-3)
    assert crowd.value("d", HOUR, "me") == pytest.approx(log((0 + 1) / (3 * 1 / 9 + 1)), abs=1e-3)
    assert crowd.value("b", HOUR, "somebody without a session") is None


def test_an_item_is_not_its_own_predecessor() -> None:
    crowd = Crowd({"follows": "item_id"})
    crowd.clicks("u1", "aab")

    told = {name.partition(":")[2] for name in crowd.counts.weights}

    assert "a\ta" not in told
    assert crowd.value("a", 3 * MINUTE, "u1") is not None  # behind b
    crowd.clicks("u2", "a")
    assert crowd.value("a", MINUTE, "u2") is None


def test_a_reload_is_told_once() -> None:
    once, again = Crowd({"follows": "item_id"}), Crowd({"follows": "item_id"})
    for crowd in (once, again):
        crowd.clicks("u1", "ab")
    again.visitor("u1").does(a_click("b", MINUTE))

    behind_a = [
        crowd.counts.weights[name] for crowd in (once, again) for name in crowd.counts.weights if "a\tb" in name
    ]
    assert behind_a[0] == behind_a[1]


def test_reach_looks_further_back_and_counts_half_for_each_step() -> None:
    crowd = Crowd({"follows": "item_id", "reach": 2, "half_life": "366d", "strength": 1})
    crowd.clicks("u1", "abc")
    crowd.clicks("me", "ab", at_ms=HOUR)

    # behind b: c once of one; behind a: c and b of three (me went to b as well)
    expected = (1 + 0.5 * 3) * 1 / 5
    assert crowd.value("c", HOUR, "me") == pytest.approx(log((1 + 0.5 + 1) / (expected + 1)), abs=1e-3)


def test_both_ways_counts_what_came_before_too() -> None:
    forth, both = (Crowd({"follows": "item_id", "both_ways": both_ways}) for both_ways in (False, True))
    for crowd in (forth, both):
        crowd.clicks("u1", "ab")
        crowd.clicks("u2", "cd")
        crowd.clicks("me", "b", at_ms=MINUTE)

    assert both.value("a", 2 * MINUTE, "me") > 0.1
    assert forth.value("a", 2 * MINUTE, "me") <= 0.0


def test_a_session_that_is_over_says_nothing() -> None:
    crowd = Crowd({"follows": "item_id"})
    crowd.clicks("u1", "ab")
    crowd.clicks("me", "a")

    assert crowd.value("b", MINUTE, "me") is not None
    crowd.visitor("me").does(an_impression("z", 5 * HOUR, session_id="another"))
    assert crowd.value("b", 5 * HOUR, "me") is None


def test_first_seen_is_when_anybody_met_it() -> None:
    crowd = Crowd({"first_seen": "item_id"})
    assert crowd.value("a", HOUR) is None

    crowd.clicks("u1", "a", at_ms=HOUR)
    crowd.clicks("u2", "a", at_ms=3 * HOUR)
    assert crowd.value("a", 4 * HOUR) == pytest.approx(3.0)

    crowd.clicks("u3", "a")  # late
    assert crowd.value("a", 4 * HOUR) == pytest.approx(4.0)


@given(st.lists(st.tuples(st.sampled_from("uvw"), st.sampled_from("abcd"), st.integers(0, 600)), max_size=30))
def test_lifts_of_a_group_that_is_everybody_are_zero(events: list[tuple[str, str, int]]) -> None:
    crowd = Crowd({"popularity": "item_id", "by": "country", "half_life": "1h"})
    for name, item, minute in events:
        crowd.clicks(name, item, at_ms=minute * MINUTE, country="de")

    for item in "abcd":
        assert crowd.value(item, 600 * MINUTE, country="de") == pytest.approx(0.0, abs=1e-6)


def test_declarations_that_count_the_same_share_a_table() -> None:
    features = compile_features(
        {
            "hot": {"popularity": "item_id"},
            "hot_here": {"popularity": "item_id", "by": "country"},
            "next": {"follows": "item_id"},
            "hot_1d": {"popularity": "item_id", "half_life": "1d"},
        }
    )

    assert len(features.crowd_tables) == 4
    assert features.crowd_positions == [0, 1, 2, 3]


def test_values_that_were_published_stand() -> None:
    features = compile_features({"item": {"field": "item_id"}, "hot": {"popularity": "item_id"}})

    assert features.crowd_values(["i1", -2.5]) == [-2.5]
    assert features.with_crowd(["i1", -2.0], [-2.5]) == ["i1", -2.5]
    assert features.with_crowd(["i1", -2.0], []) == ["i1", -2.0]
    assert features.with_crowd(["i1", -2.0], [-2.5, 1.0]) == ["i1", -2.0], "of another declaration"


@pytest.mark.parametrize(
    "declaration",
    [
        {"popularity": "item_id"},
        {"popularity": "item_id", "by": "country"},
        {"popularity": "item_id", "by": "category"},
        {"follows": "item_id"},
        {"follows": "item_id", "reach": 3, "both_ways": True},
    ],
    ids=str,
)
@given(items=st.text("abcd", max_size=12), last=st.text("abcd", max_size=4))
def test_many_items_are_read_at_once_as_one_by_one(declaration: dict[str, Any], items: str, last: str) -> None:
    crowd = Crowd(declaration)
    crowd.clicks("u1", items, country="de", category="x")
    crowd.clicks("u2", last)
    candidates = [
        an_impression(item, HOUR, country=country, category=category)
        for item in ("a", "b", "z")
        for country, category in (("de", "x"), ("de", "y"), ("fr", "x"))
    ]
    slots, weights = crowd.visitor("u2").slots, crowd.counts.weights

    def put(event: Any, candidate: Any) -> None:
        event.item_id, event.country, event.category = candidate.item_id, candidate.country, candidate.category

    values = [crowd.features.extract(slots, one, weights) for one in candidates]
    at_once = crowd.features.shortlist(["x"])(
        slots, an_impression("", HOUR), put, candidates, weights, values[0], {"x": 1.0}.get, 0.0
    )

    assert at_once == [0.5 if one is None else sigmoid(one + 0.0) for [one] in values]


@pytest.mark.parametrize(("one", "like_it"), [(1, 1.0), (2.5, 2.5), ("x", "x"), (True, True)])
def test_a_number_of_your_own_is_a_group_however_it_is_written(one: Any, like_it: Any) -> None:
    visitor = Visitor({"x": {"popularity": "item_id", "by": "properties.plan"}})
    for at in range(20):
        visitor.does(a_click("i1", at, event_id=f"a{at}", properties={"plan": one}))
        visitor.does(a_click("i2", at, event_id=f"b{at}", properties={"plan": "another"}))

    lift = visitor.values_at(a_click("i1", 30, event_id="c", properties={"plan": like_it}))["x"]

    assert lift == pytest.approx(log(2.0), abs=0.05)
