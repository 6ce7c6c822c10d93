"""ClosedLoop: scoring and learning in one, on event time; what a replay runs.

Live, a model travels from the learner to the scorers over a topic and arrives a moment later. Here the
learner learns what has come when event time passes the next multiple of the publish interval, so that
what an event is scored with is decided by the events alone: not by how fast the machine is, nor by how
the records were cut into chunks.

Arrivals of all partitions come in one order, see `streams.replay.merge`. The cores are the live ones.

Between two publications nothing is learned, so replica and learner can share one model: nothing is
copied, not even what cannot be copied cheaply (trees, forests), and a state of the loop stays small.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import msgspec

from online_models.bound import Replica
from online_models.calibration import Calibrator
from online_models.contest import Contest
from online_models.estimators import Estimator, SparseFTRL
from online_models.explain import Reasons, leave_one_out
from online_models.features.leaders import Leaders
from online_models.learning import LearningCore
from online_models.objectives import objective_of
from online_models.replica import Linear
from online_models.scoring import ScoringCore
from online_models.serving import Served
from online_models.step import Collected, Observer, Probe
from online_models.uncertainty import Uncertainty
from schemas.bids import Bid
from schemas.codec import decode_example, decode_partition_meta, encode_json, encode_partition_meta
from schemas.events import EventBase, SystemEvent, VisitorEvent
from schemas.examples import Example
from schemas.metrics import Promotion, Standing
from schemas.models import Calibration, Serving
from schemas.scores import Score
from schemas.user_state import PartitionMeta, UserState

# Partition, offset, Kafka timestamp (epoch ms) and the decoded event: a plain tuple, as in `online_models.records`.
Arrival = tuple[int, int, int, VisitorEvent | SystemEvent]
Users = dict[str, UserState]


class Watcher(Protocol):
    """Judges the scores of one objective, or asks what if."""

    def scored(self, score: Score, event: EventBase, values: Sequence[Any], probe: Probe) -> None: ...
    def labelled(self, example: Example) -> None: ...
    def state(self) -> Any: ...
    def restore(self, state: Any) -> None: ...


class OwnReplica:
    """The learner's own model and calibrator as a replica; to be asked between two publications, not during one."""

    def __init__(self, model: Estimator, *, prior: float, calibrator: Calibrator | None = None) -> None:
        self.name = model.name
        self.version = 0
        self.model = model
        self.calibrator = calibrator
        self._calibration: Calibration | None = None
        self._calibrated_to = 0
        self._prior = prior

    def score_one(self, x: dict[str, float], n_reasons: int) -> tuple[float, Reasons]:
        """Return (probability, reasons), as a live replica of the same version."""
        if not self.version:
            return self._prior, []
        model = self.model
        if isinstance(model, SparseFTRL):
            return model.predict_with_contributions(x, n_reasons)
        p = self.predict(x)
        return p, leave_one_out(self.predict, x, p, n_reasons)

    @property
    def calibration(self) -> Calibration | None:
        """The curves of this version; fitted when they are first asked for."""
        if self._calibrated_to != self.version:
            self._calibrated_to = self.version
            self._calibration = self.calibrator.calibration() if self.calibrator and self.version else None
        return self._calibration

    @property
    def weights(self) -> Mapping[str, float]:
        """Of a model that has them by name; none before the first version, whatever the model begins with."""
        return self.model.weights if self.version else {}  # type: ignore[attr-defined]

    @property
    def leaders(self) -> Leaders:
        """Of crowd counts."""
        return self.model.leaders  # type: ignore[attr-defined, no-any-return]

    def linear(self) -> Linear | None:
        """Return the weights, as a live replica of the same version; None: the model has none."""
        return Linear(self.model.weight_of, self.model.intercept) if isinstance(self.model, SparseFTRL) else None

    def uncertainty(self) -> Uncertainty | None:
        """Return what is known of the weights, as a live replica of the same version."""
        return self.model.uncertainty() if self.version and isinstance(self.model, SparseFTRL) else None

    def predict(self, x: Mapping[str, float]) -> float:
        """Return the probability alone."""
        return self.model.predict_proba_one(x)[True]


class Direct:
    """Takes the place of a `Distributor`: the replica has the model already, and learns of its version."""

    def __init__(self, replica: OwnReplica) -> None:
        self.begun_at = 0
        self._replica = replica

    def publish(self, version: int) -> list[tuple[bytes, bytes]]:
        """Tell the replica; nothing has to be written."""
        self._replica.version = version
        return []

    def state(self) -> int:
        """Return the version that the replica holds."""
        return self._replica.version

    def restore(self, state: int) -> None:
        """Go on from a version."""
        self._replica.version = state


class LearnerPair(NamedTuple):
    """A learner and the replica that it keeps up to date."""

    learner: LearningCore
    replica: Replica


def learner_pair(
    objective: str,
    *,
    lineage: str,
    model: Estimator,
    prior: float,
    publish_examples: int,
    judging: bool = True,
    variant: str = "",
    own_features: bool = False,
    contest: Contest | None = None,
    calibrator: Calibrator | None = None,
) -> LearnerPair:
    """Join a model that has learned nothing with a replica of its own; see `LearningCore`."""
    replica = OwnReplica(model, prior=prior, calibrator=calibrator)
    learner = LearningCore(
        objective,
        lineage=lineage,
        estimator=model,
        distributor=Direct(replica),
        publish_examples=publish_examples,
        judging=judging,
        variant=variant,
        own_features=own_features,
        contest=contest,
        calibrator=calibrator,
    )
    return LearnerPair(learner, replica)


class Watchers(Observer):
    """Tells the watchers of each objective what concerns it."""

    def __init__(self, watchers: Mapping[str, Sequence[Watcher]]) -> None:
        self._watchers = {name: tuple(those) for name, those in watchers.items()}
        self._scored = {name: [one.scored for one in those] for name, those in watchers.items()}
        self._labelled = {name: [one.labelled for one in those] for name, those in watchers.items()}

    def scored(self, score: Score, event: EventBase, values: Sequence[Any], probe: Probe) -> None:
        """Hand a score on."""
        for told in self._scored.get(score.objective, ()):
            told(score, event, values, probe)

    def labelled(self, example: Example) -> None:
        """Hand an example on."""
        for told in self._labelled.get(example.objective, ()):
            told(example)

    def state(self) -> dict[str, list[Any]]:
        """Return the watchers' states."""
        return {name: [one.state() for one in those] for name, those in self._watchers.items()}

    def restore(self, state: Mapping[str, Sequence[Any]]) -> None:
        """Take up what `state` gave, of the same watchers."""
        for name, those in self._watchers.items():
            for one, saved in zip(those, state[name], strict=True):
                one.restore(saved)


class ClosedLoop:
    """Scores arrivals and learns from them.

    Parameters
    ----------
    new_core
        Makes the scoring core of a partition, given its number and what was kept of it, around the
        replicas of `learners` and with `watchers` as its observer.
    learners
        By the names of all variants.
    served
        Which variant of an objective is served; its contest decides.
    publish_ms
        Interval of event time at which models reach the scorers.
    learning
        False: nothing is learned here, the replicas are moved by somebody else.

    Attributes
    ----------
    scores, examples, bids
        What the last `run` led to.
    promotions
        (event time in epoch ms, what happened) of every change of what is served.
    """

    def __init__(
        self,
        *,
        new_core: Callable[[int, PartitionMeta | None, Mapping[str, int] | None], ScoringCore],
        learners: Mapping[str, LearnerPair],
        watchers: Watchers,
        publish_ms: int,
        served: Mapping[str, Served] | None = None,
        learning: bool = True,
    ) -> None:
        self._new_core = new_core
        self._learners = learners
        self._learners_of: dict[str, list[LearningCore]] = {}
        for name, pair in learners.items():
            self._learners_of.setdefault(objective_of(name), []).append(pair.learner)
        self._served = served or {}
        self.promotions: list[tuple[int, Promotion]] = []
        self._watchers = watchers
        self._publish_ms = publish_ms
        self._learning = learning
        self._cores: dict[int, ScoringCore] = {}
        self._collected: dict[int, Collected] = {}
        self.scores: list[Score] = []
        self.examples: list[Example] = []
        self.bids: list[Bid] = []
        self._waiting: list[Example] = []  # released in an earlier run, not learned yet
        self._learned_to = 0  # of self.examples
        self._examples_seen = 0
        self._due_ms = 0

    # ---------------------------------------------------------------- running

    def core(self, partition: int) -> ScoringCore:
        """Return the core of a partition, made when it is first needed."""
        core = self._cores.get(partition)
        if core is None:
            core = self._adopt(partition, None, None)
        return core

    def _adopt(self, partition: int, meta: PartitionMeta | None, timers: Mapping[str, int] | None) -> ScoringCore:
        core = self._cores[partition] = self._new_core(partition, meta, timers)
        self._collected[partition] = Collected({}, scores=self.scores, examples=self.examples, bids=self.bids)
        return core

    def run(self, arrivals: Iterable[Arrival], users: Mapping[int, Users]) -> None:
        """Process arrivals in order.

        Parameters
        ----------
        users
            By partition: the states of the users of these arrivals, as `ScoringCore.step` takes them.
        """
        self._begin(users)
        cores, collected = self._cores, self._collected
        due_ms = self._due_ms
        for partition, offset, source_ts, event in arrivals:
            if event.ts >= due_ms:  # type: ignore[operator]  # decoded: int
                self._publish()
                due_ms = self._due_ms = (event.ts // self._publish_ms + 1) * self._publish_ms  # type: ignore[operator]
            cores[partition].process(offset, source_ts, event, collected[partition])

    def _begin(self, users: Mapping[int, Users]) -> None:
        self._waiting += self.examples[self._learned_to :]
        self.scores.clear()
        self.examples.clear()
        self.bids.clear()
        self._learned_to = 0
        for partition, states in users.items():
            self.core(partition)
            collected = self._collected[partition]
            collected.users = states
            collected.changed = {}
        oldest = min((core.stream_time_ms for core in self._cores.values()), default=0)
        for core in self._cores.values():
            if core.desk is not None:
                core.desk.tidy(oldest)

    def finish(self) -> None:
        """Learn what was released since the last publication; at the end of a stream."""
        self._publish()

    def _publish(self) -> None:
        """Judge and learn what was released since the last time, and let the scorers have it."""
        released = self._waiting + self.examples[self._learned_to :]
        self._waiting = []
        self._learned_to = len(self.examples)
        if not released:
            return
        of_objective: dict[str, list[tuple[int, Example]]] = {name: [] for name in self._learners_of}
        labelled = self._watchers.labelled
        for example in released:
            if example.use != "learn":
                labelled(example)
            of_objective[example.objective].append((self._examples_seen, example))
            self._examples_seen += 1
        if not self._learning:
            return
        for objective, examples in of_objective.items():
            for learner in self._learners_of[objective] if examples else ():
                learner.step(examples)
                learner.publish_pending()
                if learner.contest is not None:
                    self._decide(learner, learner.contest)

    def _decide(self, learner: LearningCore, contest: Contest) -> None:
        made = contest.decide(learner.next_offset)
        if made is not None:
            self._served[contest.objective].follow(made.serving)
            self.promotions.append((self._due_ms, made.promotion))

    # ---------------------------------------------------------------- what became of it

    def changed(self) -> dict[int, Users]:
        """Return, by partition, the users that the last `run` has changed."""
        return {partition: one.changed for partition, one in self._collected.items()}

    @property
    def scored(self) -> int:
        """Events that got a score, so far."""
        return sum(one.scored for one in self._collected.values())

    @property
    def ignored(self) -> Counter[str]:
        """Events that were passed over, so far, by rule."""
        return sum((one.ignored for one in self._collected.values()), Counter())

    @property
    def notes(self) -> Counter[str]:
        """What else was noted, so far, see `online_models.scoring`."""
        return sum((one.notes for one in self._collected.values()), Counter())

    def standings(self) -> dict[str, dict[str, Standing]]:
        """Return how the challengers of each objective stand."""
        contests = [pair.learner.contest for pair in self._learners.values()]
        return {one.objective: one.standings() for one in contests if one is not None}

    def take_timers(self) -> dict[int, dict[str, int | None]]:
        """Return, by partition, the timers that were set or removed since the last call."""
        return {partition: core.take_timers() for partition, core in self._cores.items()}

    @property
    def open_count(self) -> int:
        """Triggers that wait for their label."""
        return sum(core.open_count for core in self._cores.values())

    # ---------------------------------------------------------------- to go on later

    def state(self) -> dict[str, Any]:
        """Return all of the loop but users and timers, as plain values."""
        return {
            "due_ms": self._due_ms,
            "examples_seen": self._examples_seen,
            "waiting": [encode_json(one) for one in self._waiting + self.examples[self._learned_to :]],
            "learners": {name: pair.learner.checkpoint() for name, pair in self._learners.items()},
            "watchers": self._watchers.state(),
            "served": {name: encode_json(one.record(name)) for name, one in self._served.items() if one.number},
            "promotions": [(ts, encode_json(one)) for ts, one in self.promotions],
            "partitions": {
                partition: [
                    encode_partition_meta(self._cores[partition].meta()),
                    one.scored,
                    dict(one.ignored),
                    dict(one.notes),
                ]
                for partition, one in self._collected.items()
            },
        }

    def restore(self, state: Mapping[str, Any], timers: Mapping[int, Mapping[str, int]]) -> None:
        """Take up what `state` gave and the timers then."""
        self._due_ms = state["due_ms"]
        self._examples_seen = state["examples_seen"]
        self._waiting = [decode_example(one) for one in state["waiting"]]
        for name, blob in state["learners"].items():
            self._learners[name].learner.restore(blob)
        self._watchers.restore(state["watchers"])
        for name, record in state["served"].items():
            self._served[name].follow(msgspec.json.decode(record, type=Serving))
        self.promotions = [(ts, msgspec.json.decode(one, type=Promotion)) for ts, one in state["promotions"]]
        for partition, (meta, scored, ignored, notes) in state["partitions"].items():
            self._adopt(partition, decode_partition_meta(meta), timers.get(partition))
            collected = self._collected[partition]
            collected.scored, collected.ignored, collected.notes = scored, Counter(ignored), Counter(notes)
