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
        Made by `redis_client.connect`; lends the connection. Its `socket_timeout` is how long a command may take,
        connecting included.
    """

    def __init__(self, client: Redis) -> None:
        self._pool: Any = client.connection_pool
        self._timeout_s: float | None = self._pool.connection_kwargs.get("socket_timeout")
        self._connecting = asyncio.Lock()
        self._link: _Link | None = None

    async def execute_command(self, *arguments: Any) -> Any:
        """Return the answer to a command, whose name is a single word.

        Raises
        ------
        redis.exceptions.RedisError
            The server refuses, cannot be reached, or has not answered in time; then it may have done it all the same.
        """
        command = hiredis.pack_command(arguments)
        link = self._link
        try:
            async with asyncio.timeout(self._timeout_s):
                if link is None:
                    link = await self._connected()
                return await link.ask(command)
        except TimeoutError:
            error = redis_errors.TimeoutError(f"no answer within {self._timeout_s:g} s")
            if link is not None:
                self._give_up(link, error)
            raise error from None

    async def _connected(self) -> _Link:
        async with self._connecting:
            if self._link is None:
                connection = await self._pool.get_connection()
                connection.socket_timeout = None  # time limits are of commands; in between, it may be silent
                link = self._link = _Link(connection)
                link.serving = asyncio.create_task(self._serve(link), name="answers from Redis")
            return self._link

    async def _serve(self, link: _Link) -> None:
        """Hand out the answers of a connection until it is lost, then give it back."""
        connection = link.connection
        try:
            await link.hand_out_answers()
        except Exception as error:
            self._lose(link, error)
        finally:
            connection.socket_timeout = self._timeout_s
            with contextlib.suppress(redis_errors.RedisError, OSError):
                await connection.disconnect(nowait=True)
            await self._pool.release(connection)

    def _lose(self, link: _Link, error: Exception) -> None:
        """Let who waits for an answer have the error, and who comes later another connection."""
        if self._link is link:
            self._link = None
        link.fail_all(error)

    def _give_up(self, link: _Link, error: Exception) -> None:
        self._lose(link, error)
        if link.serving is not None:
            link.serving.cancel()

    async def aclose(self) -> None:
        """Disconnect; who still waits for an answer gets an error."""
        link = self._link
        if link is not None and link.serving is not None:
            self._give_up(link, redis_errors.ConnectionError("closed"))
            await asyncio.wait([link.serving])


class _Link:
    """A connection, and who waits for answers from it, in the order of their commands."""

    def __init__(self, connection: Any) -> None:
        self.connection = connection
        self.serving: asyncio.Task[None] | None = None
        self._waiting: deque[asyncio.Future[Any]] = deque()

    async def ask(self, command: bytes) -> Any:
        """Send a packed command and return its answer."""
        # Both at once, without anybody in between: answers are told apart by their order alone.
        self.connection.write(command)
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._waiting.append(answer)
        try:
            await self.connection.drain()
        except BaseException:
            answer.cancel()  # it would get the error too, and tell nobody
            raise
        return await answer

    async def hand_out_answers(self) -> None:
        """Give each answer to whoever is first; raise what the connection ends with."""
        read, waiting = self.connection.read_response, self._waiting
        while True:
            try:
                found, fault = await read(), None
            except redis_errors.ResponseError as error:
                found, fault = None, error
            first = waiting.popleft()
            if not first.done():  # otherwise whoever asked was cancelled
                if fault is None:
                    first.set_result(found)
                else:
                    first.set_exception(fault)
            if isinstance(fault, redis_errors.ReadOnlyError):
                raise fault  # after a failover this is the old master; the name may lead to the new one by now

    def fail_all(self, error: Exception) -> None:
        """Give everybody who waits an error instead of an answer."""
        while self._waiting:
            first = self._waiting.popleft()
            if not first.done():
                first.set_exception(error)
