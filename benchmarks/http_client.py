"""An HTTP/1.1 client that costs little: it shares the cores with what it measures.

It knows what our API answers, status line and `Content-Length`, and nothing else.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, NamedTuple, cast
from urllib.parse import urlsplit

import orjson


class Reply(NamedTuple):
    """What came back."""

    status: int
    body: bytes


class _Connection(asyncio.Protocol):
    def __init__(self) -> None:
        self._waiting: asyncio.Future[Reply] | None = None
        self._came = b""
        self.is_open = True

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def connection_lost(self, error: Exception | None) -> None:
        self.is_open = False
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_exception(error or ConnectionResetError("the worker closed the connection"))

    def data_received(self, data: bytes) -> None:
        self._came += data
        head, end, body = self._came.partition(b"\r\n\r\n")
        if end and self._waiting is not None and not self._waiting.done():
            length = int(head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0])
            if len(body) >= length:
                self._came = b""
                self._waiting.set_result(Reply(int(head[9:12]), body))

    def ask(self, request: bytes) -> asyncio.Future[Reply]:
        self._waiting = asyncio.get_running_loop().create_future()
        self.transport.write(request)
        return self._waiting


class Client:
    """Keeps as many connections to one worker as there were requests at once.

    Parameters
    ----------
    url
        ``http://HOST:PORT``.
    headers
        Sent with every request.
    """

    def __init__(self, url: str, headers: Mapping[str, str]) -> None:
        self._host, self._port = urlsplit(url).hostname, urlsplit(url).port
        self._headers = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        self._idle: list[_Connection] = []

    def request(self, method: str, path: str, body: Any) -> bytes:
        """Return a request as it is sent; None: no body."""
        content = b"" if body is None else orjson.dumps(body)
        head = (
            f"{method} {path} HTTP/1.1\r\nHost: {self._host}\r\n{self._headers}Content-Length: {len(content)}\r\n\r\n"
        )
        return head.encode() + content

    async def send(self, request: bytes) -> Reply:
        """Send a request and wait for its answer; raises OSError."""
        while self._idle:
            connection = self._idle.pop()
            if connection.is_open:
                break
        else:
            loop = asyncio.get_running_loop()
            _, connection = await loop.create_connection(_Connection, self._host, self._port)
        reply = await connection.ask(request)
        self._idle.append(connection)
        return reply

    def close(self) -> None:
        """Close what is idle."""
        for connection in self._idle:
            connection.transport.close()
        self._idle.clear()
