"""Counts what went through a replay."""

from __future__ import annotations

from streams.replay.chunks import Chunk


class Tally:
    """Where the records of a replay went: ``records == scored + dead + ignored``."""

    def __init__(self) -> None:
        self.records = 0
        self.records_before = 0  # before this process took the replay up
        self.scores = 0
        self.examples = 0
        self.dead: dict[str, int] = {}
        self.tombstones = 0
        self.from_ms = 0
        self.to_ms = 0
        self.seconds = 0.0

    def add(self, chunk: Chunk) -> None:
        """Count a chunk's records."""
        self.records += chunk.records
        self.tombstones += chunk.tombstones
        for reason, count in chunk.dead.items():
            self.dead[reason] = self.dead.get(reason, 0) + count
        if chunk.arrivals:
            times = [arrival[3].ts for arrival in chunk.arrivals]
            self.from_ms = min(self.from_ms or min(times), min(times))  # type: ignore[assignment]
            self.to_ms = max(self.to_ms, max(times))  # type: ignore[assignment]
