"""From records to events: the first step of every shell.

A record is anything with an offset, a timestamp, a key and a value, such as aiokafka's.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from schemas.codec import MAX_EVENT_BYTES, BadRecord, decode_event
from schemas.dead_letters import DeadLetter, dead_letter, locator
from schemas.events import SystemEvent, VisitorEvent


class Record(Protocol):
    """One record of a partition."""

    @property
    def offset(self) -> int: ...
    @property
    def timestamp(self) -> int: ...
    @property
    def key(self) -> bytes | None: ...
    @property
    def value(self) -> bytes | None: ...


# A valid event behind the offset and the Kafka timestamp (epoch ms) of its record. A plain tuple: making a
# named one costs as much as decoding half of the event.
DecodedEvent = tuple[int, int, VisitorEvent | SystemEvent]


class DecodedBatch(NamedTuple):
    """A chunk of one partition, decoded: ``records == len(events) + len(dead_letters) + tombstones``."""

    first_offset: int
    next_offset: int
    records: int
    events: list[DecodedEvent]
    dead_letters: list[DeadLetter]
    tombstones: int


def decode_batch(
    records: Sequence[Record], *, topic: str, partition: int, max_bytes: int = MAX_EVENT_BYTES
) -> DecodedBatch:
    """Decode a non-empty chunk of one partition; what is wrong becomes a dead letter.

    Records without a value (tombstones) hold no event and nothing worth keeping; they are counted
    and passed over.
    """
    events: list[DecodedEvent] = []
    dead_letters: list[DeadLetter] = []
    tombstones = 0
    for record in records:
        value = record.value
        if value is None:
            tombstones += 1
            continue
        try:
            event = decode_event(value, record_ts_ms=record.timestamp, max_bytes=max_bytes)
        except BadRecord as bad:
            dead_letters.append(
                dead_letter(
                    key=record.key,
                    value=value,
                    reason=bad.reason,
                    detail=bad.detail,
                    source=locator(topic, partition, record.offset),
                    source_ts_ms=record.timestamp,
                )
            )
        else:
            events.append((record.offset, record.timestamp, event))
    return DecodedBatch(records[0].offset, records[-1].offset + 1, len(records), events, dead_letters, tombstones)
