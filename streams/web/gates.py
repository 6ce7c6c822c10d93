"""Which partitions of the log take bids.

A bid whose write failed may be in the log after all, so what was set aside for it stays so. While Kafka is away that
would use up every budget with bids that nobody makes. So after a failed write a partition is shut, and nothing is set
aside for it until a record that costs nothing has been written there: a tick that moves no time. One request at a time
tries that; the others are turned away.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from schemas.codec import MIN_TS_MS, encode_json
from schemas.events import Tick
from streams.out_records import OutRecord
from streams.stores import Unavailable


class Gates:
    """The partitions that bids are not written to at the moment; the others are open.

    Parameters
    ----------
    write
        Writes a record to a partition of the log; raises Unavailable.
    """

    def __init__(self, write: Callable[[int, OutRecord], Awaitable[object]]) -> None:
        self._write = write
        self._shut: set[int] = set()
        self._tried: set[int] = set()

    def shut(self, partition: int) -> None:
        """Turn requests away from now on: a write failed."""
        self._shut.add(partition)

    async def enter(self, partition: int) -> None:
        """Go on where the partition is open, or takes a record again; raises Unavailable otherwise."""
        if partition not in self._shut:
            return
        if partition in self._tried:
            raise Unavailable("the log did not take the last bid, and is being tried")
        self._tried.add(partition)
        try:
            await self._write(partition, OutRecord(None, encode_json(Tick(ts=MIN_TS_MS))))
            self._shut.discard(partition)
        finally:
            self._tried.discard(partition)
