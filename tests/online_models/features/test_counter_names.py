"""Names of crowd counters: groups and members stay apart, whatever ids hold."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from online_models.features.counter_names import SEPARATOR, escaped, total_name, unescaped

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
