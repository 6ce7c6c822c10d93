"""Runs the cores over a log, cut as one likes: the pure path of an event, without any shell."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from builders import EventLog, LogRecord

from online_models.estimators import SparseFTRL
from online_models.features import FeatureSet, compile_features
from online_models.objectives import Objective, parse_objectives
from online_models.records import decode_batch
from online_models.replica import LinearReplica
from online_models.scoring import ScoringCore
from online_models.serving import Served
from online_models.step import StepResult
from schemas.codec import encode_json, encode_user_state
from schemas.examples import Example
from schemas.scores import Score
from schemas.user_state import UserState

FEATURES = {
    "clicks": {"count": "click"},
    "clicks_1h": {"count": "click", "window": "1h"},
    "purchases": {"count": "purchase"},
    "views": {"count": "page_view"},
    "since_click": {"time_since": "click", "default": "30d", "transform": "log1p"},
    "rate": {"rate": "click", "over": "impression"},
    "taste": {"affinity": "category"},
    "visit_events": {"session": "events"},
    "item": {"field": "item_id"},
    "item_x_taste": {"cross": ["item", "taste"]},
}
CLICK = {"trigger": "impression", "outcome": "click", "match": "item", "window": "30m", "grace": 0}
PURCHASE = {"trigger": "click", "outcome": "purchase", "match": "user", "window": "24h", "grace": 0}
CONTINUE = {
    "trigger": "page_view",
    "outcome": ["page_view", "click"],
    "match": "session",
    "window": "30m",
    "grace": 0,
    "when": {"visit_events": {"min": 2}},
}
ALL = {"click": CLICK, "purchase": PURCHASE, "continue": CONTINUE}


class Bench:
    """A scoring core and the states of its users.

    Parameters
    ----------
    objectives, features
        As declared under `objectives:` and `features:`.
    replicas
        By the names of variants; by default some with weights.
    """

    def __init__(
        self,
        objectives: dict[str, Any] | None = None,
        *,
        features: dict[str, Any] = FEATURES,
        replicas: Mapping[str, Any] | None = None,
        **limits: Any,
    ) -> None:
        self.features: FeatureSet = compile_features(features)
        self.objectives: list[Objective] = parse_objectives(objectives or {"click": CLICK}, features=self.features)
        variants = [variant.name for one in self.objectives for variant in one.variants.values()]
        self.replicas: dict[str, Any] = dict(replicas or {name: a_replica(name) for name in variants})
        self.served = {one.name: Served(one.variants) for one in self.objectives}
        self.core = ScoringCore(
            topic="events",
            partition=0,
            features=self.features,
            objectives=self.objectives,
            replicas=self.replicas,
            served=self.served,
            **limits,
        )
        self.users: dict[str, UserState] = {}
        self.results: list[StepResult] = []

    def run(self, log: EventLog, *, chunk: int = 500) -> Bench:
        for records in cut(log.records, chunk):
            self.results.append(self.core.step(decode_batch(records, topic="events", partition=0), self.users))
        return self

    @property
    def scores(self) -> list[Score]:
        return [score for result in self.results for score in result.scores]

    @property
    def examples(self) -> list[Example]:
        return [example for result in self.results for example in result.examples]

    def labels(self) -> list[tuple[int, bool, str]]:
        """Return (offset of the trigger, label, use) of each example."""
        return [(trigger_of(one), one.label, one.use) for one in self.examples]

    def notes(self) -> dict[str, int]:
        found: dict[str, int] = {}
        for result in self.results:
            for cause, count in result.notes.items():
                found[cause] = found.get(cause, 0) + count
        return found

    def ignored(self) -> dict[str, int]:
        found: dict[str, int] = {}
        for result in self.results:
            for rule, count in result.accounting.ignored.items():
                found[rule] = found.get(rule, 0) + count
        return found

    def fingerprint(self) -> tuple[Any, ...]:
        """Return all that must not depend on how the log was cut."""
        return (
            [encode_json(one) for one in self.scores],
            [encode_json(one) for one in self.examples],
            {user_id: encode_user_state(user) for user_id, user in self.users.items()},
            self.core.meta(),
        )


def a_replica(name: str) -> LinearReplica:
    """Return a replica with weights, so that scores depend on features; nothing is known of how uncertain they are."""
    replica = LinearReplica(lineage="test", name=SparseFTRL.name, prior=0.5, prior_precision=4.0)
    replica.version = 7
    replica.intercept = -1.0
    replica.weights = {"clicks": 0.3, "views": -0.1, "rate": 2.0, "taste": 1.0, "item=i1": 0.5, "since_click": -0.05}
    return replica


def trigger_of(example: Example) -> int:
    """Return the offset of the example's trigger."""
    return int(example.score_id.rpartition(":")[0].rpartition("-")[2])


def cut(records: Sequence[LogRecord], chunk: int) -> Iterator[Sequence[LogRecord]]:
    for first in range(0, len(records), chunk):
        yield records[first : first + chunk]
