"""A replica is never wrong, and reaches the learner's last version, whatever happened to the topic."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from models_topic import (
    FEW,
    LINEAGE,
    OBJECTIVE,
    CrowdLearner,
    CrowdReader,
    Learner,
    Log,
    Reader,
    SegmentLearner,
    Truth,
    assert_right,
)

from online_models.distribution import make_distributor
from online_models.estimators import SparseFTRL, build
from online_models.replica import LinearReplica, OpaqueReplica
from schemas.models import BLOCKS, block_of

KEY = b"sixteen bytes or more"
RIVERS = {"name": "logistic_regression", "scale": "standard"}


KINDS: dict[str, tuple[type[Learner], type[Reader]]] = {
    "weights": (Learner, Reader),
    "crowd counts": (CrowdLearner, CrowdReader),
    "segments": (SegmentLearner, CrowdReader),
}
both_kinds = pytest.mark.parametrize("kind", KINDS)


class World:
    """A learner that crashes, a topic that is compacted, and scorers that come and go; each action is named."""

    def __init__(self, seed: int, kind: str) -> None:
        new_learner, self.new = KINDS[kind]
        self.rng = random.Random(seed)
        self.truth: Truth = {}
        self.log = Log()
        self.learner = new_learner(seed, self.truth)
        self.saved: tuple[int, bytes, int] | None = None
        self.readers = [self.new(), self.new(asking=False)]
        self.newest = 0
        self.informed: bool | None = self.learner.informed

    def learn_and_publish(self) -> None:
        self.learner.learn(self.rng.randrange(1, 12))
        self.newest = max(self.newest, self.learner.next_offset)
        self.log.append(self.learner.publish())

    def crash_while_publishing(self) -> None:
        before = len(self.log.records)
        self.learn_and_publish()
        del self.log.records[self.rng.randrange(before, len(self.log.records)) :]
        self.restart()

    def restart(self) -> None:
        self.learner = self.learner.restarted(self.saved)

    def change_what_rankings_ask(self) -> None:
        self.learner = self.learner.restarted(self.saved, informed=not self.learner.informed)
        self.informed = None

    def two_learners_at_once(self) -> None:
        """A learner that was given up goes on for a moment; the records of both are interleaved."""
        old, self.learner = self.learner, self.learner.restarted(self.saved)
        streams = []
        for learner in (old, self.learner):
            learner.learn(self.rng.randrange(1, 12))
            self.newest = max(self.newest, learner.next_offset)
            streams.append(learner.publish())
        while any(streams):
            self.log.append([self.rng.choice([one for one in streams if one]).pop(0)])

    def checkpoint(self) -> None:
        self.saved = self.learner.checkpoint()

    def lose_the_checkpoint(self) -> None:
        self.saved = None

    def compact(self) -> None:
        until = self.rng.randrange(len(self.log.records) + 1)
        self.log.compact(self.rng, share=self.rng.choice([0.3, 1.0]), until=until)

    def lose_records(self) -> None:
        for i in range(len(self.log.records)):
            if self.rng.random() < 0.1:
                self.log.records[i] = None

    def garbage(self) -> None:
        self.log.append([(b"click/manifest", self.rng.randbytes(20))])

    def new_reader(self) -> None:
        self.readers.append(self.new(asking=self.rng.random() < 0.7))

    def read(self) -> None:
        for reader in self.readers:
            for _ in range(self.rng.randrange(20)):
                reader.read(self.log, 1)
                assert_right(reader, self.truth, informed=self.informed)


ACTIONS = [
    *["learn_and_publish", "read"] * 3,
    *["crash_while_publishing", "restart", "two_learners_at_once", "checkpoint", "compact", "new_reader"],
    *["lose_the_checkpoint", "lose_records", "garbage", "change_what_rankings_ask"],
]


@both_kinds
@settings(max_examples=300, deadline=None)
@given(st.lists(st.sampled_from(ACTIONS), min_size=5, max_size=60), st.integers(0, 10_000))
def test_a_replica_never_errs_and_ends_with_what_the_learner_sends(kind: str, script: list[str], seed: int) -> None:
    world = World(seed, kind)
    for action in script:
        getattr(world, action)()

    # The learner gets beyond what was ever published; within a turn of the blocks nobody is left behind.
    world.learner.learn(max(0, world.newest - world.learner.next_offset))
    for _ in range(FEW + 1):
        world.learn_and_publish()
    for reader in [*world.readers, world.new()]:
        while reader.position < len(world.log.records):
            reader.read(world.log, 1)
            assert_right(reader, world.truth, informed=world.informed)
        assert reader.replica.version == world.learner.next_offset
        assert (reader.replica.information is not None) == (reader.asking and world.learner.informed)


@both_kinds
@settings(max_examples=100, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 30))
def test_a_reader_that_starts_on_a_compacted_log_is_complete_at_once(kind: str, seed: int, count: int) -> None:
    truth: Truth = {}
    new_learner, new_reader = KINDS[kind]
    rng, log, learner = random.Random(seed), Log(), new_learner(seed, truth)
    for _ in range(count):
        learner.learn(rng.randrange(1, 9))
        log.append(learner.publish())
        if rng.random() < 0.5:
            log.compact(rng, share=rng.choice([0.5, 1.0]), until=rng.randrange(len(log.records) + 1))

    reader = new_reader()
    reader.read(log)

    assert reader.replica.version == learner.next_offset
    assert (reader.replica.information is not None) == learner.informed
    assert_right(reader, truth, informed=learner.informed)


def test_a_running_replica_needs_only_the_deltas() -> None:
    truth: Truth = {}
    log, learner, reader = Log(), Learner(1, truth), Reader()
    for i in range(10):
        learner.learn(5)
        records = learner.publish()
        log.append(records if i == 0 else [record for record in records if b"/block/" not in record[0]])
        reader.read(log)
        assert reader.replica.version == learner.next_offset
        assert reader.replica.information is not None
        assert_right(reader, truth, informed=True)


def test_a_scorer_that_starts_while_a_restarted_learner_catches_up_gets_no_mixture() -> None:
    # versions on the topic   5   10 ... 50 | crash |  25'  30'  (25' writes all blocks)
    #                                   the scorer starts here ^
    truth: Truth = {}
    log, learner, running = Log(), Learner(2, truth), Reader()
    saved = None
    for _ in range(10):
        learner.learn(5)
        log.append(learner.publish())
        if learner.next_offset == 20:
            saved = learner.checkpoint()
    running.read(log)
    learner = learner.restarted(saved)
    for _ in range(2):
        learner.learn(5)
        log.append(learner.publish())
    log.compact(random.Random(0))
    late = Reader()
    late.read(log)
    running.read(log)

    assert late.replica.version == 30
    assert running.replica.version == 50
    assert_right(late, truth, informed=True)
    assert_right(running, truth, informed=True)


def test_another_course_of_learning_takes_over_whole_once_it_is_ahead() -> None:
    truth: Truth = {}
    log, reader, first = Log(), Reader(), Learner(3, truth)
    first.learn(40)
    log.append(first.publish())
    reader.read(log)
    second = Learner(4, truth)  # its checkpoint was lost, and older examples are gone
    second.next_offset = 20
    versions = []
    for _ in range(4):
        second.learn(9)
        log.append(second.publish())
        reader.read(log)
        versions.append(reader.replica.version)

    assert versions == [40, 40, 47, 56]
    assert_right(reader, truth, informed=True)


def test_large_publications_are_split_and_count_only_whole() -> None:
    truth: Truth = {}
    log, learner = Log(), Learner(5, truth, max_bytes=400)
    learner.learn(3)
    log.append(learner.publish())
    learner.learn(200)
    records = learner.publish()
    parts = [key for key, _ in records if b"/delta/" in key]
    whole, lacking = Reader(), Reader()
    whole.read(log)
    lacking.read(log)

    for _, value in records:
        whole.replicas.apply(value)
    for key, value in records:
        if key != parts[1]:
            lacking.replicas.apply(value)

    assert len(parts) > 3
    assert max(len(value) for _, value in records) < 400 + 200
    assert (whole.replica.version, lacking.replica.version) == (203, 3)
    assert lacking.replica.incomplete == 1
    assert whole.replica.information is not None
    assert_right(whole, truth, informed=True)
    assert_right(lacking, truth, informed=True)


@pytest.mark.parametrize("informed", [False, True])
def test_messages_stay_below_a_brokers_limit_with_the_longest_names(informed: bool) -> None:
    model = SparseFTRL()
    for i in range(3000):
        x = {"\x01é𝄞" * 120 + str(i): 1.0}
        model.learn_one(x, True)
        model.learn_one(x, False)
    distributor = make_distributor(OBJECTIVE, lineage=LINEAGE, estimator=model, informed=informed)
    distributor.publish(1)
    for i in range(3000):
        model.learn_one({"\x01é𝄞" * 120 + str(i): 1.0}, True)

    records = distributor.publish(2)

    assert max(len(value) for _, value in records) < 1_000_000
    assert sum(b"/delta/" in key for key, _ in records) > 1


def test_every_weight_belongs_to_one_block() -> None:
    assert {block_of(f"f{i}") for i in range(5000)} == set(range(BLOCKS))


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"\xff\x00",
        b"[]",
        b"{}",
        b'{"kind":"delta"}',
        b'{"kind":"block","objective":"click","lineage":"1f0c","origin":1,"version":2,"block":256,"weights":{}}',
        b'{"kind":"block","objective":"click","lineage":"1f0c","origin":1,"version":2,"block":0,"weights":{"a":null}}',
        b'{"kind":"block","objective":"click","lineage":"1f0c","origin":1,"version":2,"block":0,"weights":{"a":1e999}}',
        b'{"kind":"block","objective":"click","lineage":"1f0c","origin":1,"version":2,"block":0,"weights":{},'
        b'"information":{"a":-1.0}}',
        b"[" * 100_000,
    ],
)
def test_garbage_on_the_topic_is_counted_and_changes_nothing(value: bytes) -> None:
    truth: Truth = {}
    log, learner, reader = Log(), Learner(6, truth), Reader()
    learner.learn(10)
    log.append(learner.publish())
    reader.read(log)

    reader.replicas.apply(value)

    assert reader.replicas.unreadable == 1
    assert_right(reader, truth, informed=True)


def test_tombstones_and_other_lineages_are_passed_over() -> None:
    reader = Reader()
    model = SparseFTRL()
    model.learn_one({"a": 1.0}, True)
    for objective, lineage in ((OBJECTIVE, "other"), ("purchase", LINEAGE)):
        for _, value in make_distributor(objective, lineage=lineage, estimator=model).publish(1):
            reader.replicas.apply(value)
    foreign = reader.replicas.foreign

    reader.replicas.apply(None)

    assert foreign == 2 * (BLOCKS + 1)
    assert (reader.replica.version, reader.replicas.unreadable) == (0, 0)


def test_a_replica_without_a_model_says_the_prior_and_no_reasons() -> None:
    linear = LinearReplica(lineage=LINEAGE, name="ftrl", prior=0.03)
    opaque = OpaqueReplica(lineage=LINEAGE, spare=build(RIVERS, key=KEY), prior=0.03)

    assert linear.score_one({"a": 1.0}, 3) == opaque.score_one({"a": 1.0}, 3) == (0.03, [])
    assert (linear.version, opaque.version) == (0, 0)


def test_a_replica_scores_and_explains_as_the_learner_would() -> None:
    truth: Truth = {}
    log, learner, reader = Log(), Learner(7, truth), Reader()
    learner.learn(300)
    log.append(learner.publish())
    reader.read(log)

    for i in range(60):
        x = {f"f{i}": 1.0, f"f{i // 2}": -2.0, "f3": 0.5, "unknown": 9.0}
        assert reader.replica.score_one(x, 2) == learner.model.predict_with_contributions(x, 2)
        assert reader.replica.score_one(x, 0) == (learner.model.predict_proba_one(x)[True], [])
