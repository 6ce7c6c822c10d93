"""streamscore beside its peers: the same events, broker and store, one process each, in turns; `make bench`.

    make bench ARGS="[--events 200000] [--rounds 3] [--systems NAME ...] [--json build/bench.json]"

Needs what the tests on Apache Kafka need (Java 17, Maven); without them it runs on the embedded broker, and says so.
How to read what comes out: benchmarks/README.md.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import yaml
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from kafka_cluster import KafkaCluster, KafkaUnavailable

from benchmarks.peers.pure_core import measure as measure_pure_core
from benchmarks.peers.workload import PARTITIONS, SCORING_YAML, events
from streams.embedded import EmbeddedKafka, EmbeddedValkey, die_with_parent, free_port

ROOT = Path(__file__).resolve().parent.parent
QUIX_ENVIRONMENT = ROOT / "build" / "quix"
SYSTEMS = ("streamscore", "typical_faust", "handwritten_loop", "quix_redis", "quix_stateless", "pure_core")
# The slow ones get a part of the events, or a round would take minutes.
SHARE = {"typical_faust": 0.05, "quix_redis": 0.1}
_SILENT_S = 90.0


class Servers(NamedTuple):
    """Where everything is."""

    kafka: str
    valkey: str
    broker: str


class Measured(NamedTuple):
    """One run of one system."""

    events_per_s: float
    cpu_s_per_million: float | None


class Failed(RuntimeError):
    """A system that did not do its work; the message holds the end of its log."""


@contextlib.contextmanager
def running_servers() -> Iterator[Servers]:
    """Run a broker and a store for the length of a block."""
    with contextlib.ExitStack() as stack:
        valkey = stack.enter_context(EmbeddedValkey())
        try:
            # All times are the broker's: a record's is the one at which it was appended.
            kafka = stack.enter_context(KafkaCluster(1, {"log.message.timestamp.type": "LogAppendTime"}))
            yield Servers(kafka.bootstrap_servers, valkey.url, "Apache Kafka")
        except KafkaUnavailable as error:
            print(f"on the embedded broker: {error}", file=sys.stderr)
            broker = stack.enter_context(EmbeddedKafka())
            yield Servers(broker.bootstrap_servers, valkey.url, "embedded")


async def create(servers: Servers, *topics: tuple[str, int]) -> None:
    """Create topics."""
    admin = AIOKafkaAdminClient(bootstrap_servers=servers.kafka)
    await admin.start()
    try:
        await admin.create_topics([NewTopic(name, partitions, 1) for name, partitions in topics])
    finally:
        await admin.close()


async def fill(servers: Servers, topic: str, count: int) -> None:
    """Write the events to their topic at full speed."""
    async with AIOKafkaProducer(bootstrap_servers=servers.kafka, max_batch_size=1 << 20) as producer:
        waiting: dict[int, list[tuple[bytes, bytes]]] = {number: [] for number in range(PARTITIONS)}

        async def send(number: int) -> None:
            batch = producer.create_batch()
            for key, value in waiting[number]:
                batch.append(key=key, value=value, timestamp=None)
            waiting[number].clear()
            await (await producer.send_batch(batch, topic, partition=number))

        for number, key, value in events(count):
            waiting[number].append((key, value))
            if len(waiting[number]) >= 500:
                await send(number)
        for number in waiting:
            if waiting[number]:
                await send(number)


def commands(servers: Servers, source: str, target: str, group: str) -> dict[str, list[str]]:
    """Return how each peer is started."""
    places = [servers.kafka, servers.valkey, source, target, group]
    quix = str(QUIX_ENVIRONMENT / "bin" / "python")
    return {
        "typical_faust": [sys.executable, "-m", "benchmarks.peers.typical_faust", *places],
        "handwritten_loop": [sys.executable, "-m", "benchmarks.peers.handwritten_loop", *places],
        "quix_redis": [quix, "-m", "benchmarks.peers.quix", *places, "redis"],
        "quix_stateless": [quix, "-m", "benchmarks.peers.quix", *places, "stateless"],
        "streamscore": [sys.executable, "-m", "streams.cli.main", "worker"],
    }


def scoring_environment(servers: Servers, folder: Path, source: str, target: str, group: str) -> dict[str, str]:
    """Write a configuration for a worker of ours; return the variables that lead it there."""
    declared = yaml.safe_load(SCORING_YAML)
    rest = {name: f"{group}.{name}" for name in ("examples", "models", "metrics", "dead")}
    declared["app"] = group
    declared["topics"] = {"events": source, "scores": target, **rest}
    config = folder / "scoring.yaml"
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


def cpu_seconds(pid: int) -> float | None:
    """Return what a process has used so far; None where there is no /proc."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def one_run(system: str, servers: Servers, source: str, count: int, name: str) -> Measured:
    """Let a system work off the first `count` events, or more, of a topic; measured by its output's times alone."""
    target = f"{name}.scores"
    ours = (
        [(f"{name}.{one}", 1) for one in ("examples", "models", "metrics", "dead")] if system == "streamscore" else []
    )
    await create(servers, (target, PARTITIONS), *ours)
    with tempfile.TemporaryDirectory() as folder, (Path(folder) / "log").open("wb") as log:
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        if system == "streamscore":
            environment |= scoring_environment(servers, Path(folder), source, target, name)
        process = subprocess.Popen(
            commands(servers, source, target, name)[system],
            env=environment,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            preexec_fn=die_with_parent,
        )
        try:
            return await _watched(process, servers, target, count)
        except Failed as failed:
            said = (Path(folder) / "log").read_text(errors="replace")[-2000:]
            raise Failed(f"{system}: {failed}\n{said}") from None
        finally:
            process.kill()
            process.wait()


async def _watched(process: subprocess.Popen[bytes], servers: Servers, target: str, count: int) -> Measured:
    places = [TopicPartition(target, number) for number in range(PARTITIONS)]
    consumer = AIOKafkaConsumer(bootstrap_servers=servers.kafka, fetch_max_wait_ms=20)
    async with consumer:
        consumer.assign(places)
        began: tuple[int, float | None] | None = None
        seen, moved = 0, time.monotonic()
        while seen < count:
            await asyncio.sleep(0.1)
            ends = await consumer.end_offsets(places)
            if sum(ends.values()) > seen:
                seen, moved = sum(ends.values()), time.monotonic()
                began = began or (seen, cpu_seconds(process.pid))
            if process.poll() is not None or time.monotonic() - moved > _SILENT_S:
                raise Failed(f"{seen} of {count} scores were published")
        cpu_s = cpu_seconds(process.pid)
        ranges = [(tp, offset) for tp, end in ends.items() if end for offset in (0, end - 1)]
        times = [await _time_at(consumer, *place) for place in ranges]
    assert began is not None
    used = None if cpu_s is None or began[1] is None else (cpu_s - began[1]) / (seen - began[0]) * 1e6
    return Measured(seen / (max(times) - min(times)) * 1000, used)


async def _time_at(consumer: AIOKafkaConsumer, tp: TopicPartition, offset: int) -> int:
    consumer.seek(tp, offset)
    async with asyncio.timeout(_SILENT_S):
        return int((await consumer.getone(tp)).timestamp)


def prepared_peers() -> dict[str, str]:
    """Install what is not among our own dependencies; return what could not be, and why."""
    python = QUIX_ENVIRONMENT / "bin" / "python"
    try:
        if not (QUIX_ENVIRONMENT / ".done").exists():
            subprocess.run([sys.executable, "-m", "venv", "--clear", str(QUIX_ENVIRONMENT)], check=True)
            wanted = ["-r", str(ROOT / "benchmarks" / "peers" / "requirements-quix.txt")]
            subprocess.run([str(python), "-m", "pip", "install", "--quiet", *wanted], check=True)
            (QUIX_ENVIRONMENT / ".done").touch()
    except (subprocess.CalledProcessError, OSError) as error:
        return dict.fromkeys(("quix_redis", "quix_stateless"), f"Quix Streams could not be installed: {error}")
    return {}


async def measured(given: argparse.Namespace) -> dict[str, Any]:
    """Run all systems in turns and sum up."""
    left_out = prepared_peers() if any(one.startswith("quix") for one in given.systems) else {}
    found: dict[str, list[Measured]] = {one: [] for one in given.systems}
    with running_servers() as servers:
        await create(servers, ("bench.events", PARTITIONS))
        await fill(servers, "bench.events", given.events)
        for number in range(given.rounds):
            for system in given.systems:
                if system in left_out:
                    continue
                count = int(given.events * SHARE.get(system, 1.0))
                try:
                    if system == "pure_core":
                        result = Measured(*await asyncio.to_thread(measure_pure_core, count))
                    else:
                        result = await one_run(system, servers, "bench.events", count, f"{system}-{number}")
                except Failed as failed:
                    left_out[system] = str(failed)
                    print(f"{system}: left out: {failed}", file=sys.stderr, flush=True)
                    continue
                found[system].append(result)
                used = result.cpu_s_per_million
                cpu = "" if used is None else f"   {used:7.1f} us of CPU time an event"
                print(f"round {number + 1}  {system:17}{result.events_per_s:10,.0f} events/s{cpu}", flush=True)
        return summed_up(found, left_out, servers.broker)


def summed_up(found: dict[str, list[Measured]], left_out: dict[str, str], broker: str) -> dict[str, Any]:
    """Return medians, spreads, and our ratio to each of the others."""
    systems = {}
    for name, runs in found.items():
        if runs and name not in left_out:
            rates = [one.events_per_s for one in runs]
            used = [one.cpu_s_per_million for one in runs if one.cpu_s_per_million is not None]
            systems[name] = {
                "events_per_s": round(median(rates)),
                "spread": [round(min(rates)), round(max(rates))],
                "cpu_s_per_million": round(median(used), 1) if used else None,
            }
    ours = systems.get("streamscore")
    ratios = {
        f"streamscore/{name}": round(ours["events_per_s"] / one["events_per_s"], 3)
        for name, one in systems.items()
        if ours and name != "streamscore"
    }
    return {"broker": broker, "systems": systems, "ratios": ratios, "left_out": left_out}


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=200_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--systems", nargs="+", choices=SYSTEMS, default=list(SYSTEMS))
    parser.add_argument("--json", type=Path, default=ROOT / "build" / "bench.json")
    given = parser.parse_args()
    result = asyncio.run(measured(given))
    given.json.parent.mkdir(parents=True, exist_ok=True)
    given.json.write_text(json.dumps(result, indent=2) + "\n")
    for name, one in result["systems"].items():
        low, high = one["spread"]
        print(f"{name:17}{one['events_per_s']:10,} events/s  ({low:,} to {high:,})")
    for name, ratio in result["ratios"].items():
        print(f"{name:34}{ratio:8.2f}")
    print(f"written: {given.json}")


if __name__ == "__main__":
    main()
