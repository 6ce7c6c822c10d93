"""What the dashboard costs a worker: CPU time for each event of the simulated shop, beside that of the core.

Asking the rules is timed by itself, over the feature values of all triggers: as a difference of two runs of the core it
drowns in how much they vary.

    PYTHONPATH=tests python -m benchmarks.dashboard
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from itertools import islice
from statistics import median
from typing import Any

from builders import LogRecord

from online_models.records import decode_batch
from online_models.scoring import ScoringCore
from online_models.step import Part, Probe, StepResult
from online_models.validation import Rule
from schemas.codec import encode_json
from schemas.events import EventBase
from schemas.scores import Score
from streams.configs import shipped_config
from streams.dashboard import POINT_S, Dashboard
from streams.new_models import new_replicas
from streams.settings import Settings, load_settings
from streams.simulate import Shop
from streams.summary import Summary
from streams.telemetry import Telemetry

EVENTS, BATCH, RATE, ROUNDS = 100_000, 500, 10_000, 3


def seconds(work: Callable[[], Any]) -> float:
    """Return the CPU time that a call takes."""
    started = time.process_time()
    work()
    return time.process_time() - started


class Values:
    """Keeps the feature values of all triggers, by objective."""

    def __init__(self, settings: Settings) -> None:
        self.of = {one.name: list[Sequence[Any]]() for one in settings.objectives}
        self._rules = {one.name: Rule(one.rule, settings.features).score for one in settings.objectives}

    def scored(self, score: Score, event: EventBase, values: Sequence[Any], probe: Probe) -> None:
        """See `online_models.step.Observer`."""
        self.of[score.objective].append(values)

    def ask(self) -> None:
        """Ask the rules as `OpenTriggers` does."""
        said: list[float | None] = []
        use = "both"
        for name, all_values in self.of.items():
            for values in all_values:
                rule = self._rules[name]
                said.append(rule(values) if rule and use != "learn" else None)


def stepped(
    settings: Settings, records: Sequence[LogRecord], observer: Values | None = None, *, asking_rules: bool = False
) -> list[StepResult]:
    """Run a core that has learned nothing over all records."""
    core = ScoringCore(
        topic="events",
        partition=0,
        features=settings.features,
        objectives=settings.objectives,
        replicas=new_replicas(settings),
        asking_rules=asking_rules,
        observer=observer,
    )
    users: dict[str, Any] = {}
    return [
        core.step(decode_batch(records[first : first + BATCH], topic="events", partition=0), users)
        for first in range(0, len(records), BATCH)
    ]


def noted(settings: Settings, results: Sequence[StepResult]) -> tuple[float, float, float]:
    """Return CPU seconds for all batches, for a point, and for an answer to a page."""
    dashboard = Dashboard(settings, Telemetry())

    def note() -> None:
        for result in results:
            summary = Summary()
            summary.take(Part(result.scores, result.examples, result.rule_said))
            summary.end(result)
            dashboard.note(summary, 0.0)

    took = seconds(note)
    points = [seconds(lambda: dashboard.point(0.0, 0.0, lag=0)) for _ in range(9)]
    return took, median(points), seconds(lambda: dashboard.document(0.0))


def main() -> None:
    """Print the table."""
    settings = load_settings(shipped_config("shop"), {})
    events = islice(Shop(seed=1, visitors=1_000).events(), EVENTS)
    records = [LogRecord(number, event.ts, None, encode_json(event)) for number, event in enumerate(events)]
    values = Values(settings)
    stepped(settings, records, values)
    core_s, asking, noting, pointing, answering = [], [], [], [], []
    for _ in range(ROUNDS):
        core_s.append(seconds(lambda: stepped(settings, records)))
        asking.append(seconds(values.ask))
        took, point, answer = noted(settings, stepped(settings, records, asking_rules=True))
        noting.append(took)
        pointing.append(point)
        answering.append(answer)
    core, rules, note = (min(one) / EVENTS for one in (core_s, asking, noting))
    point, answer = min(pointing), min(answering)
    share = (rules + note) * RATE + point / POINT_S
    print(f"decoding and the core     {1e6 * core:6.2f} us for each event")
    print(f"asking the rules          {1e6 * rules:6.2f} us")
    print(f"noting batches of {BATCH}     {1e6 * note:6.2f} us")
    print(f"a point, every {POINT_S:.0f} s       {1e3 * point:6.2f} ms")
    print(f"an answer to a page       {1e3 * answer:6.2f} ms")
    print(f"at {RATE:,} events/s: {100 * share:.2f} % of a core")


if __name__ == "__main__":
    main()
