from __future__ import annotations

from collections import defaultdict

import pytest
from builders import DAY, HOUR, a_click, a_page_view, a_purchase, an_add_to_cart, an_impression
from hypothesis import given
from hypothesis import strategies as st

from tests.online_models.features.timelines import Visitor, values_of


def test_affinity_is_the_share_of_the_events_own_category() -> None:
    shares = values_of(
        {"x": {"affinity": "category", "half_life": "7d"}},
        an_impression(category="shoes"),
        a_click(category="shoes"),
        an_add_to_cart(category="hats"),
        an_impression(category="shoes"),
        an_impression(category="bags"),
        an_impression(category=None),
    )

    assert shares == pytest.approx([0.0, 1.0, 0.75, 0.25, 0.0, None])


def test_the_favourite_follows_the_weights_and_fades() -> None:
    # 5 for a purchase of hats, then a click on shoes three half-lives later
    favourites = values_of(
        {"x": {"favourite": "category", "half_life": "1d"}},
        a_page_view(0),
        a_purchase(0, category="hats"),
        a_click(at_ms=DAY, category="shoes"),
        a_click(at_ms=3 * DAY, category="shoes"),
    )

    assert favourites == [None, "hats", "hats", "shoes"]


def test_declared_weights_replace_the_default_ones() -> None:
    shares = values_of(
        {"x": {"affinity": "item_id", "weights": {"impression": 0.5}}}, a_click("i1"), an_impression("i2")
    )

    assert shares == [0.0, 1.0]


clicks = st.lists(st.tuples(st.sampled_from("abcdef"), st.integers(-10 * HOUR, 10 * HOUR)), min_size=1, max_size=25)


@given(clicks)
def test_shares_equal_the_slow_sum_in_any_order_while_all_keys_fit(events: list[tuple[str, int]]) -> None:
    visitor = Visitor({"x": {"affinity": "category", "half_life": "2h", "weights": {"click": 2}}})
    weights: dict[str, float] = defaultdict(float)
    for category, at_ms in events:
        share = visitor.does(a_click(at_ms=at_ms, category=category))["x"]
        weights[category] += 2.0 ** (at_ms / (2 * HOUR))

    assert share == pytest.approx(weights[events[-1][0]] / sum(weights.values()), rel=1e-7)


@given(clicks)
def test_the_keys_are_bounded_and_the_one_just_seen_is_kept(events: list[tuple[str, int]]) -> None:
    visitor = Visitor({"x": {"affinity": "category", "half_life": "2h", "top": 2}})

    for category, at_ms in events:
        share = visitor.does(a_click(at_ms=at_ms, category=category))["x"]

        assert len(visitor.slots[1][1]) <= 2
        assert category in visitor.slots[1][1]
        assert 0.0 <= share <= 1.0


def test_one_key_can_be_enough() -> None:
    visitor = Visitor({"x": {"favourite": "item_id", "top": 1}})

    assert [visitor.does(a_click(item))["x"] for item in ("i1", "i2")] == ["i1", "i2"]


def test_affinity_to_a_key_is_its_share_whatever_the_event_is_about() -> None:
    visitor = Visitor({"x": {"affinity": "category", "to": "shoes"}})

    found = [
        visitor.does(an_impression("i1"))["x"],
        visitor.does(a_click("i2", category="shoes"))["x"],
        visitor.does(a_click("i3", category="hats"))["x"],
        visitor.does(an_impression("i4", category="hats"))["x"],
    ]

    assert found == [0.0, 1.0, pytest.approx(0.5), pytest.approx(0.5)]
