"""Files as a source: rows become events, and events take the places that `streamscore feed` would give them.

A visitor's events go to the partition that Kafka's default partitioner names, offsets count from 0, and
the record's timestamp is the event's. So a file that is replayed has the same score_ids as the same file
fed to an empty topic. The order is that of the rows.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

from online_models.closed_loop import Arrival
from schemas.codec import MAX_AHEAD_MS, MAX_TS_MS
from schemas.dead_letters import TIME_AHEAD
from schemas.events import EventBase
from streams.mapping import Mapping as RowMapping
from streams.partitioning import partition_of
from streams.replay.chunks import Chunk
from streams.replay.spec import FileInput
from streams.replay.time_order import TimeOrder
from streams.sources import Problems, Source, open_source

_REMEMBERED_USERS = 500_000  # as in `streams.feed`


class FilesSource:
    """Reads files one after the other.

    Parameters
    ----------
    topic, partitions
        Where the events would stand if they had been fed.
    limit
        Only the first so many events.
    now_ms
        Wall clock, epoch ms; an event further ahead of it than a worker allows is a dead letter. None: no limit.
    """

    def __init__(
        self,
        files: Sequence[FileInput],
        mapping: RowMapping,
        *,
        topic: str,
        partitions: int,
        limit: int | None = None,
        now_ms: int | None = None,
    ) -> None:
        self.topic = topic
        self._problems: list[tuple[str, Problems]] = []
        self._files = files
        self._mapping = mapping
        self._partitions = partitions
        self._limit = limit
        self._not_after_ms = MAX_TS_MS if now_ms is None else now_ms + MAX_AHEAD_MS
        self._ahead = 0
        self._order = TimeOrder()
        self._source: Source | None = None
        self._sizes = [one.path.stat().st_size if one.path.is_file() else None for one in files]
        self._read_before = 0
        self._place_of: dict[str, int] = {}
        self._next_offsets = [0] * partitions

    @property
    def bad_rows(self) -> list[tuple[str, int, str]]:
        return [(name, problem.line, problem.message) for name, one in self._problems for problem in one.first]

    @property
    def n_bad_rows(self) -> int:
        return sum(one.count for _, one in self._problems)

    @property
    def notes(self) -> list[str]:
        found = [
            f"{name} is cut off or damaged from line {one.ends.line:,} on; nothing behind it was read"
            for name, one in self._problems
            if one.ends
        ]
        if self._ahead:
            found.append(f"{self._ahead:,} dead letters (time_ahead): events of the future, which no worker would take")
        return [*found, *self._order.notes()]

    async def chunks(self, records: int, *, position: Mapping[str, Any] | None = None) -> AsyncGenerator[Chunk]:
        """Yield chunks; to go on from a position, the rows before it are read and passed over."""
        done = 0
        events = self._events()
        if position is not None:
            done = position["events"]
            self._next_offsets = list(position["next_offsets"])
            self._not_after_ms, self._ahead = position["not_after_ms"], position["ahead"]
            self._order = TimeOrder(*position["order"])
            next(islice(events, done, done), None)
        while True:
            most = records if self._limit is None else min(records, self._limit - done)
            taken = list(islice(events, most))
            if not taken:
                return
            done += len(taken)
            chunk = Chunk(records=len(taken))
            for event in taken:
                self._place(event, chunk)
            self._order.see([arrival[3].ts for arrival in chunk.arrivals])  # type: ignore[misc]  # decoded: int
            chunk.position = {
                "events": done,
                "next_offsets": list(self._next_offsets),
                "not_after_ms": self._not_after_ms,
                "ahead": self._ahead,
                "order": self._order.state(),
            }
            chunk.progress = self._progress(done)
            yield chunk
            await asyncio.sleep(0)

    def _events(self) -> Iterator[EventBase]:
        lines = 0
        for file in self._files:
            problems = Problems()
            self._problems.append((str(file), problems))
            with open_source(file.path, columns=self._mapping.columns, problems=problems) as self._source:
                yield from self._mapping.events(self._source, lines_before=lines)
                lines += self._source.line
                self._read_before += self._source.bytes_read

    def _place(self, event: EventBase, chunk: Chunk) -> None:
        user_id = event.user_id
        partition = self._place_of.get(user_id)
        if partition is None:
            if len(self._place_of) >= _REMEMBERED_USERS:
                self._place_of.clear()
            partition = self._place_of[user_id] = partition_of(user_id.encode(), self._partitions)
        offset = self._next_offsets[partition]
        self._next_offsets[partition] = offset + 1
        if event.ts > self._not_after_ms:  # type: ignore[operator]  # a mapping's: int
            self._ahead += 1
            chunk.dead[TIME_AHEAD] += 1
            return
        # A mapping's events are checked as the decoder checks them, and their time is in epoch ms.
        arrival: Arrival = partition, offset, event.ts, event  # type: ignore[assignment]
        chunk.arrivals.append(arrival)

    def _progress(self, done: int) -> float | None:
        shares = [done / self._limit] if self._limit else []
        if None not in self._sizes and self._source is not None:
            read = self._read_before + self._source.bytes_read
            shares.append(read / max(1, sum(size or 0 for size in self._sizes)))
        return min(1.0, max(shares)) if shares else None

    async def close(self) -> None:
        """Close the file at hand."""
        if self._source is not None:
            self._source.close()
