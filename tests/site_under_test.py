"""A deployment under test: topics and a store of its own on shared servers, and the workers that run on them."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import os
import re
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml
from aiokafka import AIOKafkaProducer

from schemas.events import Candidate, Click, EventBase, Impression, RankRequest
from streams.admin import create_topics
from streams.configs import shipped_config
from streams.embedded import free_port
from streams.feed import PRODUCER_OPTIONS, FeedResult, feed
from streams.settings import Settings, load_settings
from streams.simulate import Shop
from streams.watch import Watch

READY_S = 40


class Site:
    """Topics and a store of its own on shared servers, and the workers that run on them."""

    def __init__(
        self, folder: Path, config: str, bootstrap_servers: str, redis_url: str, name: str, **sections: Any
    ) -> None:
        declared = yaml.safe_load(shipped_config(config).read_text()) | sections
        declared["app"] = name
        declared["topics"] = {
            topic: f"{name}.{topic}"
            for topic in ("events", "scores", "bids", "campaigns", "examples", "models", "metrics", "dead")
        }
        self.folder = folder
        self.config = folder / "scoring.yaml"
        self.config.write_text(yaml.safe_dump(declared, sort_keys=False))
        self.environment = {
            **os.environ,
            "STREAMSCORE_CONFIG": str(self.config),
            "STREAMSCORE_KAFKA_BOOTSTRAP_SERVERS": bootstrap_servers,
            "STREAMSCORE_KAFKA_SESSION_TIMEOUT": "6s",
            "STREAMSCORE_KAFKA_HEARTBEAT": "1s",
            "STREAMSCORE_REDIS_URL": redis_url,
            "STREAMSCORE_WORKER_IDLE_TICK": "1h",
        }
        self.environment.pop("STREAMSCORE_REQUIRE_KAFKA", None)
        self.reload()
        self.workers: list[subprocess.Popen[bytes]] = []
        self.port = 0

    def reload(self) -> None:
        """Read the configuration and the variables anew."""
        self.settings: Settings = load_settings(self.config, self.environment)

    def start_worker(self) -> subprocess.Popen[bytes]:
        """Start a worker and wait until it is ready."""
        worker = self.launch_worker()
        self.await_ready()
        return worker

    def await_ready(self) -> None:
        """Wait until the latest worker is ready."""
        end = time.monotonic() + READY_S
        while self.get("/readyz")[0] != 200:
            assert self.workers[-1].poll() is None, self.logs()
            assert time.monotonic() < end, self.logs()
            time.sleep(0.1)

    def launch_worker(self) -> subprocess.Popen[bytes]:
        """Start a worker, and do not wait for it."""
        self.port = free_port()
        with (self.folder / f"worker-{len(self.workers)}.log").open("wb") as log:
            worker = subprocess.Popen(
                [sys.executable, "-m", "streams.cli.main", "worker"],
                env={**self.environment, "STREAMSCORE_WORKER_HTTP_PORT": str(self.port)},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        self.workers.append(worker)
        return worker

    def get(self, path: str) -> tuple[int, str]:
        """Ask the latest worker's web server; status 0 while it does not answer."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=5) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()
        except OSError:
            return 0, ""

    def exported(self, name: str, **labels: str) -> float:
        """Return the sum of a metric's series that carry these labels; -1 when there are none."""
        wanted = [f'{key}="{value}"' for key, value in labels.items()]
        lines = re.findall(rf"^streamscore_{name}({{.*}}) (\S+)$", self.get("/metrics")[1], re.MULTILINE)
        found = [float(value) for series, value in lines if all(one in series for one in wanted)]
        return sum(found) if found else -1.0

    def post(self, path: str, body: Any) -> bytes:
        """Send JSON to the latest worker's web server; return what it answers, if that is no error."""
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}", json.dumps(body).encode())
        with urllib.request.urlopen(request, timeout=10) as answer:
            return bytes(answer.read())

    def logs(self) -> str:
        return "\n".join(path.read_text()[-4000:] for path in sorted(self.folder.glob("worker-*.log")))

    def command(self, *words: str, within_s: float = 120) -> subprocess.CompletedProcess[str]:
        """Run a command of ours to its end."""
        return subprocess.run(
            [sys.executable, "-m", "streams.cli.main", *words],
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=within_s,
            check=False,
        )

    async def feed(self, items: Any) -> FeedResult:
        options = {**self.settings.kafka.client_kwargs(), **PRODUCER_OPTIONS}
        async with AIOKafkaProducer(**options) as producer:
            return await feed(items, producer, self.settings.topics.events.name)

    def end(self) -> None:
        for worker in self.workers:
            if worker.poll() is None:
                worker.kill()
            worker.wait()


@contextlib.contextmanager
def working_site(
    folder: Path,
    bootstrap_servers: str,
    redis_url: str,
    events: Iterable[Any],
    sections: Mapping[str, Any] | None = None,
    **variables: str,
) -> Iterator[Site]:
    """Run a shop with one worker that has worked off these events, for the length of a block.

    Parameters
    ----------
    sections
        Of the configuration, in place of the shipped ones.
    """
    site = Site(folder, "shop", bootstrap_servers, redis_url, f"working-{folder.name}", **(sections or {}))
    site.environment |= variables
    asyncio.run(create_topics(site.settings))
    try:
        site.start_worker()
        report = asyncio.run(fed_and_accounted(site, events))
        assert report["unaccounted"] == 0
        yield site
    finally:
        site.end()


def shop_events(count: int) -> Iterator[Any]:
    return itertools.islice(Shop(seed=5, visitors=120).events(), count)


def asking(events: Iterable[EventBase], *, every: int = 10) -> Iterator[EventBase]:
    """Put a rank request before every so many events, if it is an impression, and a click on its last candidate.

    Every third request brings no candidates: they come from the sources.
    """
    seen: dict[str, Candidate] = {}
    for number, event in enumerate(events):
        if isinstance(event, Impression):
            seen[event.item_id] = Candidate(item_id=event.item_id, category=event.category, price=event.price)
            if number % every == 0 and len(seen) > 8:
                who: dict[str, Any] = {"user_id": event.user_id, "session_id": event.session_id, "ts": event.ts}
                candidates: list[str | Candidate] = [*list(seen.values())[-7:], "unheard-of"]
                brought = candidates if number % (3 * every) else []
                yield RankRequest(event_id=f"ask-{number}", candidates=brought, device=event.device, **who)
                yield Click(event_id=f"take-{number}", item_id=list(seen)[-1], **who)
        yield event


async def fed_and_accounted(site: Site, items: Any, meanwhile: Callable[[], None] = lambda: None) -> dict[str, Any]:
    watch = Watch(site.settings)
    await watch.start()
    fed = await site.feed(items)
    meanwhile()
    await watch.wait(fed, silent_s=45)
    return await watch.report(fed)
