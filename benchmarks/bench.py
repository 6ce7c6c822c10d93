"""streamscore beside its peers: the same events, broker and store, one process each, in turns; `make bench`.

    make bench ARGS="[--events 200000] [--rounds 3] [--systems NAME ...] [--only peers|alone] [--json build/bench.json]"

Needs what the tests on Apache Kafka need (Java 17, Maven); without them it runs on the embedded broker, and says so.
How to read what comes out: benchmarks/README.md.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import subprocess
import sys
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

from benchmarks import alone
from benchmarks.deployment import (
    ROOT,
    Failed,
    Process,
    Servers,
    create,
    create_ours,
    fill,
    our_workers,
    running_servers,
    watched,
)
from benchmarks.peers.pure_core import measure as measure_pure_core
from benchmarks.peers.workload import PARTITIONS, by_partition

QUIX_ENVIRONMENT = ROOT / "build" / "quix"
# Roles of the processes; the first one is measured.
OURS = {"streamscore": ("scoring", "learning"), "streamscore_learning": ("all",)}
IN_MEMORY = {"pure_core": False, "pure_core_learning": True}
SYSTEMS = (
    "streamscore",
    "streamscore_learning",
    "typical_faust",
    "handwritten_loop",
    "quix_redis",
    "quix_stateless",
    "pure_core",
    "pure_core_learning",
)
# What each system of ours is held against.
COMPARED = {
    "streamscore": ("typical_faust", "handwritten_loop", "quix_redis", "quix_stateless", "pure_core"),
    "streamscore_learning": ("typical_faust", "handwritten_loop", "quix_redis", "quix_stateless", "pure_core_learning"),
}
# The slow ones get a part of the events, or a round would take minutes.
SHARE = {"typical_faust": 0.05, "quix_redis": 0.1}


class Measured(NamedTuple):
    """One run of one system."""

    events_per_s: float
    cpu_s_per_million: float | None
    start_s: float | None = None


def commands(servers: Servers, source: str, target: str, group: str) -> dict[str, list[str]]:
    """Return how each peer is started."""
    places = [servers.kafka, servers.valkey, source, target, group]
    quix = str(QUIX_ENVIRONMENT / "bin" / "python")
    return {
        "typical_faust": [sys.executable, "-m", "benchmarks.peers.typical_faust", *places],
        "handwritten_loop": [sys.executable, "-m", "benchmarks.peers.handwritten_loop", *places],
        "quix_redis": [quix, "-m", "benchmarks.peers.quix", *places, "redis"],
        "quix_stateless": [quix, "-m", "benchmarks.peers.quix", *places, "stateless"],
    }


async def one_run(system: str, servers: Servers, source: str, count: int, name: str) -> Measured:
    """Let a system work off the first `count` events, or more, of a topic."""
    target = f"{name}.scores"
    if system in OURS:
        await create_ours(servers, name)
        with our_workers(servers, source, name, OURS[system]) as processes:
            found = await watched(processes[:1], servers, target, count)
            return Measured(found.per_s, found.first_cpu, found.first_s - processes[0].started)
    await create(servers, (target, PARTITIONS))
    with tempfile.TemporaryDirectory() as folder:
        process = Process(commands(servers, source, target, name)[system], {}, Path(folder))
        try:
            found = await watched([process], servers, target, count)
        finally:
            process.kill()
    return Measured(found.per_s, found.first_cpu)


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


async def beside_peers(given: argparse.Namespace, servers: Servers, left_out: dict[str, str]) -> dict[str, Any]:
    """Run all systems in turns; return medians, spreads, and our ratios to the others."""
    if any(one.startswith("quix") for one in given.systems):
        left_out |= prepared_peers()
    found: dict[str, list[Measured]] = {one: [] for one in given.systems}
    await create(servers, ("bench.events", PARTITIONS))
    await fill(servers, "bench.events", by_partition(given.events))
    for number in range(given.rounds):
        for system in given.systems:
            if system in left_out:
                continue
            count = int(given.events * SHARE.get(system, 1.0))
            try:
                if system in IN_MEMORY:
                    rate, cpu_us = await asyncio.to_thread(measure_pure_core, count, learning=IN_MEMORY[system])
                    result = Measured(rate, cpu_us)
                else:
                    result = await one_run(system, servers, "bench.events", count, f"{system}-{number}")
            except Failed as failed:
                _leave_out(left_out, system, failed)
                continue
            found[system].append(result)
            used = result.cpu_s_per_million
            cpu = "" if used is None else f"   {used:7.1f} us of CPU time an event"
            print(f"round {number + 1}  {system:20}{result.events_per_s:10,.0f} events/s{cpu}", flush=True)
    return summed_up({name: runs for name, runs in found.items() if name not in left_out})


def _leave_out(left_out: dict[str, str], name: str, why: Failed) -> None:
    left_out[name] = str(why)
    print(f"{name}: left out: {why}", file=sys.stderr, flush=True)


def summed_up(found: dict[str, list[Measured]]) -> dict[str, Any]:
    """Return medians and spreads of the runs, our ratios, and how long our workers took to start."""
    systems: dict[str, dict[str, Any]] = {}
    for name, runs in found.items():
        if runs:
            rates = [one.events_per_s for one in runs]
            used = [one.cpu_s_per_million for one in runs if one.cpu_s_per_million is not None]
            systems[name] = {
                "events_per_s": round(median(rates)),
                "spread": [round(min(rates)), round(max(rates))],
                "cpu_s_per_million": round(median(used), 1) if used else None,
            }
    ratios = {
        f"{ours}/{name}": round(systems[ours]["events_per_s"] / systems[name]["events_per_s"], 3)
        for ours, others in COMPARED.items()
        for name in others
        if ours in systems and name in systems
    }
    starts = [one.start_s for runs in found.values() for one in runs if one.start_s is not None]
    return {
        "systems": systems,
        "ratios": ratios,
        "start_to_first_score_s": round(median(starts), 2) if starts else None,
    }


async def by_itself(
    given: argparse.Namespace, servers: Servers, left_out: dict[str, str], rate: float
) -> dict[str, Any]:
    """Measure what has no peer; a round of each that differs from run to run, and the median of them."""
    found: dict[str, Any] = {}

    async def note(name: str, measure: Callable[[int], Awaitable[Any]], rounds: int = 1) -> None:
        try:
            runs = [await measure(number) for number in range(rounds)]
        except Failed as failed:
            _leave_out(left_out, name, failed)
            return
        found[name] = _median_of(runs)
        print(f"{name:30}{json.dumps(found[name])}", flush=True)

    rounds = given.rounds
    await note("latency_half_rate", lambda n: alone.latency_ms(servers, f"half-{n}", rate / 2, 15), rounds)
    await note(
        "latency_half_rate_spread",
        lambda n: alone.latency_ms(servers, f"spread-{n}", rate / 2, 15, spread=True),
        rounds,
    )
    await note("latency_100", lambda n: alone.latency_ms(servers, f"slow-{n}", 100, 15), rounds)
    for workers in (1, 2):
        await note(
            f"workers_{workers}", lambda n, w=workers: alone.with_workers(servers, f"w{w}-{n}", w, given.events), rounds
        )
    await note("learner", lambda n: alone.learner(servers, f"learner-{n}", given.events), rounds)
    await note("store", lambda n: alone.store(servers))
    await note(
        "worker_memory",
        lambda n: alone.worker_memory_mib(servers, f"memory-{n}", visitors=(5_000, 50_000), cache_users=1_000),
    )
    await note("model_distribution", lambda n: asyncio.to_thread(alone.model_distribution))
    return _named(found)


def _median_of(runs: list[Any]) -> Any:
    if not isinstance(runs[0], dict) or len(runs) == 1:
        return runs[0]
    return {key: median([one[key] for one in runs]) for key in runs[0]}


def _named(found: dict[str, Any]) -> dict[str, Any]:
    """Put the figures under the names that bench.json has for them."""
    one, two = found.get("workers_1"), found.get("workers_2")
    latency = {
        "half_of_maximum": found.get("latency_half_rate"),
        "half_of_maximum_spread": found.get("latency_half_rate_spread"),
        "at_100_per_s": found.get("latency_100"),
    }
    return {
        "latency_ms": {name: figures for name, figures in latency.items() if figures},
        "two_workers": {
            "one": one,
            "two": two,
            "ratio": round(two["events_per_s"] / one["events_per_s"], 3) if one and two else None,
        },
        "learner_examples_per_s": (found.get("learner") or {}).get("examples_per_s"),
        "store_mib_per_million_users": found["store"]["two_weeks"]["mib_per_million_users"]
        if "store" in found
        else None,
        "store": found.get("store"),
        "worker_memory": found.get("worker_memory"),
        "model_distribution": found.get("model_distribution"),
    }


async def measured(given: argparse.Namespace) -> dict[str, Any]:
    """Measure what is asked for; return the content of bench.json."""
    left_out: dict[str, str] = {}
    with running_servers() as servers:
        result: dict[str, Any] = {"broker": servers.broker}
        if given.only != "alone":
            result |= await beside_peers(given, servers, left_out)
        if given.only != "peers":
            ours = result.get("systems", {}).get("streamscore")
            rate = ours["events_per_s"] if ours else (await one_rate(given, servers))
            result |= await by_itself(given, servers, left_out, rate)
        return result | {"left_out": left_out}


async def one_rate(given: argparse.Namespace, servers: Servers) -> float:
    """Return our rate alone, where it was not measured beside the peers."""
    await create(servers, ("rate.events", PARTITIONS))
    await fill(servers, "rate.events", by_partition(given.events))
    return (await one_run("streamscore", servers, "rate.events", given.events, "rate")).events_per_s


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=200_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--systems", nargs="+", choices=SYSTEMS, default=list(SYSTEMS))
    parser.add_argument("--only", choices=("peers", "alone"), help="a part of it")
    parser.add_argument("--json", type=Path, default=ROOT / "build" / "bench.json")
    given = parser.parse_args()
    result = asyncio.run(measured(given))
    given.json.parent.mkdir(parents=True, exist_ok=True)
    given.json.write_text(json.dumps(result, indent=2) + "\n")
    for name, one in result.get("systems", {}).items():
        low, high = one["spread"]
        print(f"{name:20}{one['events_per_s']:10,} events/s  ({low:,} to {high:,})")
    for name, ratio in result.get("ratios", {}).items():
        print(f"{name:42}{ratio:8.2f}")
    for name, why in result["left_out"].items():
        print(f"left out: {name}: {why.splitlines()[0]}")
    print(f"written: {given.json}")


if __name__ == "__main__":
    main()
