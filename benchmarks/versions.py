"""Two versions of streamscore beside each other: what an event costs either of them.

    python -m benchmarks.versions OTHER [--rate 3000] [--seconds 20] [--rounds 4]
    python -m benchmarks.versions OTHER --backlog 150000

OTHER is the folder of another version's checkout, with its compiled modules (`python hatch_build.py` there). Both score
the same events at the same time, each with a learner of its own, so both have the same machine, whatever its speed at
the moment: runs in turns differ by a tenth from minute to minute, the ratio of a round here by some three percent. With
`--rate` events come all the time, with `--backlog` all are there already. Rates and latencies would say nothing: the
two share the cores.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median

import uvloop
from aiokafka import AIOKafkaConsumer, TopicPartition

from benchmarks.alone import ROLES, feed, joined
from benchmarks.deployment import (
    ROOT,
    SILENT_S,
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
from benchmarks.peers.workload import PARTITIONS, by_partition, events

_WARM_S = 4.0


async def _at_a_rate(
    servers: Servers, source: str, apps: Sequence[str], scorers: Sequence[Process], given: argparse.Namespace
) -> list[float]:
    """Return the CPU time that an event took each, in us, from the end of the first seconds until all have a score."""
    for app in apps:
        await joined(servers, app, 1)
    due = list(events(int(given.rate * (given.seconds + _WARM_S))))
    feeding = asyncio.ensure_future(feed(servers, source, due, given.rate, spread=False))
    await asyncio.sleep(_WARM_S)
    before = [_cpu_s(one) for one in scorers]
    scored = [await _scores(servers, app) for app in apps]
    await feeding
    until = time.monotonic() + SILENT_S
    while min([await _scores(servers, app) for app in apps]) < len(due):
        if time.monotonic() > until:
            raise Failed(f"not all events have a score\n{scorers[0].last_words}\n{scorers[1].last_words}")
        await asyncio.sleep(0.1)
    used = [_cpu_s(one) - then for one, then in zip(scorers, before, strict=True)]
    return [cpu_s / (len(due) - there) * 1e6 for cpu_s, there in zip(used, scored, strict=True)]


def _cpu_s(scorer: Process) -> float:
    used = scorer.cpu_s()
    if scorer.ended or used is None:
        raise Failed(f"no CPU time is known of a worker\n{scorer.last_words}")
    return used


async def _scores(servers: Servers, app: str) -> int:
    """Return how many scores there are."""
    places = [TopicPartition(f"{app}.scores", number) for number in range(PARTITIONS)]
    async with AIOKafkaConsumer(bootstrap_servers=servers.kafka) as consumer:
        return sum((await consumer.end_offsets(places)).values())


async def _a_backlog(servers: Servers, apps: Sequence[str], scorers: Sequence[Process], count: int) -> list[float]:
    runs = (watched([one], servers, f"{app}.scores", count) for app, one in zip(apps, scorers, strict=True))
    found = [one.first_cpu for one in await asyncio.gather(*runs)]
    if None in found:
        raise Failed("no CPU time is known of a worker")
    return [one for one in found if one is not None]


async def one_round(servers: Servers, number: int, roots: Sequence[Path], given: argparse.Namespace) -> list[float]:
    """Run both; return the CPU time of an event of each, in us."""
    source, apps = f"versions-{number}", [f"versions-{number}-{place}" for place in range(len(roots))]
    await create(servers, (source, PARTITIONS))
    if given.backlog:
        await fill(servers, source, by_partition(given.backlog))
    order = list(range(len(roots)))[:: -1 if number % 2 else 1]  # who starts first is no advantage
    scorers: dict[int, Process] = {}
    with contextlib.ExitStack() as stack:
        for place in order:
            await create_ours(servers, apps[place])
            workers = our_workers(servers, source, apps[place], ROLES, root=roots[place])
            scorers[place] = stack.enter_context(workers)[0]
        both = [scorers[place] for place in range(len(roots))]
        if given.backlog:
            return await _a_backlog(servers, apps, both, given.backlog)
        return await _at_a_rate(servers, source, apps, both, given)


async def measure(given: argparse.Namespace) -> None:
    """Print what an event costs, round by round, and the median of the ratios."""
    ratios: list[float] = []
    with running_servers() as servers:
        if servers.broker == "embedded":
            raise SystemExit(
                "This needs Apache Kafka, hence Java 17 and Maven: one worker is all that the embedded broker serves"
            )
        for number in range(given.rounds):
            other, this = await one_round(servers, number, [given.other.resolve(), ROOT], given)
            ratios.append(this / other)
            print(f"other {other:6.1f}   this {this:6.1f} us of CPU time an event   {ratios[-1]:.3f}", flush=True)
    print(f"median {median(ratios):.3f}   ({min(ratios):.3f} to {max(ratios):.3f})")


def main() -> None:
    """Read the arguments and measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("other", type=Path, help="folder of the other version")
    parser.add_argument("--rate", type=float, default=3000.0, help="events a second")
    parser.add_argument("--seconds", type=float, default=20.0, help="for each round")
    parser.add_argument("--backlog", type=int, default=0, help="so many events at once, instead")
    parser.add_argument("--rounds", type=int, default=4)
    uvloop.run(measure(parser.parse_args()))


if __name__ == "__main__":
    main()
