"""A broker, a store, a topic of events, and processes that work on it; what the benchmarks have in common."""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from kafka_cluster import QUICKLY_COMPILED, USUAL_HEAP, KafkaCluster, KafkaUnavailable

from benchmarks.peers.workload import PARTITIONS, SCORING_YAML
from streams.embedded import EmbeddedKafka, EmbeddedValkey, die_with_parent, free_port

ROOT = Path(__file__).resolve().parent.parent
SILENT_S = 90.0
OTHER_TOPICS = ("examples", "models", "metrics", "dead")


class Servers(NamedTuple):
    """Where everything is."""

    kafka: str
    valkey: str
    broker: str


class Failed(RuntimeError):
    """A system that did not do its work; the message holds the end of its log."""


@contextlib.contextmanager
def running_servers(*, short_lived: bool = False) -> Iterator[Servers]:
    """Run a broker and a store for the length of a block.

    Parameters
    ----------
    short_lived
        The broker compiles itself quickly, not well.
    """
    with contextlib.ExitStack() as stack:
        valkey = stack.enter_context(EmbeddedValkey())
        try:
            # All times are the broker's: a record's is the one at which it was appended.
            jvm = (*USUAL_HEAP, QUICKLY_COMPILED) if short_lived else USUAL_HEAP
            kafka = stack.enter_context(KafkaCluster(1, {"log.message.timestamp.type": "LogAppendTime"}, jvm=jvm))
            yield Servers(kafka.bootstrap_servers, valkey.url, "Apache Kafka")
        except KafkaUnavailable as error:
            print(f"on the embedded broker: {error}", file=sys.stderr)
            broker = stack.enter_context(EmbeddedKafka())
            yield Servers(broker.bootstrap_servers, valkey.url, "embedded")


async def create(servers: Servers, *topics: tuple[str, int]) -> None:
    """Create topics, by name and number of partitions."""
    admin = AIOKafkaAdminClient(bootstrap_servers=servers.kafka)
    await admin.start()
    try:
        await admin.create_topics([NewTopic(name, partitions, 1) for name, partitions in topics])
    finally:
        await admin.close()


async def create_ours(servers: Servers, app: str) -> None:
    """Create the topics that an app of ours writes to."""
    await create(servers, (f"{app}.scores", PARTITIONS), *((f"{app}.{one}", 1) for one in OTHER_TOPICS))


async def fill(servers: Servers, topic: str, records: Mapping[int, Sequence[tuple[bytes, bytes]]]) -> None:
    """Write records (key, value) to the partitions of a topic at full speed."""
    async with AIOKafkaProducer(bootstrap_servers=servers.kafka, max_batch_size=1 << 20) as producer:
        longest = max(map(len, records.values()))
        for first in range(0, longest, 500):
            for number, those in records.items():
                await send(producer, topic, number, those[first : first + 500])


async def send(producer: AIOKafkaProducer, topic: str, partition: int, records: Sequence[tuple[bytes, bytes]]) -> None:
    """Send records to a partition in one batch, and wait until it is acknowledged."""
    if not records:  # of a partition that has fewer than the others
        return
    batch = producer.create_batch()
    for key, value in records:
        batch.append(key=key, value=value, timestamp=None)
    await (await producer.send_batch(batch, topic, partition=partition))


def our_environment(
    servers: Servers, folder: Path, source: str, app: str, role: str, *, window: str = "", **worker: Any
) -> dict[str, str]:
    """Write a configuration for a worker of ours; return the variables that lead it there."""
    declared = yaml.safe_load(SCORING_YAML)
    if window:
        declared["objectives"]["click"]["window"] = window
    declared["app"] = app
    declared["topics"] = {"events": source, "scores": f"{app}.scores"} | {one: f"{app}.{one}" for one in OTHER_TOPICS}
    declared["worker"] = {"role": role, **worker}
    config = folder / f"{role}.yaml"
    config.write_text(yaml.safe_dump(declared, sort_keys=False))
    return {
        "STREAMSCORE_CONFIG": str(config),
        "STREAMSCORE_KAFKA_BOOTSTRAP_SERVERS": servers.kafka,
        "STREAMSCORE_KAFKA_SESSION_TIMEOUT": "6s",
        "STREAMSCORE_KAFKA_HEARTBEAT": "1s",
        "STREAMSCORE_REDIS_URL": servers.valkey,
        "STREAMSCORE_WORKER_IDLE_TICK": "1h",
        "STREAMSCORE_WORKER_HTTP_PORT": str(free_port()),
    }


class Process:
    """A process under measurement; ends with the block. `root` is where it finds our packages."""

    def __init__(
        self, command: Sequence[str], environment: Mapping[str, str], folder: Path, *, root: Path = ROOT
    ) -> None:
        self._log = folder / f"log-{free_port()}"
        self.started = time.time()
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                command,
                env={**os.environ, "PYTHONPATH": str(root), **environment},
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                preexec_fn=die_with_parent,
            )

    @property
    def ended(self) -> bool:
        """Whether it has ended."""
        return self._process.poll() is not None

    @property
    def last_words(self) -> str:
        """The end of its log."""
        return self._log.read_text(errors="replace")[-2000:]

    def cpu_s(self) -> float | None:
        """Return the processor time that it has used so far; None where there is no /proc."""
        try:
            fields = Path(f"/proc/{self._process.pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            return None
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def highest_rss_mib(self) -> float | None:
        """Return the most memory that was resident; None where there is no /proc."""
        try:
            status = Path(f"/proc/{self._process.pid}/status").read_text()
        except OSError:
            return None
        return int(status.partition("VmHWM:")[2].split()[0]) / 1024

    def kill(self) -> None:
        """End it at once."""
        self._process.kill()
        self._process.wait()


@contextlib.contextmanager
def our_workers(
    servers: Servers, source: str, app: str, roles: Sequence[str], *, root: Path = ROOT, **options: Any
) -> Iterator[list[Process]]:
    """Run workers of these roles for the length of a block; their topics are there already."""
    command = [sys.executable, "-m", "streams.cli.main", "worker"]
    with tempfile.TemporaryDirectory() as folder:
        processes: list[Process] = []
        try:
            for role in roles:
                environment = our_environment(servers, Path(folder), source, app, role, **options)
                processes.append(Process(command, environment, Path(folder), root=root))
            yield processes
        finally:
            for process in processes:
                process.kill()


class Watched(NamedTuple):
    """What the output of a run says: scores a second, first append (s since the epoch), CPU seconds by process."""

    per_s: float
    first_s: float
    cpu_s_per_million: list[float] | None

    @property
    def first_cpu(self) -> float | None:
        """CPU seconds for a million of the first process."""
        return self.cpu_s_per_million[0] if self.cpu_s_per_million else None


async def watched(processes: Sequence[Process], servers: Servers, target: str, count: int) -> Watched:
    """Wait until `count` records are on a topic; measured by the times of their appends."""
    places = [TopicPartition(target, number) for number in range(PARTITIONS)]
    embedded = servers.broker == "embedded"  # its end offsets count batches
    async with _assigned(servers, places) as consumer:
        began: tuple[int, list[float | None]] | None = None
        seen, moved = 0, time.monotonic()
        while seen < count:
            await asyncio.sleep(0.1)
            if embedded:
                there = len(await all_records(servers, target, PARTITIONS))
            else:
                ends = await consumer.end_offsets(places)
                there = sum(ends.values())
            if there > seen:
                seen, moved = there, time.monotonic()
                began = began or (seen, [one.cpu_s() for one in processes])
            if any(one.ended for one in processes) or time.monotonic() - moved > SILENT_S:
                raise Failed(f"{seen} of {count} scores were published\n{processes[0].last_words}")
        used = [one.cpu_s() for one in processes]
        if embedded:
            times = [one.timestamp for one in await all_records(servers, target, PARTITIONS)]
        else:
            ranges = [(tp, offset) for tp, end in ends.items() if end for offset in (0, end - 1)]
            times = [await _time_at(consumer, *place) for place in ranges]
    assert began is not None
    cpu = None
    if None not in used and None not in began[1] and seen > began[0]:
        cpu = [(now - then) / (seen - began[0]) * 1e6 for now, then in zip(used, began[1], strict=True)]  # type: ignore[operator]
    return Watched(seen / max(max(times) - min(times), 1) * 1000, min(times) / 1000, cpu)


@contextlib.asynccontextmanager
async def _assigned(servers: Servers, places: Sequence[TopicPartition]) -> AsyncIterator[AIOKafkaConsumer]:
    async with AIOKafkaConsumer(bootstrap_servers=servers.kafka, fetch_max_wait_ms=20) as consumer:
        consumer.assign(list(places))
        yield consumer


async def _time_at(consumer: AIOKafkaConsumer, tp: TopicPartition, offset: int) -> int:
    consumer.seek(tp, offset)
    async with asyncio.timeout(SILENT_S):
        return int((await consumer.getone(tp)).timestamp)


async def all_records(servers: Servers, topic: str, partitions: int) -> list[Any]:
    """Return every record of a topic."""
    places = [TopicPartition(topic, number) for number in range(partitions)]
    found: list[Any] = []
    async with _assigned(servers, places) as consumer:
        ends = await consumer.end_offsets(places)
        for tp, start in (await consumer.beginning_offsets(places)).items():
            consumer.seek(tp, start)
        async with asyncio.timeout(SILENT_S):
            while any([await consumer.position(tp) < end for tp, end in ends.items()]):
                for records in (await consumer.getmany(timeout_ms=200)).values():
                    found += records
    return found
