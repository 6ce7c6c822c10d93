"""Packed accumulators: what is read is what was written, bit for bit, and what is damaged is refused."""

from __future__ import annotations

import contextlib
import struct
from enum import IntEnum
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from schemas.resting import pack, unpack

NOW_MS = 1_767_225_600_000

floats = st.one_of(
    st.floats(allow_nan=False, allow_infinity=False),
    st.floats(50, 2000),  # heights
    st.integers(0, 10**6).map(lambda cents: cents / 100),
    st.integers(-(10**6), 10**6).map(float),
)
ints = st.one_of(
    st.integers(-(2**63), 2**64 - 1), st.integers(0, 70_000), st.integers(NOW_MS - 10**10, NOW_MS + 10**10)
)
texts = st.one_of(st.text(max_size=40), st.sampled_from(["shoes", "item-1", "item-2", "x" * 300]))
leaves = st.one_of(st.none(), st.booleans(), ints, floats, texts, st.binary(max_size=300))
values = st.recursive(
    leaves,
    lambda inner: st.one_of(
        st.lists(inner, max_size=20),
        st.lists(st.integers(0, 65_535), max_size=40),
        st.dictionaries(texts, inner, max_size=20),
    ),
    max_leaves=60,
)


def bits(value: Any) -> Any:
    """Return what tells values apart that are equal: 1, 1.0 and True, 0.0 and -0.0; and the order of dicts."""
    if isinstance(value, float):
        return struct.pack(">d", value)
    if isinstance(value, list):
        return [bits(one) for one in value]
    if isinstance(value, dict):
        return [(key, bits(one)) for key, one in value.items()]
    return type(value), value


@given(values, st.integers(0, 2**48))
@example([-0.0, 0.0, 0.29, 0.1 + 0.2, 5e-324, 1e300, float(2**31), 2**31 - 0.01], NOW_MS)
@example([5e-324, 1e-308, 5e-324], NOW_MS)
@example([2**64 - 1, -(2**63), -1, 127, 128, 65_535, 65_536, 2**24, 2**32], NOW_MS)
@example([NOW_MS, NOW_MS + 1, NOW_MS - 2**48, 0], NOW_MS)
@example([[300, 300, 300, True], [300, 1, 1, 1], [300, 300, 1, 1]], NOW_MS)
@example({"a": 268.5, "b": 268.25, "c": 3e5, "d": 3.1e5, "e": {"a": "b", "b": "a"}}, NOW_MS)
def test_what_is_read_is_what_was_written(value: Any, base_ms: int) -> None:
    assert bits(unpack(pack(value, base_ms), base_ms)) == bits(value)


@given(values)
def test_a_prefix_is_refused(value: Any) -> None:
    packed = pack(value, NOW_MS)

    for size in range(len(packed)):
        with pytest.raises(ValueError, match=r"cut off or damaged|Expected packed accumulators"):
            unpack(packed[:size], NOW_MS)


@given(st.binary(max_size=60))
def test_any_bytes_are_read_or_refused(noise: bytes) -> None:
    with contextlib.suppress(ValueError):
        unpack(b"\x01" + noise, NOW_MS)


def test_what_follows_is_refused() -> None:
    with pytest.raises(ValueError, match="Bytes follow"):
        unpack(pack([1], NOW_MS) + b"\x00", NOW_MS)


def test_another_type_is_a_fault_of_ours() -> None:
    with pytest.raises(TypeError, match="got set"):
        pack([{1, 2}], NOW_MS)


def test_types_that_are_derived_from_ours_are_packed_like_them() -> None:
    value = [(1, 2), np.float64(0.5), IntEnum("Kind", ["A"])(1)]

    assert unpack(pack(value, NOW_MS), NOW_MS) == [[1, 2], 0.5, 1]


def test_accumulators_take_three_quarters_of_msgpack() -> None:
    heights = {f"category-{number}": 268.0 + number / 7 for number in range(8)}
    slots = [NOW_MS, [NOW_MS, 213_000, 41, 1, None, 2_887_445_240, 0], [271.3, heights], 66.12, {"item-1": [1, 47.42]}]

    assert len(pack(slots, NOW_MS)) < 0.8 * len(msgspec.msgpack.encode(slots))
