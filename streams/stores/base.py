"""The interface of a state store, and what can go wrong with one. Bytes in, bytes out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol


class PartitionId(NamedTuple):
    """A partition of a topic; printed as ``events-3``."""

    topic: str
    partition: int

    def __str__(self) -> str:
        return f"{self.topic}-{self.partition}"


class PartitionRecord(NamedTuple):
    """What a store holds of a partition beside its users.

    Attributes
    ----------
    next_offset
        The offset behind the last batch that was stored.
    meta
        The core's own bytes.
    timers
        User to the time (epoch ms) at which the user's earliest window closes.
    """

    next_offset: int
    meta: bytes
    timers: dict[str, int]


class Unavailable(RuntimeError):
    """A dependency is away; the same step may succeed later. Holds no secret."""


class StoreMisconfigured(RuntimeError):
    """The store refuses us, and will go on to: wrong credentials or missing permissions."""


class Fenced(RuntimeError):
    """Another writer has moved what we thought was ours; nothing was written. Drop what is held."""

    def __init__(self, what: str, *, expected: object, found: object) -> None:
        super().__init__(f"{what}: expected {expected}, found {found}")
        self.expected = expected
        self.found = found


class StateStore(Protocol):
    """Keeps the state of partitions, and the checkpoints of learners."""

    async def ping(self) -> None:
        """Raise Unavailable or StoreMisconfigured unless the store answers."""

    async def load_partition(self, partition: PartitionId) -> PartitionRecord | None:
        """Return what is held of a partition.

        None: nothing, and no user either. What a lost record has left behind is removed first, so that
        whoever rebuilds the partition does not meet users who know of events to come.
        """

    async def load_users(self, partition: PartitionId, user_ids: Sequence[str]) -> list[bytes | None]:
        """Return the states of users, in the order asked; None where nothing is held."""

    async def save(
        self,
        partition: PartitionId,
        *,
        expected_offset: int | None,
        next_offset: int,
        meta: bytes,
        users: Mapping[str, bytes | None],
        timers: Mapping[str, int | None],
    ) -> None:
        """Write a batch's effects in one atomic step, if the partition still stands at `expected_offset`.

        Repeating a save whose answer was lost is safe: the same content from the same store object is
        recognized until its outcome is known.

        Parameters
        ----------
        expected_offset
            The next offset that the store must hold; None: nothing.
        users, timers
            What has changed; None removes. Not to be mutated before the save is done.

        Raises
        ------
        Fenced
            The partition stands elsewhere; nothing was written.
        Unavailable
            Whether it was written is not known; repeat it.
        """

    async def load_blob(self, name: str) -> tuple[bytes, str] | None:
        """Return (bytes, token) of a checkpoint, None if there is none."""

    async def save_blob(self, name: str, blob: bytes, *, expected_token: str | None) -> str:
        """Replace a checkpoint if its token is still the expected one; return the new token.

        `expected_token` None: there is none. Raises Fenced; repeating it after Unavailable is safe.
        """

    async def drop_partition(self, partition: PartitionId) -> int:
        """Forget a partition that nobody works on; return how many users went.

        If it raises Unavailable, repeat it; left alone, the next `load_partition` completes it.
        """

    async def close(self) -> None:
        """Let go of the connections."""
