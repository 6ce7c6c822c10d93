"""What a source hands to a replay: arrivals in their final order, and where the source then stands."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from online_models.closed_loop import Arrival
from online_models.records import DecodedEvent


@dataclass
class Chunk:
    """Consecutive arrivals.

    Attributes
    ----------
    arrivals
        In the order in which they are processed.
    records
        Records taken, arrivals among them.
    dead
        Records that are no events, by reason.
    tombstones
        Records without a value.
    position
        Where the source stands behind this chunk; plain values, to go on from later.
    progress
        Share of the source that is behind this chunk, 0 to 1; None where it cannot be known.
    """

    arrivals: list[Arrival] = field(default_factory=list)
    records: int = 0
    dead: Counter[str] = field(default_factory=Counter)
    tombstones: int = 0
    position: Mapping[str, Any] = field(default_factory=dict)
    progress: float | None = None

    def by_partition(self) -> dict[int, list[DecodedEvent]]:
        """Return the arrivals of each partition, in order."""
        found: dict[int, list[DecodedEvent]] = {}
        for partition, offset, source_ts, event in self.arrivals:
            found.setdefault(partition, []).append((offset, source_ts, event))
        return found


class ReplaySource(Protocol):
    """A finite run of records, to be read once.

    Attributes
    ----------
    topic
        Name that is part of every score_id.
    bad_rows, n_bad_rows
        The first rows of files that became no event, (file, line, why), and how many there were.
    notes
        Sentences that whoever reads the figures must know: what could not be read at all.

    All three are complete when the last chunk has been taken.
    """

    topic: str

    @property
    def bad_rows(self) -> list[tuple[str, int, str]]: ...
    @property
    def n_bad_rows(self) -> int: ...
    @property
    def notes(self) -> list[str]: ...

    def chunks(self, records: int, *, position: Mapping[str, Any] | None = None) -> AsyncGenerator[Chunk]:
        """Yield the records in chunks of about so many, from a `Chunk.position` on."""

    async def close(self) -> None:
        """Let go of files and connections."""
