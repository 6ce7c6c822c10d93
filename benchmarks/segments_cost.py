"""What segments cost, and how many visits are described; see docs/segments.md.

``python -m benchmarks.segments_cost [--data PATH]`` runs the core of the shipped shop over 20,000 simulated events,
with and without its segments, in turn, and prints microseconds of CPU: an event in the scorer (median of five), reading
a segment, learning a description. Then, of simulated visits and, given the file of `benchmarks.next_article`, of real
ones, the share that comes as far as an `at_event`.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import time
from collections import Counter
from itertools import islice
from pathlib import Path
from statistics import median
from typing import Any

import yaml

from online_models.crowd import CROWD
from online_models.learning import LearningCore
from online_models.records import DecodedBatch
from online_models.rest import wake
from online_models.scoring import ScoringCore
from online_models.segments import described
from schemas.events import EventBase
from schemas.examples import Example
from streams.configs import shipped_config
from streams.new_models import new_cores, new_replicas
from streams.settings import Settings, parse_settings
from streams.simulate import Shop

EVENTS, CHUNK, ROUNDS = 20_000, 1_000, 5
AT_EVENTS = (1, 2, 3, 5, 8)


class Run:
    """The shop's core over a log; models are published after each chunk."""

    def __init__(self, settings: Settings, log: list[EventBase]) -> None:
        self.settings, self.replicas = settings, new_replicas(settings)
        learners = {one.objective: one for one in new_cores(settings.learned, settings)}
        core = ScoringCore(
            topic="events",
            partition=0,
            features=settings.features,
            objectives=settings.objectives,
            rankings=settings.rankings,
            replicas=self.replicas,
            served=self.replicas.served,
        )
        self.users: dict[str, Any] = {}
        self.scoring_s = self.learning_s = 0.0
        self.described = released = 0
        for first in range(0, len(log), CHUNK):
            events: list[Any] = [(first + n, one.ts, one) for n, one in enumerate(log[first : first + CHUNK])]
            started = time.process_time()
            result = core.step(DecodedBatch(first, first + len(events), len(events), events, [], 0), self.users)
            self.scoring_s += time.process_time() - started
            examples = list(enumerate(result.examples, released))
            released += len(examples)
            for name, learner in learners.items():
                mine = [one for one in examples if one[1].objective == name]
                if name == CROWD:
                    self._count(learner, mine)
                else:
                    learner.step(mine)
                publication = learner.publish_pending()
                for _, value in publication.records if publication else ():
                    self.replicas.apply(value)

    def _count(self, learner: LearningCore, told: list[tuple[int, Example]]) -> None:
        """Let the counts learn what was told, and take the time of descriptions."""
        segments = self.settings.features.segments
        for one in told:
            describes = segments is not None and any(name.startswith(segments.prefix) for name in one[1].features)
            started = time.process_time()
            learner.step([one])
            if describes:
                self.learning_s += time.process_time() - started
                self.described += 1


def reading_us(run: Run, event: EventBase) -> float:
    """Return what it takes to read a visitor's segment."""
    segments, crowd = run.settings.features.segments, run.replicas[CROWD].weights  # type: ignore[attr-defined]
    assert segments is not None
    user = next(iter(run.users.values()))
    wake(user)
    started = time.process_time()
    for _ in range(20_000):
        segments.read(user.slots, event, event.ts, crowd)  # type: ignore[arg-type]
    return (time.process_time() - started) / 20_000 * 1e6


def visits_of_the_shop(log: list[EventBase]) -> Counter[str | None]:
    return Counter(one.session_id for one in log if one.type != "impression")


def visits_of_globo(path: Path) -> Counter[str]:
    with gzip.open(path, "rt") as file:
        return Counter(row["sid"] for row in csv.DictReader(file))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, help="clicks of a news site, csv.gz; without it simulated visits only")
    data = parser.parse_args().data
    declared = yaml.safe_load(shipped_config("shop").read_text())
    with_segments = parse_settings(yaml.safe_dump(declared), {})
    without = parse_settings(yaml.safe_dump({**declared, "segments": None}), {})
    log = list(islice(Shop(seed=3, visitors=2_000).events(), EVENTS))
    runs = [(Run(without, log), Run(with_segments, log)) for _ in range(ROUNDS)]
    plain, segmented = (median(pair[n].scoring_s for pair in runs) / EVENTS * 1e6 for n in range(2))
    last = runs[-1][1]
    print(f"an event in the scorer: {plain:.1f} us without segments, {segmented:.1f} us with them")
    print(f"reading a segment: {reading_us(last, log[-1]):.1f} us")
    print(
        f"learning a description: {last.learning_s / last.described * 1e6:.0f} us, {last.described} of {EVENTS} events"
    )
    for one in described(with_segments.features.segments, last.replicas[CROWD].weights):  # type: ignore[attr-defined]
        print(f"segment {one.id}, {one.share:.0%} of the visits: {one.name}")
    counted: dict[str, Counter[Any]] = {"simulated": visits_of_the_shop(log)}
    if data is not None:
        counted["real"] = visits_of_globo(data)
    print(f"| visits | {' | '.join(map(str, AT_EVENTS))} |\n|---|{'---|' * len(AT_EVENTS)}")
    for name, visits in counted.items():
        reached = [sum(count >= at for count in visits.values()) / len(visits) for at in AT_EVENTS]
        print(f"| {name} | {' | '.join(f'{share:.0%}' for share in reached)} |")


if __name__ == "__main__":
    main()
