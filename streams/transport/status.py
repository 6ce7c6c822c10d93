"""How a partition stands."""

from __future__ import annotations

import msgspec


class PartitionStatus(msgspec.Struct, frozen=True, kw_only=True):
    """A partition's offsets. None means not known yet: not positioned, or no fetch answered.

    Attributes
    ----------
    position
        What is handed out: every record below it.
    acknowledged
        Every record below it is acknowledged.
    committed
        What the broker holds for the group, or where this assignment began while nothing is committed. Below what
        `Transport.commit_from` names: how far commits would be.
    end
        End of the log as of `fetched_at_ms` (epoch ms), or as it was asked for since: the high watermark, or with
        ``read_committed`` the last stable offset.
    open_chunks, open_records
        Handed out and not acknowledged.
    unstable_records
        Offsets behind `end` that exist and cannot be read with ``read_committed`` until a transaction is over; they
        are no lag.
    """

    epoch: int
    position: int | None
    acknowledged: int | None
    committed: int | None
    end: int | None
    fetched_at_ms: int | None
    open_chunks: int
    open_records: int
    unstable_records: int = 0

    @property
    def lag_records(self) -> int | None:
        """Records in the log that are not acknowledged; offsets without records count as well."""
        if self.end is None or self.acknowledged is None:
            return None
        return max(0, self.end - self.acknowledged)
