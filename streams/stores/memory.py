"""A state store in memory, for replay and tests; it keeps the same promises as Redis."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeVar

from streams.stores.base import Fenced, PartitionId, PartitionRecord

V = TypeVar("V")


class DictStateStore:
    """Keeps everything in dictionaries."""

    def __init__(self) -> None:
        self._partitions: dict[PartitionId, PartitionRecord] = {}
        self._users: dict[PartitionId, dict[str, bytes]] = {}
        self._blobs: dict[str, tuple[bytes, str]] = {}

    async def ping(self) -> None:
        """Always answers."""

    async def load_partition(self, partition: PartitionId) -> PartitionRecord | None:
        record = self._partitions.get(partition)
        return record and record._replace(timers=dict(record.timers))

    async def load_users(self, partition: PartitionId, user_ids: Sequence[str]) -> list[bytes | None]:
        users = self._users.get(partition, {})
        return [users.get(user_id) for user_id in user_ids]

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
        record = self._partitions.get(partition)
        found = record.next_offset if record else None
        if found != expected_offset:
            raise Fenced(str(partition), expected=expected_offset, found=found)
        held = record.timers if record else {}
        _update(held, timers)
        _update(self._users.setdefault(partition, {}), users)
        self._partitions[partition] = PartitionRecord(next_offset, meta, held)

    async def load_blob(self, name: str) -> tuple[bytes, str] | None:
        return self._blobs.get(name)

    async def save_blob(self, name: str, blob: bytes, *, expected_token: str | None) -> str:
        found = self._blobs[name][1] if name in self._blobs else None
        if found != expected_token:
            raise Fenced(name, expected=expected_token, found=found)
        token = str(int(found or 0) + 1)
        self._blobs[name] = (blob, token)
        return token

    async def drop_partition(self, partition: PartitionId) -> int:
        self._partitions.pop(partition, None)
        return len(self._users.pop(partition, {}))

    async def close(self) -> None:
        """Nothing to let go of."""


def _update(held: dict[str, V], changes: Mapping[str, V | None]) -> None:
    for key, value in changes.items():
        if value is None:
            held.pop(key, None)
        else:
            held[key] = value
