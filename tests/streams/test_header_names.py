"""Header names that are not UTF-8 are replaced before aiokafka reads them, and nothing else is."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka.errors import CorruptRecordException
from aiokafka.record.memory_records import MemoryRecords
from headers import BAD_NAME, COMPRESSED, MENDED_NAME, a_batch, with_records
from hypothesis import given, settings
from hypothesis import strategies as st

from streams.header_names import readable, replace_unreadable_names

SOME_BAD = {b"a": False, b"b": True, b"c" * 300: False, b"d": True}
ALL_GOOD = dict.fromkeys(SOME_BAD, False)


def read(records: bytes) -> list[tuple[Any, ...]]:
    """Read batches as aiokafka does."""
    found: list[tuple[Any, ...]] = []
    batches = MemoryRecords(records)
    while (batch := batches.next_batch()) is not None:
        assert batch.validate_crc()
        found += [(one.offset, one.timestamp, one.key, one.value, list(one.headers)) for one in batch]
    return found


def expected(values: dict[bytes, bool], first_offset: int) -> list[tuple[Any, ...]]:
    mended = [(MENDED_NAME, b"\xff"), (MENDED_NAME, None)]
    return [
        (first_offset + number, 1_000 + number, b"key", value, [("a", b"1"), *(mended if bad else [])])
        for number, (value, bad) in enumerate(values.items())
    ]


@pytest.mark.parametrize("codec_number", COMPRESSED)
def test_only_what_is_wrong_with_a_name_is_replaced(codec_number: int) -> None:
    records = a_batch(SOME_BAD, first_offset=7, codec_number=codec_number)
    with pytest.raises((UnicodeDecodeError, CorruptRecordException)):
        read(records)

    assert read(readable(records)) == expected(SOME_BAD, 7)
    assert readable(readable(records)) == readable(records)


@pytest.mark.parametrize("codec_number", COMPRESSED)
def test_records_without_key_and_value_and_with_falling_timestamps_are_mended_like_any_other(codec_number: int) -> None:
    values = {b"first": True, None: True, b"last": True}
    records = a_batch(values, codec_number=codec_number, step_ms=-300, key=None)
    with pytest.raises((UnicodeDecodeError, CorruptRecordException)):
        read(records)

    headers = [("a", b"1"), (MENDED_NAME, b"\xff"), (MENDED_NAME, None)]
    assert read(readable(records)) == [
        (number, 1_000 - 300 * number, None, value, headers) for number, value in enumerate(values)
    ]


@pytest.mark.parametrize("codec_number", COMPRESSED)
def test_what_can_be_read_is_left_as_it_is(codec_number: int) -> None:
    records = a_batch(ALL_GOOD, codec_number=codec_number)

    assert readable(records) is records
    assert readable(b"") == b""


def test_a_bad_batch_among_others_and_one_that_is_cut_off_hold_up_nothing() -> None:
    whole = a_batch(ALL_GOOD) + a_batch(SOME_BAD, first_offset=4) + a_batch(ALL_GOOD, first_offset=8)

    mended = readable(whole + whole[:100])

    assert read(mended) == expected(ALL_GOOD, 0) + expected(SOME_BAD, 4) + expected(ALL_GOOD, 8)
    assert mended.endswith(whole[:100])


def test_a_batch_whose_checksum_is_wrong_stays_wrong() -> None:
    damaged = a_batch(SOME_BAD)[:-1] + b"\x07"

    assert readable(damaged) == damaged


def test_a_value_that_looks_like_a_bad_name_is_kept() -> None:
    values = {BAD_NAME: True, BAD_NAME * 2: False}

    assert read(readable(a_batch(values))) == expected(values, 0)


@settings(max_examples=500)
@given(st.integers(61, 400), st.binary(min_size=1, max_size=3))
def test_whatever_stands_in_a_batch_raises_nothing(at: int, other: bytes) -> None:
    batch = a_batch(SOME_BAD)
    records = batch[:at] + other + batch[at + len(other) :]

    assert isinstance(readable(with_records(records, records[61:], 0, 0)), bytes)
    assert isinstance(readable(records), bytes)


async def test_what_a_fetcher_gets_is_mended_once_it_is_asked_for() -> None:
    records = a_batch(SOME_BAD)
    answers = {
        "fetch": SimpleNamespace(API_KEY=1, topics=[("t", [(0, 0, 99, -1, [], records), (1, 3, -1, -1, [], None)])]),
        "offsets": SimpleNamespace(API_KEY=2, topics=[("t", [(0, 0, [5])])]),
    }

    async def send(node_id: int, request: str) -> Any:
        return answers[request]

    fetcher = SimpleNamespace(_client=SimpleNamespace(send=send, cluster="the cluster"))

    assert replace_unreadable_names(fetcher)
    assert not replace_unreadable_names(fetcher)

    fetched, offsets = [await fetcher._client.send(0, request) for request in answers]
    assert fetched.topics == [("t", [(0, 0, 99, -1, [], readable(records)), (1, 3, -1, -1, [], None)])]
    assert offsets.topics == [("t", [(0, 0, [5])])]
    assert fetcher._client.cluster == "the cluster"


async def test_no_answer_is_handed_on_as_such_and_what_is_no_fetch_is_not_touched() -> None:
    bad = a_batch(SOME_BAD)
    other = SimpleNamespace(API_KEY=2, topics=[("t", [(0, bad)])])
    answers: list[Any] = [None, other]

    async def send(node_id: int, request: str) -> Any:
        return answers.pop(0)

    fetcher = SimpleNamespace(_client=SimpleNamespace(send=send))
    replace_unreadable_names(fetcher)

    assert await fetcher._client.send(0, "fetch without an answer") is None
    assert (await fetcher._client.send(0, "something else")).topics == [("t", [(0, bad)])]
