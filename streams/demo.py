"""The whole main job on one machine: embedded servers, a worker, and a simulated shop or a file."""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Iterable, Mapping
from pathlib import Path
from typing import Any

import aiohttp
from aiokafka import AIOKafkaProducer

from streams.admin import create_topics
from streams.embedded import EmbeddedKafka, EmbeddedValkey, die_with_parent, embedded_servers, free_port
from streams.feed import PRODUCER_OPTIONS, FeedResult, feed
from streams.settings import Settings, load_settings
from streams.simulate import Shop
from streams.watch import Watch

_READY_SECONDS = 30.0
_STOP_SECONDS = 12.0
# Simulated time runs faster than ours, so that windows of hours close while one watches; it starts
# far enough back never to catch up with the present, which the worker would refuse.
DEMO_START_MS = 1_735_689_600_000  # 2025-01-01T00:00:00Z
# Few enough that they come back while one watches: a day of theirs passes in some twenty seconds.
DEMO_VISITORS = 1_000


class DemoFailed(RuntimeError):
    """A part of the demo did not come up; the message holds what it said."""


class Demo:
    """A running demo.

    Attributes
    ----------
    fed
        What the shop or the file has produced so far.
    pages
        What the worker serves to be looked at, and the addresses: the dashboard, and where a ranking is declared the
        page that asks for it.
    """

    def __init__(self, settings: Settings, worker: subprocess.Popen[bytes], port: int, log: Path) -> None:
        self.settings = settings
        self.fed = FeedResult()
        self._worker = worker
        self._url = f"http://127.0.0.1:{port}"
        self.pages = {"dashboard": f"{self._url}/"}
        if settings.rankings:
            self.pages["a shop that reacts"] = f"{self._url}/site"
        self._log = log
        self._watch = Watch(settings)

    async def wait_until_ready(self) -> None:
        """Wait for the worker to own its partitions."""
        loop = asyncio.get_running_loop()
        end = loop.time() + _READY_SECONDS
        while loop.time() < end:
            self.check()
            status = await self.status()
            if status is not None and status["ready"]:
                await self._watch.start()
                return
            await asyncio.sleep(0.1)
        raise DemoFailed(f"The worker was not ready within {_READY_SECONDS:.0f} s:\n{self._said()}")

    def check(self) -> None:
        """Raise DemoFailed if the worker has ended."""
        if self._worker.poll() is not None:
            raise DemoFailed(f"The worker ended with status {self._worker.returncode}:\n{self._said()}")

    def _said(self) -> str:
        return self._log.read_text(errors="replace")[-3000:]

    async def status(self) -> dict[str, Any] | None:
        """Return the worker's `/status`, None while it does not answer."""
        timeout = aiohttp.ClientTimeout(total=2.0)
        try:
            async with aiohttp.ClientSession(timeout=timeout) as http, http.get(f"{self._url}/status") as answer:
                found: dict[str, Any] = await answer.json()
                return found
        except (aiohttp.ClientError, TimeoutError, OSError):
            return None

    async def run(self, events: Iterable[Any], *, rate: float | None, stop: asyncio.Event) -> None:
        """Produce events until they end or `stop` is set."""

        def note(result: FeedResult) -> None:
            self.fed = result

        async with AIOKafkaProducer(**self.settings.kafka.client_kwargs(), **PRODUCER_OPTIONS) as producer:
            self.fed = await feed(
                events, producer, self.settings.topics.events.name, rate=rate, stop=stop, on_progress=note
            )

    async def report(self) -> dict[str, Any]:
        """Wait until the worker is done with what was produced, and account for it."""
        await self._watch.wait(self.fed, silent_s=60.0, on_progress=lambda done, total: self.check())
        return await self._watch.report(self.fed)


def shop_events(seed: int) -> Iterable[Any]:
    """Return the endless events of the simulated shop."""
    return Shop(seed=seed, visitors=DEMO_VISITORS, start_ms=DEMO_START_MS).events()


@contextlib.asynccontextmanager
async def running_demo(config: Path) -> AsyncIterator[Demo]:
    """Start servers and worker; end them all with the block, whatever happens in it."""
    with contextlib.ExitStack() as stack:
        kafka, valkey = stack.enter_context(embedded_servers())
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="streamscore-demo-")))
        port = free_port()
        environment = {**os.environ, **_worker_variables(kafka, valkey, port)}
        settings = load_settings(config, environment)
        if settings.exactly_once:
            raise DemoFailed(
                "`delivery: exactly_once` needs Kafka's transactions, and the demo's embedded broker has none; "
                "use `delivery: at_least_once` here, and Apache Kafka for the other"
            )
        await create_topics(settings)
        worker = stack.enter_context(_worker_process(config, environment, folder / "worker.log"))
        demo = Demo(settings, worker, port, folder / "worker.log")
        await demo.wait_until_ready()
        yield demo


def _worker_variables(kafka: EmbeddedKafka, valkey: EmbeddedValkey, port: int) -> Mapping[str, str]:
    return {
        "STREAMSCORE_KAFKA_BOOTSTRAP_SERVERS": kafka.bootstrap_servers,
        "STREAMSCORE_KAFKA_SECURITY_PROTOCOL": "PLAINTEXT",
        # The embedded broker lets a first member wait for half of this.
        "STREAMSCORE_KAFKA_SESSION_TIMEOUT": "6s",
        "STREAMSCORE_KAFKA_HEARTBEAT": "1s",
        "STREAMSCORE_REDIS_URL": valkey.url,
        "STREAMSCORE_REDIS_CLUSTER": "false",
        "STREAMSCORE_WORKER_HTTP_HOST": "127.0.0.1",
        "STREAMSCORE_WORKER_HTTP_PORT": str(port),
        "STREAMSCORE_WORKER_SITE": "true",
        "STREAMSCORE_MODEL_KEY": os.environ.get("STREAMSCORE_MODEL_KEY") or secrets.token_hex(16),
    }


@contextlib.contextmanager
def _worker_process(config: Path, environment: Mapping[str, str], log: Path) -> Any:
    with log.open("wb") as sink:
        process = subprocess.Popen(
            [sys.executable, "-m", "streams.cli.main", "worker", "-c", str(config.resolve())],
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=sink,
            stderr=sink,
            start_new_session=True,
            preexec_fn=die_with_parent,
        )
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
