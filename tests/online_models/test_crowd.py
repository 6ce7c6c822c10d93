"""Crowd counts as a thing that is learned: bounded, kept, and the same wherever they are added up again."""

from __future__ import annotations

from math import nan

import pytest
from hypothesis import given
from hypothesis import strategies as st

from online_models.crowd import GONE, CrowdCounts
from online_models.features.plan import CrowdTable
from schemas.codec import BadRecord


def a_table(key: str = "views", most: int = 1_000, **rest: str) -> CrowdTable:
    return CrowdTable(key, lambda prefix: lambda slots, event, ts, told: None, frozenset(), most, **rest)  # type: ignore[arg-type]


def counts_of(*tables: CrowdTable) -> CrowdCounts:
    return CrowdCounts({table.prefix: table for table in tables})


def test_sums_add_up_and_the_others_keep_one() -> None:
    added, lowest, highest = a_table("s"), a_table("l", keeps="lowest"), a_table("h", keeps="highest")
    counts = counts_of(added, lowest, highest)

    for height in (5.0, 3.0, 5.0):
        counts.learn_one({table.prefix + "a": height for table in (added, lowest, highest)}, True)

    found = [counts.weights[table.prefix + "a"] for table in (added, lowest, highest)]
    assert found == [pytest.approx(6.1699250014), 3.0, 5.0]


def test_what_another_configuration_tells_is_passed_over() -> None:
    known, unknown = a_table(), a_table("unknown")
    counts = counts_of(known)

    counts.learn_one({unknown.prefix + "a": 1.0, known.prefix + "a": 1.0}, True)

    assert list(counts.weights) == [known.prefix + "a"]


def test_counters_are_counted_however_many_and_high_but_nothing_that_is_no_number() -> None:
    table = a_table(most=10_000)
    many = {f"{table.prefix}{item}": 3e6 for item in range(5_000)}

    assert counts_of(table).refusal(many) is None
    assert counts_of(table).refusal(many | {table.prefix: nan}) == "not_finite"
    assert counts_of(table).refusal(many | {table.prefix: -1e16}) == "out_of_range"


@given(st.lists(st.tuples(st.integers(0, 30), st.floats(1.0, 40.0)), max_size=200), st.integers(2, 12))
def test_a_table_never_outgrows_its_bound_and_changes_tell_all(told: list[tuple[int, float]], most: int) -> None:
    table, other = a_table(most=most), a_table("other")
    counts = counts_of(table, other)
    counts.learn_one({other.prefix + "a": 1.0}, True)
    followed = dict(counts.weights)
    counts.take_changed()
    for number, (item, height) in enumerate(told):
        counts.learn_one({f"{table.prefix}{item}": height}, True)
        assert sum(name.startswith(table.prefix) for name in counts.weights) <= most
        if number % 3 == 0:
            followed.update(counts.weights_of(counts.take_changed()))
    followed.update(counts.weights_of(counts.take_changed()))

    assert {name: height for name, height in followed.items() if height != GONE} == counts.weights
    assert counts.weights[other.prefix + "a"] == 1.0


def test_the_least_is_forgotten_whenever_it_was_seen() -> None:
    table = a_table(most=3)
    counts = counts_of(table)

    for item, height in (("a", 9.0), ("b", 1.0), ("c", 5.0), ("d", 2.0)):
        counts.learn_one({table.prefix + item: height}, True)

    assert [name[-1] for name in counts.weights] == ["a", "c", "d"]


@given(st.lists(st.tuples(st.integers(0, 20), st.floats(1.0, 40.0)), max_size=60), st.integers(0, 60))
def test_a_restored_learner_goes_on_bit_for_bit(told: list[tuple[int, float]], cut: int) -> None:
    table = a_table(most=7)
    straight, before, after = (counts_of(table) for _ in range(3))
    for number, (item, height) in enumerate(told):
        x = {f"{table.prefix}{item}": height}
        straight.learn_one(x, True)
        (before if number < cut else after).learn_one(x, True)
        if number == cut - 1:
            after.restore(before.to_bytes())

    if len(told) >= cut > 0:
        assert after.weights == straight.weights
        assert after.to_bytes() == straight.to_bytes()


def test_counts_of_a_table_that_is_no_longer_declared_are_dropped() -> None:
    old, kept = a_table("old"), a_table("kept")
    before = counts_of(old, kept)
    before.learn_one({old.prefix + "a": 1.0, kept.prefix + "a": 2.0}, True)

    after = counts_of(kept)
    after.restore(before.to_bytes())

    assert after.weights == {kept.prefix + "a": 2.0}


@pytest.mark.parametrize(
    "blob", [b"", b"\xc1", b"\x92\x02\x80", b"\x92\x01\x81\xa1a\xa1b", b"\x92\x01\x81\xa1\xff\x01"]
)
def test_what_is_no_checkpoint_is_refused(blob: bytes) -> None:
    with pytest.raises(BadRecord, match="crowd counts"):
        counts_of(a_table()).restore(blob)
