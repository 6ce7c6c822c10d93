"""Where user states, open attributions and offsets are kept: one interface, in memory or in Redis."""

from streams.stores.base import Fenced, PartitionId, PartitionRecord, StateStore, StoreMisconfigured, Unavailable
from streams.stores.memory import DictStateStore
from streams.stores.redis_store import RedisStateStore, open_store

__all__ = [
    "DictStateStore",
    "Fenced",
    "PartitionId",
    "PartitionRecord",
    "RedisStateStore",
    "StateStore",
    "StoreMisconfigured",
    "Unavailable",
    "open_store",
]
