"""A deployment that is fed a known stream while it is broken: one broker, one store, workers, a feed, a supervisor."""

from __future__ import annotations

import asyncio
import contextlib
import math
import os
import signal
import subprocess
import tempfile
import time
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator
from itertools import zip_longest
from pathlib import Path
from random import Random
from typing import Any, Literal

import redis
import yaml
from aiokafka import AIOKafkaProducer
from kafka_cluster import KafkaCluster
from site_under_test import Site

from faults.oracle import Verdict, judge, read_topic
from schemas.codec import decode_example, decode_score
from streams.admin import create_topics
from streams.embedded import EmbeddedKafka, EmbeddedValkey
from streams.feed import PRODUCER_OPTIONS, FeedResult, feed
from streams.learner import checkpoint_name
from streams.new_models import new_cores
from streams.stores import PartitionId, Unavailable, open_store

Delivery = Literal["at_least_once", "exactly_once"]

# Between two looks at a process or a store.
_LOOK_S = 0.1
_CAUGHT_UP_S = 180.0
# Longer than the learner takes for an example that has just been published, and for its next version.
_LEARNED_S = 3.0
_ENDS_S = 30.0


class Stuck(RuntimeError):
    """The deployment did not catch up."""


class SavingValkey(EmbeddedValkey):
    """A Valkey that begins with what it was last told to save."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self._folder = folder

    def arguments(self) -> list[str]:
        return [*super().arguments(), "--dir", str(self._folder)]

    def forget(self) -> None:
        """Let it begin with nothing."""
        for copy in self._folder.glob("*.rdb"):
            copy.unlink()


class Trial:
    """One run of one breakage.

    Parameters
    ----------
    delivery, session_s
        As configured.
    stream
        Events without end, in the order to be fed.
    rate
        Events a second.

    Attributes
    ----------
    since_ms
        Moments from which the recovery is counted, epoch ms.
    """

    def __init__(
        self,
        bootstrap_servers: str,
        stream: Callable[[], Iterable[Any]],
        *,
        broker: EmbeddedKafka | KafkaCluster | None = None,
        name: str,
        seed: int,
        delivery: Delivery = "at_least_once",
        rate: float = 200.0,
        session_s: int = 6,
        replication: int = 1,
        variables: dict[str, str] | None = None,
    ) -> None:
        self.chance = Random(seed)
        self.since_ms: list[int] = []
        self.session_s = session_s
        self._broker = broker
        self._folder = tempfile.TemporaryDirectory(prefix="streamscore-fault-")
        self.folder = Path(self._folder.name)
        self.valkey = SavingValkey(self.folder)
        self.valkey.start()
        self.site = Site(self.folder, "shop", bootstrap_servers, self.valkey.url, name)
        self._replication = replication
        self.site.environment |= {
            "STREAMSCORE_DELIVERY": delivery,
            "STREAMSCORE_KAFKA_SESSION_TIMEOUT": f"{session_s}s",
            "STREAMSCORE_KAFKA_HEARTBEAT": f"{max(1, session_s // 5)}s",
            "STREAMSCORE_LEARNING_CHECKPOINT_INTERVAL": "2s",
            "STREAMSCORE_REDIS_TIMEOUT": "2s",
            **(variables or {}),
        }
        self._stream = stream
        self._rate = rate
        self._taken: list[str] = []
        self._appended_and_scored_ms: list[tuple[int, int]] = []
        self.restarts = 0

    # ---------------------------------------------------------------- the run

    def run(self, break_it: Callable[[Trial], None]) -> Verdict:
        """Feed, break, wait until all is caught up, and judge."""
        try:
            self._replicate()
            return asyncio.run(self._run(break_it))
        finally:
            self.site.end()
            self.valkey.stop()
            self._folder.cleanup()

    def _replicate(self) -> None:
        if self._replication > 1:
            declared = yaml.safe_load(self.site.config.read_text())
            declared["topics"] = {
                key: {"name": name, "replication": self._replication} for key, name in declared["topics"].items()
            }
            self.site.config.write_text(yaml.safe_dump(declared, sort_keys=False))
        self.site.reload()

    async def _run(self, break_it: Callable[[Trial], None]) -> Verdict:
        await create_topics(self.site.settings)
        await asyncio.to_thread(self.site.start_worker)
        stop = asyncio.Event()
        feeding = asyncio.create_task(self._feed(stop))
        try:
            await asyncio.to_thread(self.wait_for_scores)
            await asyncio.to_thread(break_it, self)
            await asyncio.sleep(1.0)
        finally:
            stop.set()
            fed = await feeding
        await self._catch_up(fed)
        verdict = await self.judged([one for one in self._taken[: fed.events] if one])
        scores = await read_topic(self.site.settings, self.site.settings.topics.scores.name)
        read = [(decode_score(one.value).source_ts, one.timestamp) for some in scores.values() for one in some]
        self._appended_and_scored_ms = sorted(read)
        return verdict

    async def judged(self, fed_ids: list[str]) -> Verdict:
        """Compare what is there with what should be."""
        return await judge(self.site.settings, fed_ids)

    async def _feed(self, stop: asyncio.Event) -> FeedResult:
        options = {**self.site.settings.kafka.client_kwargs(), **PRODUCER_OPTIONS, "request_timeout_ms": 10_000}
        async with AIOKafkaProducer(**options) as producer:
            return await feed(
                self._noted(), producer, self.site.settings.topics.events.name, rate=self._rate, stop=stop
            )

    def _noted(self) -> Iterator[Any]:
        """Hand the stream on, and note it; `feed` reads ahead of what it delivers."""
        for item in self._stream():
            self._taken.append(getattr(item, "event_id", ""))
            yield item

    async def _catch_up(self, fed: FeedResult) -> None:
        """Wait, as a supervisor who starts again what has ended, until the log is worked off; then end in order."""
        await self._stored_up_to({number: end for number, (_, end) in fed.ranges.items()})
        for _ in range(3):
            await asyncio.sleep(_LEARNED_S)
            await asyncio.to_thread(self.end_workers)
            if await self._learned_all():
                return
            await asyncio.to_thread(self.site.start_worker)

    async def _stored_up_to(self, ends: dict[int, int]) -> None:
        topic = self.site.settings.topics.events.name
        store = open_store(self.site.settings)
        deadline = time.monotonic() + _CAUGHT_UP_S
        try:
            while True:
                await asyncio.to_thread(self.supervise)
                behind = []
                for number, end in ends.items():
                    with contextlib.suppress(Unavailable):
                        record = await store.load_partition(PartitionId(topic, number))
                        if record is None or record.next_offset < end:
                            behind.append((number, record.next_offset if record else None, end))
                if not behind:
                    return
                if time.monotonic() > deadline:
                    raise Stuck(f"(partition, stored, end): {behind}\n{self.site.logs()}")
                await asyncio.sleep(_LOOK_S)
        finally:
            await store.close()

    async def _learned_all(self) -> bool:
        """Whether the checkpoints reach the last examples."""
        settings = self.site.settings
        last: dict[str, int] = {}
        for records in (await read_topic(settings, settings.topics.examples.name)).values():
            for record in records:
                last[decode_example(record.value).objective] = record.offset + 1
        store = open_store(settings)
        try:
            for core in new_cores(settings.objectives, settings):
                found = await store.load_blob(checkpoint_name(settings, core.objective))
                if last.get(core.objective) and (found is None or not core.restore(found[0])):
                    return False
                if core.next_offset < last.get(core.objective, 0):
                    return False
        finally:
            await store.close()
        return True

    # ---------------------------------------------------------------- what breakages are made of

    @property
    def worker(self) -> subprocess.Popen[bytes]:
        """The worker that was started last."""
        return self.site.workers[-1]

    def running(self) -> list[subprocess.Popen[bytes]]:
        return [one for one in self.site.workers if one.poll() is None]

    def mark(self) -> None:
        """Count the recovery from now."""
        self.since_ms.append(time.time_ns() // 1_000_000)

    def rest(self, least_s: float, most_s: float) -> None:
        """Let it run for a random time."""
        time.sleep(self.chance.uniform(least_s, most_s))

    def kill(self, signal_: int = signal.SIGKILL) -> None:
        """End the latest worker and wait for its end."""
        self.worker.send_signal(signal_)
        self.worker.wait(_ENDS_S)

    def start(self) -> None:
        """Start a worker and wait until it is ready."""
        self.site.start_worker()

    def let_die_at(self, failpoint: str, within_s: float = 60.0) -> None:
        """Start a worker that is killed when it comes to a place, which can be before it says that it is ready."""
        before = self.site.environment
        self.site.environment = {**before, "STREAMSCORE_FAILPOINT": failpoint}
        try:
            worker = self.site.launch_worker()
        finally:
            self.site.environment = before
        assert worker.wait(within_s) == -signal.SIGKILL, self.site.logs()

    def supervise(self) -> None:
        """Start a worker if none runs."""
        if not self.running():
            self.restarts += 1
            self.site.start_worker()

    def end_workers(self) -> None:
        """End all workers in order."""
        for one in self.running():
            one.send_signal(signal.SIGTERM)
        for one in self.site.workers:
            one.wait(_ENDS_S)

    def wait_for_scores(self, within_s: float = 60.0) -> None:
        """Wait until some events have been scored and learned from."""
        end = time.monotonic() + within_s
        while '"learned": 0' in (status := self.site.get("/status")[1]) or '"learned":0' in status or not status:
            if time.monotonic() > end:
                raise Stuck(f"no example was learned within {within_s:.0f} s\n{self.site.logs()}")
            time.sleep(_LOOK_S)

    @property
    def cluster(self) -> KafkaCluster:
        """The Apache Kafka of this trial alone."""
        assert isinstance(self._broker, KafkaCluster)
        return self._broker

    def broker_pid(self) -> int:
        """Process id of the broker of this trial alone."""
        pid = self._broker.pid(0) if isinstance(self._broker, KafkaCluster) else self._broker and self._broker.pid
        assert pid
        return pid

    def redis(self) -> redis.Redis:
        """Return a client of the store."""
        return redis.Redis(port=self.valkey.port, socket_timeout=5)

    def recoveries_s(self) -> list[float]:
        """Return, for each marked moment, the seconds until an event that came after it was scored.

        Moments that another one followed before that are left out: their recovery was cut off.
        """
        found = []
        for since, following in zip_longest(self.since_ms, self.since_ms[1:], fillvalue=math.inf):
            later = self._appended_and_scored_ms[bisect_right(self._appended_and_scored_ms, (since, math.inf)) :]
            scored = min((scored for _, scored in later), default=math.inf)
            if scored <= following:
                found.append((scored - since) / 1000)
        return found


def stopped(pid: int) -> contextlib.AbstractContextManager[None]:
    """Hold a process up for the length of a block."""

    @contextlib.contextmanager
    def held() -> Iterator[None]:
        os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(pid, signal.SIGCONT)

    return held()
