from __future__ import annotations

from typing import Any

from builders import MINUTE, a_click, a_page_view, an_impression
from hypothesis import given
from hypothesis import strategies as st

from tests.online_models.features.timelines import Visitor, values_of


def test_previous_is_the_item_before_this_event() -> None:
    items = values_of(
        {"x": {"previous": "item_id", "of": ["click", "page_view"]}},
        a_page_view(0, item_id="a"),
        an_impression("z", at_ms=1),
        a_click("b", at_ms=2),
        an_impression("z", at_ms=3),
        a_page_view(4),
        a_click("c", at_ms=5),
    )

    assert items == [None, "a", "a", "b", "b", None]


def test_previous_within_the_session_does_not_reach_back() -> None:
    items = values_of(
        {"x": {"previous": "item_id", "of": "click", "within": "session"}},
        a_click("a", session_id="s1"),
        a_click("b", session_id="s1", at_ms=1),
        an_impression("z", session_id="s2", at_ms=MINUTE),
        a_click("c", session_id="s2", at_ms=2 * MINUTE),
        a_click("d", session_id="s2", at_ms=3 * MINUTE),
    )

    assert items == [None, "a", None, None, "c"]


def test_seen_tells_of_earlier_events_only() -> None:
    known = values_of(
        {"x": {"seen": "item_id", "of": "click"}},
        an_impression("a"),
        a_click("a"),
        an_impression("a", at_ms=1),
        a_click("a", at_ms=2),
        a_click("b", at_ms=3),
        a_page_view(4),
    )

    assert known == [0, 0, 1, 1, 0, None]


@given(st.lists(st.tuples(st.sampled_from([a_click, an_impression]), st.sampled_from("abc")), max_size=30))
def test_what_was_before_an_event_is_the_same_before_and_after_its_fold(drawn: list[tuple[Any, str]]) -> None:
    visitor = Visitor(
        {
            "before": {"previous": "item_id", "of": "impression"},
            "met": {"seen": "item_id", "of": ["impression", "click"]},
            "since": {"time_since": "impression"},
        }
    )

    for number, (kind, item) in enumerate(drawn):
        event = kind(item, at_ms=number * 700)
        ahead = visitor.features.extract_unfolded(visitor.slots, event)

        assert list(visitor.does(event).values()) == ahead


@given(st.lists(st.sampled_from("abcdefgh"), min_size=1, max_size=40))
def test_distinct_and_seen_equal_a_set_while_it_fits_the_memory(items: list[str]) -> None:
    visitor = Visitor({"n": {"distinct": "item_id", "memory": 8}, "again": {"seen": "item_id", "memory": 8}})
    before: set[str] = set()

    for at_ms, item in enumerate(items):
        again = item in before
        before.add(item)

        assert visitor.does(a_click(item, at_ms=at_ms)) == {"n": len(before), "again": int(again)}


@given(st.lists(st.sampled_from("abcdefgh"), min_size=1, max_size=40))
def test_a_small_memory_is_bounded_and_never_counts_too_few(items: list[str]) -> None:
    visitor = Visitor({"n": {"distinct": "item_id", "memory": 3}})

    for at_ms, item in enumerate(items):
        n = visitor.does(a_click(item, at_ms=at_ms))["n"]

        assert len(set(items[: at_ms + 1])) <= n <= at_ms + 1
        assert len(visitor.slots[1][2]) <= 3


def test_hashes_are_those_that_are_stored() -> None:
    """Others would make all that visitors have seen unseen."""
    visitor = Visitor({"x": {"seen": "item_id"}})
    for at_ms, item in enumerate(["i1", "straße", "sku-7"]):
        visitor.does(a_click(item, at_ms=at_ms))

    assert visitor.slots[1] == [3, 0, [49_707, 21_197, 18_523]]


def test_what_is_seen_again_is_remembered_longest() -> None:
    known = values_of(
        {"x": {"seen": "item_id", "memory": 2}}, *(a_click(item, at_ms=at) for at, item in enumerate("abacab"))
    )

    assert known == [0, 0, 1, 0, 1, 0]
