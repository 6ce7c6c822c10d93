"""Redis and Valkey servers for tests that ask more of them than the shared ones: clusters, and lost connections."""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path

import redis
from polling import eventually

from streams.embedded import EmbeddedValkey, free_port

SLOTS = 16384


class ClusterNode(EmbeddedValkey):
    """A node of a cluster; it owns no slots yet."""

    name = "Valkey node"

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self._folder = folder
        self.bus_port = free_port()

    def arguments(self) -> list[str]:
        config = self._folder / f"nodes-{self.port}.conf"
        cluster = ["--cluster-enabled", "yes", "--cluster-port", str(self.bus_port)]
        return [*super().arguments(), *cluster, "--cluster-config-file", str(config), "--appendonly", "no"]


@contextlib.contextmanager
def valkey_cluster(nodes: int = 2) -> Iterator[str]:
    """Run a cluster without replicas; yield the URL of its first node."""
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="streamscore-cluster-")))
        members = [stack.enter_context(ClusterNode(folder)) for _ in range(nodes)]
        clients = [stack.enter_context(contextlib.closing(redis.Redis(port=one.port))) for one in members]
        for number, client in enumerate(clients):
            first, end = SLOTS * number // nodes, SLOTS * (number + 1) // nodes
            client.execute_command("CLUSTER", "ADDSLOTSRANGE", first, end - 1)
            if number:
                client.execute_command("CLUSTER", "MEET", "127.0.0.1", members[0].port, members[0].bus_port)
        for client in clients:
            eventually(lambda client=client: complete(client, nodes), within_s=20)
        yield members[0].url


def complete(client: redis.Redis, nodes: int) -> bool:
    """Tell whether a node knows all others and the owner of every slot."""
    known = bytes(client.execute_command("CLUSTER", "INFO"))
    return b"cluster_state:ok" in known and b"cluster_known_nodes:%d" % nodes in known


class LossyProxy:
    """Stands before a server and cuts connections on demand.

    Attributes
    ----------
    lose_requests, lose_answers
        Cut the connection at this many pieces from now on instead of passing them on: of requests,
        which the server then never sees, or of answers to what it has done.
    lost
        How often that was done.
    """

    def __init__(self, url: str) -> None:
        self._port = int(url.rpartition(":")[2].partition("/")[0])
        self._tasks: set[asyncio.Task[None]] = set()
        self.lose_requests = self.lose_answers = 0
        self.lost = 0

    async def __aenter__(self) -> LossyProxy:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.url = f"redis://127.0.0.1:{self._server.sockets[0].getsockname()[1]}/0"
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        up_reader, up_writer = await asyncio.open_connection("127.0.0.1", self._port)
        ways = [self._pass_on(reader, up_writer, "lose_requests"), self._pass_on(up_reader, writer, "lose_answers")]
        tasks = [asyncio.ensure_future(way) for way in ways]
        self._tasks.update(tasks)
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for one in (up_writer, writer):
                one.close()

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, losing: str) -> None:
        with contextlib.suppress(ConnectionError):
            while piece := await reader.read(1 << 20):
                left = getattr(self, losing)
                if left:
                    setattr(self, losing, left - 1)
                    self.lost += left == 1
                    if left == 1:
                        return
                writer.write(piece)
                await writer.drain()
