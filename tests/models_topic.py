"""The topic `models` in a test: a learner that publishes, the log, and scorers that read it at their own pace."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

from online_models.crowd import CrowdCounts
from online_models.crowd_distribution import CrowdDistributor, CrowdReplica
from online_models.distribution import MAX_WEIGHTS_BYTES, WeightDistributor
from online_models.estimators import SparseFTRL
from online_models.features.counter_names import SEPARATOR
from online_models.features.leaders import Leaders
from online_models.features.plan import Clustering, CrowdTable
from online_models.replica import LinearReplica, ReplicaSet

OBJECTIVE, LINEAGE = "click", "1f0c"
FEW = 4  # blocks, so that the turn comes round often

Records = list[tuple[bytes, bytes]]
Truth = dict[int, tuple[dict[str, float], float, dict[str, float]]]  # version: weights, intercept, information


class Log:
    """The topic: records in order, some of them compacted away."""

    def __init__(self) -> None:
        self.records: list[tuple[bytes, bytes] | None] = []

    def append(self, records: Records) -> None:
        self.records += records

    def compact(self, rng: random.Random, *, share: float = 1.0, until: int | None = None) -> None:
        """Drop records behind which another of the same key comes: all of them, or a share picked at random."""
        seen = set()
        until = len(self.records) if until is None else until
        for i in reversed(range(until)):
            record = self.records[i]
            if record is None:
                continue
            if record[0] in seen and rng.random() < share:
                self.records[i] = None
            seen.add(record[0])


class Reader:
    """A scorer that reads the log at its own pace, from the beginning; one that asks wants the information too."""

    def __init__(self, *, asking: bool = True) -> None:
        self.asking = asking
        self.replica = LinearReplica(
            lineage=LINEAGE, name="ftrl", prior=0.5, blocks=FEW, prior_precision=3.0 if asking else None
        )
        self.replicas = ReplicaSet({OBJECTIVE: self.replica})
        self.position = 0

    def read(self, log: Log, count: int | None = None) -> None:
        end = len(log.records) if count is None else min(self.position + count, len(log.records))
        for record in log.records[self.position : end]:
            if record is not None:
                self.replicas.apply(record[1])
        self.position = end


class Learner:
    """Learns a fixed stream of examples; keeps what each version's weights were."""

    def __init__(self, seed: int, truth: Truth, *, max_bytes: int = MAX_WEIGHTS_BYTES, informed: bool = True) -> None:
        self.seed = seed
        self.truth = truth
        self.informed = informed
        self.model = SparseFTRL(alpha=0.5)
        self.distributor = WeightDistributor(
            OBJECTIVE, lineage=LINEAGE, model=self.model, blocks=FEW, max_bytes=max_bytes, informed=informed
        )
        self.next_offset = 0

    def learn(self, count: int) -> None:
        for _ in range(count):
            rng = random.Random(self.seed * 1_000_003 + self.next_offset)
            x = {f"f{int(60 * rng.random() ** 2)}": rng.choice([1.0, rng.gauss(0, 1)]) for _ in range(4)}
            self.model.learn_one(x, rng.random() < 0.3)
            self.next_offset += 1

    def publish(self) -> Records:
        model = self.model
        self.truth[self.next_offset] = (model.weights, model.intercept, model.information_of(model.names))
        return self.distributor.publish(self.next_offset)

    def checkpoint(self) -> tuple[int, bytes, int]:
        return self.next_offset, self.model.to_bytes(), self.distributor.state()

    def restarted(self, saved: tuple[int, bytes, int] | None, *, informed: bool | None = None) -> Learner:
        fresh = type(self)(self.seed, self.truth, informed=self.informed if informed is None else informed)
        if saved is not None:
            fresh.next_offset = saved[0]
            fresh.model.restore(saved[1])
            fresh.distributor.restore(saved[2])
        return fresh


TABLE = CrowdTable("t", lambda prefix: lambda slots, event, ts, told, crowd: None, frozenset(), most=12, leaders=3)
CLUSTERED = replace(TABLE, key="c", most=0, leaders=0, clusters=Clustering(("a", "b"), 1))


class CrowdReader(Reader):
    """A scorer that reads crowd counts."""

    def __init__(self, *, asking: bool = False) -> None:
        self.asking = False
        self.replica = CrowdReplica({TABLE.prefix: TABLE}, lineage=LINEAGE, blocks=FEW)
        self.replicas = ReplicaSet({OBJECTIVE: self.replica})
        self.position = 0


class CrowdLearner(Learner):
    """Counts in a table that is soon full, so that counters vanish and come back."""

    table = TABLE

    def __init__(self, seed: int, truth: Truth, *, informed: bool = False) -> None:
        self.seed = seed
        self.truth = truth
        self.informed = False
        self.counts = CrowdCounts({self.table.prefix: self.table})
        self.model: Any = self.counts
        self.distributor = CrowdDistributor(OBJECTIVE, lineage=LINEAGE, counts=self.counts, blocks=FEW)
        self.next_offset = 0

    def learn(self, count: int) -> None:
        for _ in range(count):
            rng = random.Random(self.seed * 1_000_003 + self.next_offset)
            item, height = int(60 * rng.random() ** 2), 1.0 + rng.random() + self.next_offset / 10
            self.counts.learn_one({f"{TABLE.prefix}{rng.choice('ab')}{SEPARATOR}{item}": height}, True)
            self.next_offset += 1

    def publish(self) -> Records:
        self.truth[self.next_offset] = (dict(self.counts.weights), 0.0, {})
        return self.distributor.publish(self.next_offset)


class SegmentLearner(CrowdLearner):
    """Clusters visitors, all of whose numbers change with each."""

    table = CLUSTERED

    def learn(self, count: int) -> None:
        for _ in range(count):
            rng = random.Random(self.seed * 1_000_003 + self.next_offset)
            described = {"a": float(rng.random() < 0.1), "b": rng.gauss(0, 1)}
            self.counts.learn_one({self.table.prefix + name: value for name, value in described.items()}, True)
            self.next_offset += 1


def assert_right(reader: Reader, truth: Truth, *, informed: bool | None) -> None:
    """Whatever version the replica says it has, it has exactly that one, and all of its information or none.

    Parameters
    ----------
    informed
        The learner has always (True) or never (False) sent information: then who asks has it with each version, or
        nobody ever has. None: it was told in between, and its records lead to one or the other.
    """
    replica = reader.replica
    if isinstance(replica, CrowdReplica):
        looked_through = Leaders({TABLE.prefix: TABLE})
        looked_through.look_through(replica.weights)
        for group in "ab":
            assert replica.leaders.of(TABLE.prefix, group) == looked_through.of(TABLE.prefix, group)
    if replica.version:
        weights, intercept, information = truth[replica.version]
        assert (replica.weights, replica.intercept) == (weights, intercept)
        known = replica.information is not None if informed is None else informed
        assert replica.information == (information if known and reader.asking else None)
    else:
        assert (replica.weights, replica.information) == ({}, None)
