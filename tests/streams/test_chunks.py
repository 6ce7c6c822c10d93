"""Chunks that go together: acknowledged together, and not across a rewind."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from faust.types import TP

from streams.offsets import OffsetLedger
from streams.transport.chunk import RecordChunk

PLACE = TP("events", 0)


def chunk(ledger: OffsetLedger, first: int, count: int, room: list[TP] | None = None) -> RecordChunk:
    records: list[Any] = [SimpleNamespace(offset=first + number) for number in range(count)]
    delivery = ledger.deliver(first, first + count, records=count)
    return RecordChunk(PLACE, records, delivery, ledger, (room if room is not None else []).append)


def test_a_joined_chunk_holds_the_records_of_all_and_acknowledges_all() -> None:
    room: list[TP] = []
    ledger = OffsetLedger(max_open=3)
    ledger.open(10)
    first, second, third = (chunk(ledger, at, 2, room) for at in (10, 12, 14))

    assert first.join(second, most_records=6)
    assert first.join(third, most_records=6)
    before = ledger.committable()

    assert first.acknowledge()
    assert [one.offset for one in first.records] == list(range(10, 16))
    assert first.next_offset == ledger.committable() == 16
    assert before == 10
    assert room


def test_no_more_records_go_together_than_are_allowed() -> None:
    ledger = OffsetLedger()
    ledger.open(0)
    first, second = chunk(ledger, 0, 3), chunk(ledger, 3, 3)

    assert not first.join(second, most_records=5)

    assert len(first) == 3
    assert first.acknowledge()
    assert ledger.committable() == 3


def test_what_was_rewound_in_between_is_not_joined() -> None:
    ledger = OffsetLedger()
    ledger.open(0)
    before = chunk(ledger, 0, 3)
    ledger.close()
    ledger.open(0)

    assert not before.join(chunk(ledger, 0, 3), most_records=100)
    assert not before.acknowledge()
