"""What an agent gets: a run of records of one partition, undecoded."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import faust
from aiokafka import ConsumerRecord
from faust.types import TP, AppT, EventT, Message

from streams.offsets import Delivery, OffsetLedger


class RecordChunk:
    """Consecutive records of one partition, to be processed in order and acknowledged as one.

    Attributes
    ----------
    records
        aiokafka's records as they came; never empty. The receiver owns the list.
    first_offset
        Offset of the first record. May lie behind the previous chunk's `next_offset`: logs have holes.
    next_offset
        Where reading goes on behind this chunk: store it with the state, and name it in ``start_offsets``.
    epoch
        Counts the partition's revocations and rewinds. The same offsets come again under a higher one.
    """

    __slots__ = (
        "_delivery",
        "_joined",
        "_ledger",
        "_on_room",
        "first_offset",
        "next_offset",
        "partition",
        "records",
        "topic",
    )

    def __init__(
        self,
        tp: TP,
        records: list[ConsumerRecord[bytes | None, bytes | None]],
        delivery: Delivery,
        ledger: OffsetLedger,
        on_room: Callable[[TP], None],
    ) -> None:
        self.topic, self.partition = tp
        self.records = records
        self.first_offset = delivery.first_offset
        self.next_offset = delivery.next_offset
        self._delivery = delivery
        self._joined: list[RecordChunk] = []
        self._ledger = ledger
        self._on_room = on_room

    @property
    def tp(self) -> TP:
        return TP(self.topic, self.partition)

    @property
    def epoch(self) -> int:
        return self._delivery.epoch

    @property
    def is_current(self) -> bool:
        """Whether an acknowledgement would count: the partition was neither revoked nor rewound since."""
        return self._ledger.is_current(self._delivery)

    def join(self, later: RecordChunk, *, most_records: int) -> bool:
        """Take in the chunk that came next, to be acknowledged with this one; False if that would be too many records.

        Nor are chunks of different epochs joined: in between the partition was revoked or rewound.
        """
        if later.epoch != self.epoch or len(self.records) + len(later.records) > most_records:
            return False
        self.records += later.records
        self.next_offset = later.next_offset
        self._joined.append(later)
        return True

    def acknowledge(self) -> bool:
        """Say that this chunk's effects are safe, so that its offsets may be committed.

        Call it in the worker's event loop, once the state is saved; several chunks may be acknowledged in any order.

        Returns
        -------
        bool
            False when the partition was revoked or rewound in the meantime. Then the chunk does not count, its
            records are or will be delivered again (maybe elsewhere), and what is held for the partition is stale.
        """
        was_full = not self._ledger.has_room
        accepted = self._ledger.acknowledge(self._delivery)
        if was_full and self._ledger.has_room:
            self._on_room(self.tp)
        for later in self._joined:
            accepted = later.acknowledge() and accepted
        return accepted

    def __len__(self) -> int:
        return len(self.records)

    def __repr__(self) -> str:
        return f"<RecordChunk {self.topic}-{self.partition} [{self.first_offset}, {self.next_offset})>"


class RecordSchema(faust.Schema[Any, Any]):
    """Hands a chunk through as it is: no key, nothing decoded."""

    def compile(self, app: AppT, **_: Any) -> Callable[..., Awaitable[EventT[Any]]]:
        create_event = app.create_event

        async def decode(message: Message, *, propagate: bool = False) -> EventT[Any]:
            return create_event(None, message.value, None, message)

        return decode


def record_schema() -> RecordSchema:
    """Return a schema for a topic that is read in chunks: ``app.topic("events", schema=record_schema())``."""
    return RecordSchema()
