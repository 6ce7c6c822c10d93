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
from inspect import signature
from typing import Any

import hiredis
from redis import exceptions as redis_errors
from redis.asyncio import ConnectionPool, Redis, RedisCluster
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
_REPLICA_REPLY = re.compile(r"-READONLY\b|-MASTERDOWN\b")  # of a script, by servers before 7
_CLOSED = "the connection is closed"
# What uvloop raises, as a RuntimeError, when somebody writes to a connection that was reset just now.
_CLOSED_BY_UVLOOP = "the handler is closed"
_REFUSED_REPLY = re.compile(
    r"user executing the script can't|ACL failure in script|-NOPERM\b|unknown command|DB index is|SELECT is not"
)


def connect(settings: RedisSettings) -> Redis | RedisCluster:
    """Make a client; it connects on first use. Raises UnusableFile."""
    settings.look_at_certificates()
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
        return RedisCluster.from_url(settings.url, **options, **_without_notifications(RedisCluster))
    client = Redis.from_url(settings.url, **options, **_without_notifications(ConnectionPool))
    pool = client.connection_pool
    pool.connection_class = _ours(pool.connection_class)
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


def _without_notifications(client: type) -> dict[str, Any]:
    """Return what keeps servers from announcing their maintenance.

    redis-py 8 would give connections other time limits then. Ours are waited for, and replaced, without being told.
    """
    if "maint_notifications_config" not in signature(client).parameters:
        return {}
    from redis.maint_notifications import MaintNotificationsConfig

    return {"maint_notifications_config": MaintNotificationsConfig(enabled=False)}


def _ours(base: type[AbstractConnection]) -> type[AbstractConnection]:
    """Return a connection class that packs in C, and ends where redis-py would go on with a connection of no use."""

    class Ours(base):  # type: ignore[misc, valid-type]
        def pack_command(self, *args: Any) -> list[bytes]:
            """Pack a command; redis-py's asyncio connections do so in Python, which takes six times as long."""
            if " " in str(args[0]):  # such as CONFIG GET: redis-py takes it apart
                return super().pack_command(*args)  # type: ignore[no-any-return]
            return [hiredis.pack_command(args)]

        async def read_response(self, *args: Any, **options: Any) -> Any:
            """Read an answer, or raise it if it is an error; disconnect from a server that is no master any more."""
            try:
                return await super().read_response(*args, **options)
            except redis_errors.ResponseError as error:
                if is_of_a_replica(error):
                    await self.disconnect(nowait=True)  # the server's name may lead to the new master by now
                raise

        def write(self, command: bytes) -> None:
            """Write a packed command without waiting; raises ConnectionError."""
            if self._writer is None or self._writer.is_closing():
                raise redis_errors.ConnectionError(_CLOSED)
            self._writer.write(command)

        def abort(self) -> None:
            """End the connection at once, whatever was not sent yet; whoever reads gets a ConnectionError."""
            if self._writer is not None:
                self._writer.transport.abort()

    Ours.__name__ = base.__name__
    return Ours


def is_of_a_replica(error: Exception) -> bool:
    """Tell whether an error says that the server takes no writes, because it is, or has become, a replica."""
    if isinstance(error, redis_errors.ReadOnlyError | redis_errors.MasterDownError):
        return True
    return _REPLICA_REPLY.search(str(error)) is not None


@contextmanager
def faults() -> Iterator[None]:
    """Raise Unavailable or StoreMisconfigured in place of the client's errors; pass our own faults through."""
    try:
        yield
    except (redis_errors.RedisError, redis_errors.RedisClusterException, OSError, RuntimeError) as error:
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
    if isinstance(error, RuntimeError) and _CLOSED_BY_UVLOOP in text:
        return Unavailable(f"store: {_CLOSED}")
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
