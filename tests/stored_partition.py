"""A partition of which each chunk finds what the one before has stored."""

from __future__ import annotations

from typing import Any

from builders import EventLog
from core_bench import FEATURES, Bench, cut

from online_models.records import decode_batch
from schemas.codec import (
    decode_partition_meta,
    decode_user_state,
    encode_partition_meta,
    encode_user_state,
    unpack_resting,
)
from schemas.user_state import PartitionMeta


class Stored:
    """A partition that has nothing at hand: each chunk finds what the one before has stored."""

    def __init__(self, objectives: dict[str, Any]) -> None:
        self.objectives = objectives
        self.features = FEATURES
        self.limits: dict[str, Any] = {}
        self.blobs: dict[str, bytes] = {}
        self.timers: dict[str, int] = {}
        self.meta: bytes | None = None
        self.bench = self.begun()

    def begun(self) -> Bench:
        """Return a bench that begins with what is stored, as a worker does after a crash."""
        meta = decode_partition_meta(self.meta) if self.meta is not None else None
        return Bench(self.objectives, features=self.features, meta=meta, timers=self.timers, **self.limits)

    def again(
        self, objectives: dict[str, Any] | None = None, features: dict[str, Any] | None = None, **limits: Any
    ) -> None:
        """Go on as another worker does, with another configuration if one is given."""
        self.objectives, self.features = objectives or self.objectives, features or self.features
        self.limits |= limits
        before, self.bench = self.bench, self.begun()
        self.bench.results = before.results

    def stored_meta(self) -> PartitionMeta:
        """Return what is stored beside visitors and timers."""
        assert self.meta is not None, "nothing was stored"
        return decode_partition_meta(self.meta)

    def outcome_times(self, user_id: str = "u1") -> dict[str, int]:
        """Return when each outcome of a visitor came last, read by the layout that is stored."""
        user = decode_user_state(self.blobs[user_id])
        unpack_resting(user)
        [layout] = [one for one in self.stored_meta().layouts if one.id == user.layout]
        return {kind: ts for kind, ts in zip(layout.outcome_types, user.outcome_ts, strict=False) if ts}

    def run(self, log: EventLog, *, chunk: int = 500) -> Stored:
        for records in cut(log.records, chunk):
            bench, batch = self.bench, decode_batch(records, topic="events", partition=0)
            asked = [one for one in bench.core.users_of(batch.events) if one in self.blobs]
            bench.users = {one: bench.core.adopt(decode_user_state(self.blobs[one]), one) for one in asked}
            result = bench.core.step(batch, bench.users)
            bench.results.append(result)
            self.blobs |= {one: encode_user_state(user) for one, user in result.changed_users.items()}
            for user_id, due_ms in result.changed_timers.items():
                if due_ms is None:
                    self.timers.pop(user_id, None)
                else:
                    self.timers[user_id] = due_ms
            self.meta = encode_partition_meta(bench.core.meta())
        return self

    def states(self) -> dict[str, bytes]:
        """Return the states as a later batch would find them."""
        return {
            name: encode_user_state(self.bench.core.adopt(decode_user_state(blob))) for name, blob in self.blobs.items()
        }
