"""The connection to Redis or Valkey: how it is made, and what its faults mean.

Retries are not the client's: the caller knows which step may be repeated, so redis-py's own are off
and every operation has a time limit. What goes wrong is told apart by its consequence, see
`translated`. Messages never hold arguments of a command, which may be a user's, nor a password.
"""

from __future__ import annotations

import re
import ssl
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from hashlib import sha1
from typing import Any

import hiredis
from redis import exceptions as redis_errors
from redis.asyncio import Redis, RedisCluster
from redis.asyncio.connection import AbstractConnection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from streams.sections import RedisSettings
from streams.stores.base import StoreMisconfigured, Unavailable

# redis-py's own types speak of every option's answer at once; ours are bytes.
Client = Any

_REFUSED = (redis_errors.AuthenticationError, redis_errors.NoPermissionError, redis_errors.AuthorizationError)
_AWAY = (
    redis_errors.ConnectionError,  # also LOADING
    redis_errors.TimeoutError,
    redis_errors.ReadOnlyError,
    redis_errors.OutOfMemoryError,
    redis_errors.ClusterDownError,
    redis_errors.TryAgainError,
    OSError,  # also asyncio's TimeoutError
)
# Replies that redis-py has no class for. Servers before 7 put those of a script's commands behind a dash.
_AWAY_REPLY = re.compile(r"^(?:NOREPLICAS|MISCONF|BUSY)\b|-(?:OOM|READONLY|NOREPLICAS|MISCONF)\b")
_REFUSED_REPLY = re.compile(
    r"user executing the script can't|ACL failure in script|-NOPERM\b|unknown command|DB index is|SELECT is not"
)


def connect(settings: RedisSettings) -> Redis | RedisCluster:
    """Make a client; it connects on first use."""
    options: dict[str, Any] = {
        "username": settings.username,
        "password": settings.password,
        "socket_timeout": settings.timeout_s,
        "socket_connect_timeout": settings.timeout_s,
        "retry": Retry(NoBackoff(), 0),
    }
    if settings.url.startswith("rediss://") and settings.ssl_cafile:
        options |= {"ssl_ca_certs": settings.ssl_cafile, "ssl_cert_reqs": ssl.CERT_REQUIRED}
    options = {key: value for key, value in options.items() if value is not None} | _about_the_client()
    if settings.cluster:
        return RedisCluster.from_url(settings.url, **options)
    client = Redis.from_url(settings.url, **options)
    pool = client.connection_pool
    pool.connection_class = _packing_in_c(pool.connection_class)
    return client


def _about_the_client() -> dict[str, Any]:
    """Return what connections say of redis-py.

    Left alone, each new connection reads the version from the installed package's files, which holds up the event loop
    for a millisecond: when many requests come at once, for each of them.
    """
    try:
        from redis.driver_info import DriverInfo
    except ImportError:  # redis-py 6 reads it once
        return {}
    return {"driver_info": DriverInfo()}


def _packing_in_c(connection: type[AbstractConnection]) -> type[AbstractConnection]:
    """Return a connection class whose commands are packed by hiredis, and that can be written to at once.

    redis-py's asyncio connections pack in Python, which costs a save 3 us for each user, six times as much.
    """

    def pack_command(self: AbstractConnection, *args: Any) -> list[bytes]:
        if " " in str(args[0]):  # such as CONFIG GET: redis-py takes it apart
            return connection.pack_command(self, *args)
        return [hiredis.pack_command(args)]

    def write(self: AbstractConnection, command: bytes) -> None:
        """Write a packed command; raises ConnectionError."""
        if self._writer is None:
            raise redis_errors.ConnectionError("the connection is closed")
        self._writer.write(command)

    async def drain(self: AbstractConnection) -> None:
        """Wait until what was written has left, beyond what may lie in the buffer; raises OSError."""
        if self._writer is not None:
            await self._writer.drain()

    added = {"pack_command": pack_command, "write": write, "drain": drain}
    return type(connection.__name__, (connection,), added)


@contextmanager
def faults() -> Iterator[None]:
    """Raise Unavailable or StoreMisconfigured in place of the client's errors; pass our own faults through."""
    try:
        yield
    except (redis_errors.RedisError, redis_errors.RedisClusterException, OSError) as error:
        told = translated(error)
        if told is error:
            raise
        raise told from None  # the cause's context may hold the arguments of the command


def translated(error: Exception) -> Exception:
    """Tell what an error of the client means.

    Returns
    -------
    Exception
        StoreMisconfigured: it will not go away by itself. Unavailable: repeat the step. The error
        itself: a fault of ours, such as a key of another type under our prefix.
    """
    name, text = type(error).__name__, str(error)
    if isinstance(error, _REFUSED) or (isinstance(error, redis_errors.ResponseError) and _REFUSED_REPLY.search(text)):
        return StoreMisconfigured(f"The store refuses us ({name}); check user, password, permissions and database")
    if isinstance(error, redis_errors.RedisClusterException):  # its text may hold a whole command
        if "mode is not enabled" in text:
            return StoreMisconfigured("The store is no cluster: set redis.cluster: false")
        return Unavailable(f"store: {name}: the cluster is not complete or cannot be reached")
    if isinstance(error, redis_errors.TryAgainError):  # inherits from no common class in some versions
        return Unavailable(f"store: {name}")
    if isinstance(error, redis_errors.AskError):  # also MOVED
        return StoreMisconfigured("The store is a cluster: set redis.cluster: true")
    if isinstance(error, _AWAY) or _AWAY_REPLY.search(text):
        return Unavailable(f"store: {name}: {text}")
    return error


class Script:
    """A script that is sent once and named afterwards; a server that was emptied is sent it again.

    Every key that it touches is named in `keys`, as a cluster asks for.
    """

    def __init__(self, client: Client, text: str) -> None:
        self._client = client
        self._text = text
        self._digest = sha1(text.encode(), usedforsecurity=False).hexdigest()

    async def __call__(self, keys: Sequence[str | bytes], arguments: Sequence[str | int | bytes]) -> Any:
        with faults():
            try:
                return await self._client.execute_command("EVALSHA", self._digest, len(keys), *keys, *arguments)
            except redis_errors.NoScriptError:
                return await self._client.execute_command("EVAL", self._text, len(keys), *keys, *arguments)
