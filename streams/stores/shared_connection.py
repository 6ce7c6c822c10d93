"""One connection to Redis with many commands under way.

redis-py lends a connection to one command at a time. Lending, checking and counting cost more time than the command
itself, and each goes out and comes back alone. Redis answers in the order of the commands, so they can share a
connection: what several partitions ask at the same moment goes out together, and so do the answers.

Connecting, credentials, encryption and parsing remain redis-py's. There are no retries here either.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from typing import Any

import hiredis
from redis import exceptions as redis_errors
from redis.asyncio import Redis


class SharedConnection:
    """Runs commands on one connection of a client, and on another one when that is lost.

    Parameters
    ----------
    client
        Made by `redis_client.connect`; lends the connection. Its `socket_timeout` is how long a command may take, and
        so long may connecting take before.
    """

    def __init__(self, client: Redis) -> None:
        self._pool: Any = client.connection_pool
        self._timeout_s: float | None = self._pool.connection_kwargs.get("socket_timeout")
        self._connecting = asyncio.Lock()
        self._link: _Link | None = None
        self._serving: set[asyncio.Task[None]] = set()
        self._closed = False

    async def execute_command(self, *arguments: Any) -> Any:
        """Return the answer to a command, whose name is a single word.

        Raises
        ------
        redis.exceptions.RedisError
            The server refuses, cannot be reached, or has not answered in time; then it may have done it all the same.
        """
        command = hiredis.pack_command(arguments)
        link = self._link or await self._connected()
        try:
            async with asyncio.timeout(self._timeout_s):
                return await link.ask(command)
        except TimeoutError:
            late = f"no answer within {self._timeout_s:g} s"
            self._lose(link, redis_errors.ConnectionError(f"given up, because to another command there was {late}"))
            raise redis_errors.TimeoutError(late) from None

    async def _connected(self) -> _Link:
        try:
            async with asyncio.timeout(self._timeout_s), self._connecting:
                if self._closed:
                    raise redis_errors.ConnectionError("closed")
                if self._link is None:
                    self._link = _Link(await self._pool.get_connection())
                    serving = asyncio.create_task(self._serve(self._link), name="answers from Redis")
                    self._serving.add(serving)
                    serving.add_done_callback(self._serving.discard)
                return self._link
        except TimeoutError:
            raise redis_errors.TimeoutError(f"no connection within {self._timeout_s:g} s") from None

    async def _serve(self, link: _Link) -> None:
        """Hand out the answers of a connection until it ends, then give it back."""
        why: Exception = redis_errors.ConnectionError("closed")
        try:
            await link.hand_out_answers()
        except (redis_errors.RedisError, OSError) as error:
            why = error
        except Exception as error:  # its text could hold what was read
            why = redis_errors.ConnectionError(f"answers cannot be read: {type(error).__name__}")
        finally:  # also of a task that is cancelled: nobody else may write to what the pool lends to others
            self._lose(link, why)
            link.connection.socket_timeout = self._timeout_s
            with contextlib.suppress(redis_errors.RedisError, OSError):
                await link.connection.disconnect(nowait=True)
            await self._pool.release(link.connection)

    def _lose(self, link: _Link, why: Exception) -> None:
        """End a connection: who waits for an answer gets the error, who comes later another connection."""
        if self._link is link:
            self._link = None
        link.end(why)

    async def aclose(self) -> None:
        """Disconnect for good; who still waits for an answer, or comes later, gets an error."""
        self._closed = True
        async with self._connecting:
            if self._link is not None:
                self._lose(self._link, redis_errors.ConnectionError("closed"))
        if self._serving:
            await asyncio.wait(self._serving)


class _Link:
    """A connection, and who waits for answers from it, in the order of their commands."""

    def __init__(self, connection: Any) -> None:
        self.connection = connection
        self._waiting: deque[asyncio.Future[Any]] = deque()

    async def ask(self, command: bytes) -> Any:
        """Send a packed command and return its answer."""
        # Both at once, without anybody in between: answers are told apart by their order alone.
        self.connection.write(command)
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._waiting.append(answer)
        return await answer

    async def hand_out_answers(self) -> None:
        """Give each answer to whoever is first; raise what the connection ends with."""
        connection, waiting = self.connection, self._waiting
        connection.socket_timeout = None  # time limits are of commands; in between, it may be silent
        while True:
            try:
                found, fault = await connection.read_response(), None
            except redis_errors.ResponseError as error:
                found, fault = None, error
            first = waiting.popleft()
            if first.done():  # whoever asked was cancelled
                continue
            if fault is None:
                first.set_result(found)
            else:
                first.set_exception(fault)

    def end(self, why: Exception) -> None:
        """Let everybody who waits have an error instead of an answer, and whoever reads find the end."""
        self.connection.abort()
        while self._waiting:
            first = self._waiting.popleft()
            if not first.done():
                first.set_exception(why)
