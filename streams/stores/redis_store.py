"""The state store in Redis or Valkey.

Keys of a partition carry its name as hash tag, so that they share a slot on a cluster and one script
may touch them all:

    <app>:{events-3}:p       hash: o next offset, m the core's meta data, w who wrote last
    <app>:{events-3}:t       sorted set: user -> time of the user's earliest window end
    <app>:{events-3}:u:<id>  a user's state
    <app>:blob:<name>        hash: b bytes, v version

A save is one script: it compares the offset, and writes all or nothing. Every key has a time to live,
renewed when it is written.
"""

from __future__ import annotations

import ssl
import uuid
from collections.abc import Awaitable, Callable, Mapping, Sequence
from hashlib import blake2b
from typing import Any, TypeVar

from redis import exceptions as redis_errors
from redis.asyncio import Redis, RedisCluster
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from streams.settings import RedisSettings, Settings
from streams.stores.base import Fenced, PartitionId, PartitionRecord, StoreMisconfigured, Unavailable

T = TypeVar("T")

# One MGET of this many states of 300 bytes is 600 kB: large enough to hide the round trip.
_USERS_A_READ = 2000
_TIMERS_A_READ = 10_000
# Lua's unpack is not used, but a script blocks the server: this many users take some 10 ms.
_USERS_A_DELETE = 1000

# KEYS: p, t, users...   ARGV: expected, next, meta, writer, ttl, a state per user, then (due, user)...
# An answer that was lost makes us come again: then the writer found is ourselves at this very offset.
_SAVE = """
local found = redis.call('HGET', KEYS[1], 'o') or ''
if found ~= ARGV[1] then
  if redis.call('HGET', KEYS[1], 'w') == ARGV[4] then return {1, found} end
  return {0, found}
end
local ttl = ARGV[5]
redis.call('HSET', KEYS[1], 'o', ARGV[2], 'm', ARGV[3], 'w', ARGV[4])
redis.call('PEXPIRE', KEYS[1], ttl)
for i = 3, #KEYS do
  local state = ARGV[i + 3]
  if state == '' then redis.call('DEL', KEYS[i]) else redis.call('SET', KEYS[i], state, 'PX', ttl) end
end
for i = #KEYS + 4, #ARGV, 2 do
  if ARGV[i] == '' then redis.call('ZREM', KEYS[2], ARGV[i + 1])
  else redis.call('ZADD', KEYS[2], ARGV[i], ARGV[i + 1]) end
end
redis.call('PEXPIRE', KEYS[2], ttl)
return {1, ARGV[2]}
"""

_SAVE_BLOB = """
local found = redis.call('HGET', KEYS[1], 'v') or ''
if found ~= ARGV[1] then
  if redis.call('HGET', KEYS[1], 'w') == ARGV[4] then return {1, found} end
  return {0, found}
end
redis.call('HSET', KEYS[1], 'b', ARGV[2], 'v', ARGV[3], 'w', ARGV[4])
redis.call('PEXPIRE', KEYS[1], ARGV[5])
return {1, ARGV[3]}
"""

_AWAY = (
    redis_errors.ConnectionError,
    redis_errors.TimeoutError,
    redis_errors.BusyLoadingError,
    redis_errors.ReadOnlyError,
    redis_errors.OutOfMemoryError,
    redis_errors.ClusterDownError,
    redis_errors.TryAgainError,
    redis_errors.MasterDownError,
    OSError,
)
_REFUSED = (redis_errors.AuthenticationError, redis_errors.NoPermissionError, redis_errors.AuthorizationError)


def open_store(settings: Settings) -> RedisStateStore:
    """Make the store that the configuration names; connects on first use."""
    return RedisStateStore(connect(settings.redis), prefix=settings.app, ttl_ms=settings.redis.state_ttl_ms)


def connect(settings: RedisSettings) -> Redis | RedisCluster:
    """Make a client; retries are the caller's, who knows which step may be repeated."""
    options: dict[str, Any] = {
        "username": settings.username,
        "password": settings.password,
        "socket_timeout": settings.timeout_s,
        "socket_connect_timeout": settings.timeout_s,
        "retry": Retry(NoBackoff(), 0),
    }
    if settings.url.startswith("rediss://") and settings.ssl_cafile:
        options |= {"ssl_ca_certs": settings.ssl_cafile, "ssl_cert_reqs": ssl.CERT_REQUIRED}
    options = {key: value for key, value in options.items() if value is not None}
    if settings.cluster:
        return RedisCluster.from_url(settings.url, **options)
    return Redis.from_url(settings.url, **options)


class RedisStateStore:
    """Keeps state in Redis or Valkey, single or cluster.

    Parameters
    ----------
    prefix
        Put before every key; the app's name.
    ttl_ms
        Time to live of every key since it was last written.
    """

    def __init__(self, client: Redis | RedisCluster, *, prefix: str, ttl_ms: int) -> None:
        self._client = client
        self._prefix = prefix
        self._ttl_ms = ttl_ms
        self._writer = uuid.uuid4().hex[:12]
        self._save_script = client.register_script(_SAVE)
        self._blob_script = client.register_script(_SAVE_BLOB)

    def _key(self, partition: PartitionId, rest: str) -> str:
        return f"{self._prefix}:{{{partition}}}:{rest}"

    async def _io(self, step: Callable[[], Awaitable[T]]) -> T:
        try:
            return await step()
        except _REFUSED as error:
            raise StoreMisconfigured(
                f"The store refuses us ({type(error).__name__}); check user, password, ACL"
            ) from None
        except _AWAY as error:
            raise Unavailable(f"store: {type(error).__name__}: {error}") from None

    async def ping(self) -> None:
        await self._io(lambda: self._client.ping())

    async def load_partition(self, partition: PartitionId) -> PartitionRecord | None:
        offset, meta = await self._io(lambda: self._client.hmget(self._key(partition, "p"), ["o", "m"]))
        if offset is None:
            return None
        return PartitionRecord(int(offset), meta, await self._io(lambda: self._timers(partition)))

    async def _timers(self, partition: PartitionId) -> dict[str, int]:
        key, timers, first = self._key(partition, "t"), {}, 0
        while True:
            found = await self._client.zrange(key, first, first + _TIMERS_A_READ - 1, withscores=True)
            timers.update((user_id.decode(), int(due)) for user_id, due in found)
            first += len(found)
            if len(found) < _TIMERS_A_READ:
                return timers

    async def load_users(self, partition: PartitionId, user_ids: Sequence[str]) -> list[bytes | None]:
        prefix = self._key(partition, "u:")
        found: list[bytes | None] = []
        for first in range(0, len(user_ids), _USERS_A_READ):
            keys = [prefix + user_id for user_id in user_ids[first : first + _USERS_A_READ]]
            found += await self._io(lambda keys=keys: self._client.mget(keys))  # type: ignore[misc]
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
        prefix = self._key(partition, "u:")
        keys = [self._key(partition, "p"), self._key(partition, "t"), *(prefix + user_id for user_id in users)]
        arguments: list[str | int | bytes] = [
            "" if expected_offset is None else expected_offset,
            next_offset,
            meta,
            f"{self._writer}:{next_offset}",
            self._ttl_ms,
            *(state or b"" for state in users.values()),
        ]
        for user_id, due_ms in timers.items():
            arguments += ("" if due_ms is None else due_ms, user_id)
        written, found = await self._io(lambda: self._save_script(keys=keys, args=arguments))
        if not written:
            raise Fenced(str(partition), expected=expected_offset, found=int(found) if found else None)

    async def load_blob(self, name: str) -> tuple[bytes, str] | None:
        blob, version = await self._io(lambda: self._client.hmget(f"{self._prefix}:blob:{name}", ["b", "v"]))
        return None if blob is None else (blob, version.decode())

    async def save_blob(self, name: str, blob: bytes, *, expected_token: str | None) -> str:
        version = str(int(expected_token or 0) + 1)
        content = blake2b(blob, digest_size=8).hexdigest()  # a repeat is the same bytes from the same writer
        arguments = [expected_token or "", blob, version, f"{self._writer}:{content}", self._ttl_ms]
        keys = [f"{self._prefix}:blob:{name}"]
        written, found = await self._io(lambda: self._blob_script(keys=keys, args=arguments))
        if not written:
            raise Fenced(name, expected=expected_token, found=found.decode() or None)
        return version

    async def drop_partition(self, partition: PartitionId) -> int:
        dropped = 0
        keys: list[bytes] = []

        async def drop() -> None:
            nonlocal dropped
            dropped += await self._io(lambda: self._client.unlink(*keys))
            keys.clear()

        async for key in self._client.scan_iter(match=self._key(partition, "*"), count=1000):
            keys.append(key)
            if len(keys) >= _USERS_A_DELETE:
                await drop()
        if keys:
            await drop()
        return dropped

    async def close(self) -> None:
        await self._client.aclose()
