"""Names of crowd counters: groups and members stay apart, whatever ids hold."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from online_models.features import compile_features
from online_models.features.counter_names import SEPARATOR, escaped, total_name, unescaped

EVERYBODY = ("3e1e2b:", "item_id:click+page_view:3600000:100000")
TEXTS = st.text(st.sampled_from("\t\x1bet a\u00a0") | st.characters(codec="utf-8"), max_size=8)


@given(text=TEXTS)
def test_a_text_comes_back_and_holds_no_separator_meanwhile(text: str) -> None:
    assert unescaped(escaped(text)) == text
    assert SEPARATOR not in escaped(text)


@given(one=st.tuples(TEXTS, TEXTS), other=st.tuples(TEXTS, TEXTS))
def test_two_counters_never_have_one_name(one: tuple[str, str], other: tuple[str, str]) -> None:
    names = {total_name("0123ab:", group) + escaped(member) for group, member in (one, other)}

    assert len(names) == len({one, other})


@given(text=st.text("abc-_/ äß日\u00a0", max_size=8))
def test_what_has_neither_is_named_as_ever(text: str) -> None:
    assert escaped(text) == text


def test_tables_begin_their_names_as_those_that_are_stored() -> None:
    """Others would make the counts of before unknown."""
    declared = {
        "hot": {"popularity": "item_id"},
        "hot_here": {"popularity": "item_id", "by": "country"},
        "next": {"follows": "item_id", "reach": 3},
        "near": {"follows": "item_id", "reach": 3, "both_ways": True},
        "age": {"first_seen": "item_id"},
    }

    tables = {name: compile_features({name: one}).crowd_tables for name, one in declared.items()}

    assert {name: [(prefix, of[prefix].key) for prefix in of] for name, of in tables.items()} == {
        "hot": [EVERYBODY],
        "hot_here": [EVERYBODY, ("603386:", "country/item_id:click+page_view:3600000:100000")],
        "next": [EVERYBODY, ("a6d855:", "follows:3/item_id:click+page_view:3600000:100000")],
        "near": [EVERYBODY, ("a780d5:", "follows:3:both_ways/item_id:click+page_view:3600000:100000")],
        "age": [("46dc3d:", "first_seen/item_id:click+page_view:100000")],
    }
