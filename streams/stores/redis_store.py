"""The state store in Redis or Valkey.

Keys of a partition carry its name as hash tag, so that they share a slot on a cluster and one script
may touch them all:

    <app>:{events-3}:p       hash: o next offset, m the core's meta data, w name of the last write
    <app>:{events-3}:t       sorted set: user -> time of the user's earliest window end
    <app>:{events-3}:u:<id>  a user's state

A save is one script: it compares the offset, and writes all or nothing. Every key has a time to live,
renewed when it is written. Measured and refused: hash buckets (10 to 30 % less memory, but a user
cannot expire alone before Redis 7.4), `HSET` and pipelines (three to ten times the client's time), and
building the users' keys in the script (no faster, and a cluster wants to see them).

Users are only believed beside their partition's record. If that alone is lost, by eviction or a
`drop_partition` that was cut off, the partition is rebuilt from the log, and users that stayed behind
would count their events twice. So `load_partition` says "nothing" only once nothing is left.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from redis.asyncio import RedisCluster
from redis.exceptions import RedisError

from streams.logs import log_event
from streams.settings import Settings
from streams.stores.base import Fenced, PartitionId, PartitionRecord
from streams.stores.redis_blobs import RedisBlobs
from streams.stores.redis_client import Client, Script, connect, faults
from streams.stores.shared_connection import SharedConnection
from streams.stores.writes import WriteNames

logger = logging.getLogger("streamscore.store")

__all__ = ["RedisStateStore", "connect", "open_store"]

# One MGET of this many states of 300 bytes is 600 kB: large enough to hide the round trip.
_USERS_A_READ = 2000
_TIMERS_A_READ = 10_000
# A script blocks the server: unlinking this many takes it about a millisecond.
_KEYS_A_SWEEP = 1000

# KEYS: p, t, users to set, users to delete
# ARGV: expected, next, meta, name, ttl, number of users to set, their states, then (due or '', user)...
# An answer that was lost makes us come again: then the last write bears our name. No write of this script
# comes before the check, and `unpack` with its limits is not used.
_SAVE = """
local call = redis.call
local found = call('HGET', KEYS[1], 'o') or ''
if found ~= ARGV[1] then
  if call('HGET', KEYS[1], 'w') == ARGV[4] then return {1, found} end
  return {0, found}
end
local ttl, sets = ARGV[5], tonumber(ARGV[6])
call('HSET', KEYS[1], 'o', ARGV[2], 'm', ARGV[3], 'w', ARGV[4])
call('PEXPIRE', KEYS[1], ttl)
for i = 1, sets do call('SET', KEYS[i + 2], ARGV[i + 6], 'PX', ttl) end
for i = sets + 3, #KEYS do call('UNLINK', KEYS[i]) end
for i = sets + 7, #ARGV, 2 do
  if ARGV[i] == '' then call('ZREM', KEYS[2], ARGV[i + 1]) else call('ZADD', KEYS[2], ARGV[i], ARGV[i + 1]) end
end
call('PEXPIRE', KEYS[2], ttl)
return {1, ARGV[2]}
"""

# KEYS: p, keys to unlink. Whoever has stored something meanwhile owns what is there.
_SWEEP = """
if redis.call('HEXISTS', KEYS[1], 'o') == 1 then return 0 end
for i = 2, #KEYS do redis.call('UNLINK', KEYS[i]) end
return 1
"""


def open_store(settings: Settings) -> RedisStateStore:
    """Make the store that the configuration names; connects on first use."""
    return RedisStateStore(connect(settings.redis), prefix=settings.app, ttl_ms=settings.redis.state_ttl_ms)


class _Save(NamedTuple):
    """The content of a save, to recognize it when it comes again."""

    expected_offset: int | None
    next_offset: int
    meta: bytes
    users: Mapping[str, bytes | None]
    timers: Mapping[str, int | None]


class RedisStateStore:
    """Keeps state in Redis or Valkey, single or cluster.

    Parameters
    ----------
    prefix
        Put before every key; the app's name.
    ttl_ms
        Time to live of every key since it was last written.
    """

    def __init__(self, client: Client, *, prefix: str, ttl_ms: int) -> None:
        self._client = client
        # For what each batch asks; a cluster's client has its own ways to its nodes.
        self._shared = None if isinstance(client, RedisCluster) else SharedConnection(client)
        self._prefix = prefix
        self._ttl_ms = ttl_ms
        self._names = WriteNames()
        self._blobs = RedisBlobs(client, prefix=prefix, ttl_ms=ttl_ms)
        self._save = Script(self._shared or client, _SAVE)
        self._sweep_keys = Script(client, _SWEEP)

    def _key(self, partition: PartitionId, rest: str) -> str:
        return f"{self._prefix}:{{{partition}}}:{rest}"

    async def ping(self) -> None:
        with faults():
            await self._client.ping()
        policies = await self._policies_that_evict()
        if policies:
            log_event(
                logger,
                logging.WARNING,
                "the store evicts keys when its memory is full, and who is evicted is forgotten with all that waited; "
                "set maxmemory-policy noeviction",
                policy=", ".join(policies),
            )

    async def _policies_that_evict(self) -> list[str]:
        try:
            told: dict[str, Any] = await self._client.info("memory")
        except RedisError:  # such as one that does not let us ask
            return []
        servers = [one for one in told.values() if isinstance(one, dict)] or [told]  # of a cluster: by node
        limited = [one for one in servers if one.get("maxmemory")]
        return sorted({str(one["maxmemory_policy"]) for one in limited} - {"noeviction"})

    async def load_partition(self, partition: PartitionId) -> PartitionRecord | None:
        while True:
            with faults():
                offset, meta = await self._client.hmget(self._key(partition, "p"), ["o", "m"])
                if offset is not None:
                    # Timers that a later write has changed do no harm: that write fences our next one.
                    return PartitionRecord(int(offset), meta or b"", await self._timers(partition))
            if await self._sweep(partition) is not None:
                return None

    async def _timers(self, partition: PartitionId) -> dict[str, int]:
        key, first = self._key(partition, "t"), 0
        timers: dict[str, int] = {}
        while True:
            found = await self._client.zrange(key, first, first + _TIMERS_A_READ - 1, withscores=True)
            timers.update((user_id.decode(), int(due)) for user_id, due in found)
            first += len(found)
            if len(found) < _TIMERS_A_READ:
                return timers

    async def load_users(self, partition: PartitionId, user_ids: Sequence[str]) -> list[bytes | None]:
        prefix = self._key(partition, "u:")
        client = self._shared or self._client
        found: list[bytes | None] = []
        with faults():
            for first in range(0, len(user_ids), _USERS_A_READ):
                keys = [prefix + user_id for user_id in user_ids[first : first + _USERS_A_READ]]
                found += await client.execute_command("MGET", *keys)
        return found

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
        place = str(partition)
        name = self._names.name(place, _Save(expected_offset, next_offset, meta, users, timers))
        prefix = self._key(partition, "u:")
        states = [state for state in users.values() if state is not None]
        keys = [self._key(partition, "p"), self._key(partition, "t")]
        if len(states) == len(users):
            keys += [prefix + user_id for user_id in users]
        else:
            keys += [prefix + user_id for user_id, state in users.items() if state is not None]
            keys += [prefix + user_id for user_id, state in users.items() if state is None]
        expected = "" if expected_offset is None else expected_offset
        arguments = [expected, next_offset, meta, name, self._ttl_ms, len(states), *states]
        for user_id, due_ms in timers.items():
            arguments += ("" if due_ms is None else due_ms, user_id)
        written, found = await self._save(keys, arguments)
        self._names.answered(place)
        if not written:
            raise Fenced(place, expected=expected_offset, found=int(found) if found else None)

    async def load_blob(self, name: str) -> tuple[bytes, str] | None:
        return await self._blobs.load(name)

    async def save_blob(self, name: str, blob: bytes, *, expected_token: str | None) -> str:
        return await self._blobs.save(name, blob, expected_token=expected_token)

    async def drop_partition(self, partition: PartitionId) -> int:
        with faults():
            await self._client.unlink(self._key(partition, "p"))
        dropped = await self._sweep(partition)
        if dropped is None:
            raise Fenced(str(partition), expected=None, found="a worker that has gone on meanwhile")
        return dropped

    async def _sweep(self, partition: PartitionId) -> int | None:
        """Unlink what is left of a partition without a record; return how many users that were.

        None if somebody has stored a record meanwhile: then what is left is theirs.
        """
        users = self._key(partition, "u:").encode()
        swept = 0
        keys: list[bytes] = []

        async def unlink() -> bool:
            done = bool(await self._sweep_keys([self._key(partition, "p"), *keys], []))
            keys.clear()
            return done

        with faults():
            async for key in self._scan(partition):
                keys.append(key)
                swept += key.startswith(users)
                if len(keys) >= _KEYS_A_SWEEP and not await unlink():
                    return None
        return swept if await unlink() else None

    def _scan(self, partition: PartitionId) -> Any:
        pattern = re.sub(r"([\\*?\[\]])", r"\\\1", self._key(partition, "")) + "*"
        where: dict[str, Any] = {}
        if isinstance(self._client, RedisCluster):
            where["target_nodes"] = self._client.get_node_from_key(self._key(partition, "p"))
        return self._client.scan_iter(match=pattern, count=1000, **where)

    async def close(self) -> None:
        if self._shared is not None:
            await self._shared.aclose()
        await self._client.aclose()
