"""A topic as a source: all partitions, merged into one order, nothing of the live group touched.

A partition is read a little ahead of the others and then paused, so memory is bounded however long
the topic is.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from typing import Any

from aiokafka.structs import ConsumerRecord

from schemas.codec import BadRecord, decode_event
from schemas.events import SystemEvent, VisitorEvent
from streams.replay.chunks import Chunk
from streams.replay.merge import Merge
from streams.replay.range_reader import RangeReader, open_range
from streams.replay.spec import TopicRange
from streams.sections import KafkaSettings

# Records of a partition that may wait for the others: some 10 MB of events.
_READ_AHEAD = 10_000

_TOMBSTONE = "tombstone"
# From partition, offset and stream time to what is compared.
Order = Callable[[int, int, int], Any]
# An arrival, or what a record that is no event was instead.
_Item = tuple[int, int, int, Any]


def by_time(partition: int, offset: int, stream_time_ms: int) -> tuple[int, int, int]:
    """Order by event time; ties by place."""
    return stream_time_ms, partition, offset


class TopicSource:
    """Reads a range of a topic.

    Parameters
    ----------
    max_event_bytes
        Larger records are dead letters.
    limit
        Only the first so many records.
    order
        By what records are merged; must never fall within a partition.
    """

    def __init__(
        self,
        wanted: TopicRange,
        kafka: KafkaSettings,
        *,
        max_event_bytes: int,
        limit: int | None = None,
        order: Order = by_time,
    ) -> None:
        self.topic = wanted.topic
        self.bad_rows: list[tuple[str, int, str]] = []  # what is no event in a topic is a dead letter
        self.n_bad_rows = 0
        self.notes: list[str] = []
        self._wanted = wanted
        self._kafka = kafka
        self._max_event_bytes = max_event_bytes
        self._limit = limit
        self._order = order
        self._stack = AsyncExitStack()
        self._stream_time: dict[int, int] = {}
        self._reached: dict[int, tuple[int, int]] = {}  # behind what was handed out, and the stream time there

    async def chunks(self, records: int, *, position: Mapping[str, Any] | None = None) -> AsyncGenerator[Chunk]:
        """Yield chunks in the merged order.

        Raises
        ------
        TopicMissing, SpecError, Unavailable
        """
        done = position["records"] if position else 0
        if position:
            self._reached = {int(number): (at, time) for number, (at, time) in position["partitions"].items()}
            self._stream_time = {number: stream_time for number, (_, stream_time) in self._reached.items()}
        starting = {number: offset for number, (offset, _) in self._reached.items()}
        source = await self._stack.enter_async_context(open_range(self._wanted, self._kafka, starting=starting))
        total = max(1, done + sum(max(0, end - source.starts[one]) for one, end in source.ends.items()))
        if self._limit is not None:
            total = min(total, self._limit)
        merge: Merge[_Item] = Merge(sorted(source.ends))
        while True:
            most = records if self._limit is None else min(records, self._limit - done)
            items = await self._next_items(merge, source, most)
            if not items:
                return
            done += len(items)
            chunk = self._chunk(items)
            chunk.position = {"records": done, "partitions": {str(one): list(at) for one, at in self._reached.items()}}
            chunk.progress = min(1.0, done / total)
            yield chunk
            await asyncio.sleep(0)

    async def close(self) -> None:
        """Disconnect."""
        await self._stack.aclose()

    async def _next_items(self, merge: Merge[_Item], source: RangeReader, most: int) -> list[_Item]:
        items = list(merge.ready(most))
        while len(items) < most and not merge.ended:
            full = [one for one in source.ends if merge.waiting(one) >= _READ_AHEAD]
            for number, records in (await source.read(full)).items():
                self._take(number, records, merge)
            for number in merge.hungry:
                if source.ended(number):
                    merge.end(number)
            items += merge.ready(most - len(items))
        return items

    def _take(self, number: int, records: Sequence[ConsumerRecord], merge: Merge[_Item]) -> None:
        stream_time = self._stream_time.get(number, 0)
        items = []
        for record in records:
            event = self._decoded(record)
            if not isinstance(event, str) and event.ts > stream_time:  # type: ignore[operator]  # decoded: int
                stream_time = event.ts  # type: ignore[assignment]
            key = self._order(number, record.offset, stream_time)
            items.append((key, (number, record.offset, record.timestamp, event)))
        self._stream_time[number] = stream_time
        merge.put(number, items)

    def _decoded(self, record: ConsumerRecord) -> VisitorEvent | SystemEvent | str:
        """Return the event, or why there is none."""
        if record.value is None:
            return _TOMBSTONE
        try:
            return decode_event(record.value, record_ts_ms=record.timestamp, max_bytes=self._max_event_bytes)
        except BadRecord as bad:
            return bad.reason

    def _chunk(self, items: Sequence[_Item]) -> Chunk:
        chunk = Chunk(records=len(items))
        reached = self._reached
        for item in items:
            number, offset, _, event = item
            _, stream_time = reached.get(number, (0, 0))
            if isinstance(event, str):
                if event == _TOMBSTONE:
                    chunk.tombstones += 1
                else:
                    chunk.dead[event] += 1
            else:
                chunk.arrivals.append(item)
                stream_time = max(stream_time, event.ts)
            reached[number] = (offset + 1, stream_time)
        return chunk
