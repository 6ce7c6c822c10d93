"""A worker's loop does not wait for a peer that does not say goodbye."""

from __future__ import annotations

import asyncio
import socket
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import uvloop

from streams.loop import Loop


class Client(asyncio.Protocol):
    def __init__(self) -> None:
        self.lost = asyncio.get_running_loop().create_future()

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost.set_result(exc)


@pytest.fixture
def silent(certificate: Path) -> Iterator[int]:
    """The port of a TLS server that shakes hands, and then neither reads nor ends."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate / "both.pem")
    ended = threading.Event()

    def serve() -> None:
        connection, _ = server.accept()
        with context.wrap_socket(connection, server_side=True):
            ended.wait()

    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=serve)
        thread.start()
        yield server.getsockname()[1]
        ended.set()
        thread.join()


def test_a_tls_connection_ends_although_its_peer_does_not_say_goodbye(silent: int, certificate: Path) -> None:
    context = ssl.create_default_context(cafile=str(certificate / "cert.pem"))

    async def connect_and_close() -> None:
        loop = asyncio.get_running_loop()
        transport, client = await loop.create_connection(Client, "127.0.0.1", silent, ssl=context)
        transport.close()
        try:
            await asyncio.wait_for(client.lost, 15)  # uvloop alone takes 30 s
        finally:
            transport.abort()  # uvloop does not close before all transports have

    uvloop.run(connect_and_close(), loop_factory=Loop)
