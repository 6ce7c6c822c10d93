"""What real streams bring besides clean events: repeats, late arrivals and poison."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator
from itertools import count
from random import Random

import msgspec

from schemas.events import EventBase
from streams.sources import RawRecord

# One of each kind of record that must end in the dead letters and stop nothing.
POISON: tuple[bytes, ...] = (
    b"not json",
    b'{"type": "page_view"',
    b"\xff\xfe\x00\x01",
    b"[]",
    b'{"type": "page_view", "event_id": "p1", "user_id": "u"}',
    b'{"type": "page_view", "event_id": "p2", "user_id": "u", "ts": "yesterday"}',
    b'{"type": "page_view", "event_id": "p3", "user_id": "u", "ts": 12}',
    b'{"type": "page_view", "event_id": "p4", "user_id": "u", "ts": 4102444800000}',
    b'{"type": "page_view", "event_id": "p5", "user_id": "u", "ts": 1736121600000, "price": NaN}',
    b'{"type": "page_view", "event_id": "p6", "user_id": "u", "ts": 1736121600000, "price": 1e999}',
    b'{"type": "purchase", "event_id": "p7", "user_id": "u", "ts": 1736121600000, "value": "12.50"}',
    b'{"type": "no_such_type", "event_id": "p8", "user_id": "u", "ts": 1736121600000}',
    b'{"type": "impression", "event_id": "p9", "user_id": "u", "ts": 1736121600000}',
    b"[" * 20_000,
    b'{"type": "search", "event_id": "p10", "user_id": "u", "ts": 1736121600000, "query": "' + b"x" * 200_000 + b'"}',
    b'{"type": "search", "event_id": "p11", "user_id": "u", "ts": 1736121600000, "query": "caf\xe9"}',
)


def disturbed(
    events: Iterable[EventBase],
    *,
    seed: int = 1,
    duplicates: float = 0.0,
    late: float = 0.0,
    poison: float = 0.0,
    late_by_ms: int = 60_000,
) -> Iterator[EventBase | RawRecord]:
    """Yield `events` with troubles mixed in; the same seed mixes in the same.

    Parameters
    ----------
    duplicates
        Share of events that come a second time at once, with the same id.
    late
        Share of events that arrive up to `late_by_ms` (by the stream's own time) after their time.
    poison
        Share of records, put between the events, that are no event: `POISON` in turn.

    Raises
    ------
    ValueError
        A share outside [0, 1).
    """
    for name, share in (("duplicates", duplicates), ("late", late), ("poison", poison)):
        if not 0 <= share < 1:
            raise ValueError(f"Expected `{name}` in [0, 1)")
    return _disturbed(events, Random(f"{seed}:trouble"), duplicates, late, poison, late_by_ms)


def _disturbed(
    events: Iterable[EventBase], rng: Random, duplicates: float, late: float, poison: float, late_by_ms: int
) -> Iterator[EventBase | RawRecord]:
    held: list[tuple[int, int, EventBase]] = []
    number = count()
    bad = 0
    for event in events:
        assert isinstance(event.ts, int)
        while held and held[0][0] <= event.ts:
            yield heapq.heappop(held)[2]
        if rng.random() < poison:
            yield RawRecord(event.user_id.encode(), POISON[bad % len(POISON)])
            bad += 1
        if rng.random() < late:
            heapq.heappush(held, (event.ts + 1 + int(rng.random() * late_by_ms), next(number), event))
            continue
        yield event
        if rng.random() < duplicates:
            yield msgspec.structs.replace(event)
    while held:
        yield heapq.heappop(held)[2]
