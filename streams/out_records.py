"""Records on their way out, and what became of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from aiokafka.errors import MessageSizeTooLargeError
from msgspec import Struct

# A topic may be made to take more. A request above the broker's socket.request.max.bytes (100 MiB) would not be
# answered but cut off, like a broker that is away, and be repeated for ever.
_RECORD_BYTES = 64 << 20

Place = tuple[str, int]


class OutRecord(Struct, frozen=True, gc=False):
    """A record on its way out.

    Attributes
    ----------
    timestamp_ms
        Epoch milliseconds; None: the time at which it is sent.
    """

    key: bytes | None
    value: bytes | None
    headers: list[tuple[str, bytes]] = []
    timestamp_ms: int | None = None


class RecordTooLarge(MessageSizeTooLargeError):  # type: ignore[misc]  # aiokafka is untyped
    """A record that its topic does not take; sending it again would not help."""


def check_size(record: OutRecord, topic: str) -> None:
    """Raise RecordTooLarge where a broker would not even answer."""
    size = len(record.value or b"") + len(record.key or b"")
    if size > _RECORD_BYTES:
        raise RecordTooLarge(f"Expected at most {_RECORD_BYTES} bytes, got {size}, for {topic}")


class Written(NamedTuple):
    """The first ``records`` of what was to go to a place are there; ``end`` is the offset behind the last of them."""

    end: int
    records: int


Batches = Mapping[Place, Sequence[OutRecord]]
Outcomes = dict[Place, Written | Exception]
