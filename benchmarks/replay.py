"""What the shell of a replay costs: `streamscore replay` beside the pure core over the same events in memory.

    python -m benchmarks.replay FILE --mapping globo --config globo [--limit N] [--runs 3]

The pure core decodes the events' JSON, scores, attributes and learns in one process, with every state in
one dictionary and nothing written. The replay reads and maps the file, orders, judges, keeps its state
within a bounded cache, and writes scores and examples. Runs take turns, so that a noisy machine is
noisy for both; medians are reported.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import statistics
import subprocess
import sys
import tempfile
import time
from itertools import islice
from pathlib import Path

import orjson

from online_models.closed_loop import ClosedLoop, Users, Watchers, learner_pair
from online_models.features.durations import parse_duration_ms
from online_models.scoring import ScoringCore
from schemas.codec import decode_event, encode_json
from streams.cli.options import config_path
from streams.garbage import looked_at_once
from streams.mapping import Mapping
from streams.replay.files import FilesSource
from streams.replay.spec import FileInput
from streams.settings import load_settings


def pure_core(file: str, mapping: str, config: str, limit: int | None) -> float:
    """Return events per second of the cores alone, decoding included."""
    settings = load_settings(config_path(config), os.environ)
    placed = asyncio.run(_placed(file, mapping, settings.topics.events.partitions, limit))
    learners = {
        one.name: learner_pair(
            one.name,
            lineage="",
            model=settings.new_model(one),
            prior=one.prior,
            publish_examples=settings.learning.publish_examples,
        )
        for one in settings.objectives
    }
    loop = ClosedLoop(
        new_core=lambda partition, meta, timers: ScoringCore(
            topic="events",
            partition=partition,
            features=settings.features,
            objectives=settings.objectives,
            replicas={name: pair.replica for name, pair in learners.items()},
            n_reasons=settings.worker.n_reasons,
        ),
        learners=learners,
        watchers=Watchers({}),
        publish_ms=parse_duration_ms(settings.learning.publish_interval),
    )
    users: dict[int, Users] = {number: {} for number in range(settings.topics.events.partitions)}
    with looked_at_once(200_000):  # as the replay does
        started = time.perf_counter()
        records = iter(placed)
        while chunk := list(islice(records, 2000)):
            loop.run([(*place, ts, decode_event(value, record_ts_ms=ts)) for *place, ts, value in chunk], users)  # type: ignore[misc]
        return len(placed) / (time.perf_counter() - started)


async def _placed(file: str, mapping: str, partitions: int, limit: int | None) -> list[tuple[int, int, int, bytes]]:
    source = FilesSource(
        [FileInput(Path(file))], Mapping.load(mapping), topic="events", partitions=partitions, limit=limit
    )
    return [
        (partition, offset, ts, encode_json(event))
        async for chunk in source.chunks(10_000)
        for partition, offset, ts, event in chunk.arrivals
    ]


def replay(file: str, mapping: str, config: str, limit: int | None) -> float:
    """Return events per second of the command, from its own report."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.json"
        command = [sys.executable, "-m", "streams.cli.main", "replay", file, "-m", mapping, "-c", config]
        command += ["--to", folder, "--json", str(report)]
        if limit:
            command += ["--limit", str(limit)]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        return float(orjson.loads(report.read_bytes())["events_per_s"])


def main() -> None:
    """Take turns and print medians."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("file")
    options.add_argument("--mapping", default="globo")
    options.add_argument("--config", default="globo")
    options.add_argument("--limit", type=int)
    options.add_argument("--runs", type=int, default=3)
    options.add_argument("--only", choices=["core", "replay"], help="one run of one of them, in this process")
    given = options.parse_args()
    measured = {"core": pure_core, "replay": replay}
    if given.only:
        print(measured[given.only](given.file, given.mapping, given.config, given.limit))
        return
    rates: dict[str, list[float]] = {name: [] for name in measured}
    for _ in range(given.runs):
        for name in measured:
            words = [sys.executable, __file__, *sys.argv[1:], "--only", name]
            done = subprocess.run(words, check=True, capture_output=True, text=True)
            rates[name].append(float(done.stdout))
    medians = {name: statistics.median(values) for name, values in rates.items()}
    for name, values in rates.items():
        print(f"{name:7} {medians[name]:10,.0f} events/s   runs: {', '.join(f'{one:,.0f}' for one in values)}")
    print(f"ratio   {medians['replay'] / medians['core']:10.2f}")


if __name__ == "__main__":
    main()
