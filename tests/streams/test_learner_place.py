"""A learner whose log is not the one it left: nothing is learned twice, nothing unread left out, all of it told."""

from __future__ import annotations

import logging
from random import Random
from typing import Any

import msgspec
import pytest
from learner_bench import SETTINGS, Deployment, an_example, fresh, model_of, undisturbed

from online_models.learning import LearningCore
from online_models.replica import ReplicaSet
from schemas.examples import Example
from streams import learner_place
from streams.learner import checkpoint_name
from streams.learner_place import PartitionsChanged
from streams.new_models import new_replicas

NAMES = ("click", "click~slow", "sale")


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(learner_place, "_LOOK_S", 0.0)


def told(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [one.getMessage() for one in caplog.records if one.levelno >= logging.WARNING]


def follow(replicas: ReplicaSet, deployment: Deployment) -> ReplicaSet:
    for publications in deployment.published.models.values():
        for publication in publications:
            for _, value in publication.records:
                replicas.apply(value)
    return replicas


async def learned_and_left(deployment: Deployment, count: int = 50) -> list[Example]:
    """Have a learner learn examples of `click`, keep them, and end."""
    examples = deployment.topic.produce("click", count)
    session = await deployment.open()
    await deployment.read(session)
    await session.publish_pending()
    await session.save()
    return examples


async def test_after_partitions_were_added_the_rest_of_the_old_one_is_learned_first(
    caplog: pytest.LogCaptureFixture,
) -> None:
    deployment = Deployment()
    examples = await learned_and_left(deployment)
    examples += deployment.topic.produce("click", 13)  # unread when the partitions were added
    deployment.topic.grow(2)
    examples += deployment.topic.produce("click", 30)
    assert deployment.topic.place("click") == 1

    session = await deployment.open()
    assert await deployment.read(session) == 30
    await session.publish_pending()
    await session.save()

    core = await deployment.saved("click")
    assert model_of(core) == undisturbed("click", examples)
    assert (core.reading.partition, core.next_offset, core.version) == (1, 30, 93)
    assert deployment.published.versions("click") == [20, 40, 50, 70, 90, 93]
    assert any("what is left on that of before is learned first" in one for one in told(caplog))


async def test_a_topic_that_was_created_anew_is_read_from_its_beginning(caplog: pytest.LogCaptureFixture) -> None:
    deployment = Deployment()
    examples = await learned_and_left(deployment)
    deployment.topic.create(1)
    examples += deployment.topic.produce("click", 49)

    session = await deployment.open()
    await deployment.read(session)
    await session.publish_pending()
    await session.save()

    core = await deployment.saved("click")
    assert model_of(core) == undisturbed("click", examples)
    assert (core.next_offset, core.version) == (49, 99)
    assert any("the topic was created anew" in one for one in told(caplog))


async def test_a_topic_that_was_created_anew_is_known_by_its_records_where_its_offsets_have_gone_beyond() -> None:
    deployment = Deployment()
    examples = await learned_and_left(deployment)
    deployment.topic.create(1)
    examples += deployment.topic.produce("click", 120)

    session = await deployment.open()
    await deployment.read(session)
    await session.save()

    assert model_of(await deployment.saved("click")) == undisturbed("click", examples)


async def test_scorers_follow_a_learner_that_has_come_to_another_log() -> None:
    deployment = Deployment()
    await learned_and_left(deployment)
    replicas = follow(new_replicas(SETTINGS), deployment)
    assert (replicas["click"].version, replicas["click"].begun_at) == (50, 0)
    deployment.topic.create(1)
    deployment.topic.produce("click", 5)

    session = await deployment.open()
    await deployment.read(session)
    await session.publish_pending()

    for followers in (follow(replicas, deployment), follow(new_replicas(SETTINGS), deployment)):
        replica: Any = followers["click"]
        assert (replica.version, replica.begun_at) == (55, 50)
        model: Any = session._cores["click"]._estimator
        assert replica.weights == model.weights_of(replica.weights)


async def test_a_log_that_lost_its_end_is_read_again_and_nothing_learned_twice(
    caplog: pytest.LogCaptureFixture,
) -> None:
    deployment = Deployment()
    examples = await learned_and_left(deployment)
    deployment.topic.truncate(0, 40)
    examples += deployment.topic.produce("click", 25)  # offsets 40 to 64: ten of them were read, of other examples

    session = await deployment.open()
    assert await deployment.read(session) == 65
    await session.save()

    assert model_of(await deployment.saved("click")) == undisturbed("click", examples)
    assert any("a broker has lost its end" in one for one in told(caplog))


async def test_a_log_that_begins_anew_while_it_is_read_is_learned_from(caplog: pytest.LogCaptureFixture) -> None:
    deployment = Deployment()
    examples = deployment.topic.produce("click", 50)
    session = await deployment.open()
    await deployment.read(session)
    deployment.topic.create(1)
    examples += deployment.topic.produce("click", 12)

    await session.run_batch(deployment.topic.between(0, 0))  # the transport has rewound
    examples += deployment.topic.produce("click", 3)
    await session.run_batch(deployment.topic.between(0, 12))
    await session.save()

    core = await deployment.saved("click")
    assert model_of(core) == undisturbed("click", examples)
    assert (core.next_offset, core.version) == (15, 65)
    assert any("truncated or created anew" in one for one in told(caplog))


async def test_what_retention_took_unread_is_counted(caplog: pytest.LogCaptureFixture) -> None:
    deployment = Deployment()
    await learned_and_left(deployment)
    deployment.topic.produce("click", 30)
    deployment.topic.retain(0, 70)
    deployment.topic.produce("click", 5)

    session = await deployment.open()
    assert await deployment.read(session) == 15
    await session.save()

    core = await deployment.saved("click")
    kept = [an_example("click", number) for number in (*range(50), *range(70, 85))]
    assert model_of(core) == undisturbed("click", kept)
    assert core.version == 85
    fields: list[Any] = [one.__dict__["fields"] for one in caplog.records if "retention" in one.getMessage()]
    assert {one["objective"]: one["records_at_most"] for one in fields} == {"click": 20, "click~slow": 20}


async def test_an_undisturbed_restart_says_nothing_and_writes_nothing(caplog: pytest.LogCaptureFixture) -> None:
    deployment = Deployment()
    await learned_and_left(deployment)
    deployment.topic.retain(0, 50)  # to where it was read, and not beyond
    written = list(deployment.store.written)

    session = await deployment.open()
    await session.save()

    assert told(caplog) == []
    assert deployment.store.written == written


async def test_a_worker_that_does_not_know_of_the_partitions_ends_before_it_touches_a_checkpoint() -> None:
    deployment = Deployment()
    await learned_and_left(deployment)
    deployment.topic.grow(3)
    assert deployment.topic.place("click") == 0
    written = list(deployment.store.written)

    with pytest.raises(PartitionsChanged, match=r"has 3 partitions and had 1 .* start it again"):
        await deployment.open(partitions=1)

    assert deployment.store.written == written


async def test_a_checkpoint_of_before_is_read_and_learns_where_its_log_is() -> None:
    deployment = Deployment()
    examples = await learned_and_left(deployment)
    for name in ("click", "click~slow"):
        key = checkpoint_name(SETTINGS, name)
        found = await deployment.store.load_blob(key)
        assert found is not None
        before = msgspec.msgpack.encode(msgspec.msgpack.decode(found[0])[:13])  # as it was without its last field
        await deployment.store.save_blob(key, before, expected_token=found[1])
    examples += deployment.topic.produce("click", 7)

    session = await deployment.open()
    assert session._cores["click"].read_to == 50
    await deployment.read(session)
    await session.save()

    core = await deployment.saved("click")
    assert model_of(core) == undisturbed("click", examples)
    assert (core.version, core.reading.topic, core.reading.next_offset) == (57, "examples", 57)


class Course:
    """A random course of a deployment, beside the examples that its models should have learned."""

    def __init__(self, seed: int) -> None:
        self.chance = Random(seed)
        self.deployment = Deployment()
        self.alive: dict[str, list[Example]] = {"click": [], "sale": []}

    def produce(self) -> None:
        for _ in range(self.chance.randrange(4)):
            objective = "sale" if self.chance.random() < 0.2 else "click"
            self.alive[objective] += self.deployment.topic.produce(objective, self.chance.randrange(15))

    async def learn(self, *, whole: bool = False) -> None:
        """Let the learner of every partition work for a while, and end in order or by a crash."""
        for objective in ("click", "sale"):
            session = await self.deployment.open(objective)
            place = self.deployment.topic.place(objective)
            records = self.deployment.topic.between(place, session.next_offset)
            if not whole:
                records = records[: self.chance.randrange(len(records) + 1)]
            step = self.chance.choice((1, 4, 30, 200))
            for first in range(0, len(records), step):
                await session.run_batch(records[first : first + step])
                if self.chance.random() < 0.2:
                    await session.publish_pending()
            if whole or self.chance.random() < 0.6:
                await session.save()

    async def disturb(self) -> None:
        topic = self.deployment.topic
        what = self.chance.choice(("grow", "create", "truncate", "repeat"))
        if what == "grow" and len(topic.partitions) < 5:
            topic.grow(len(topic.partitions) + self.chance.randrange(1, 3))
        elif what == "repeat":  # a scorer crashed, and publishes its last examples again
            for one in sorted(self.alive["click"], key=lambda one: one.offset)[-3:]:
                topic.append(one)
        elif what != "grow":
            await self.learn(whole=True)  # what is destroyed unread is lost, whatever a learner does
            if what == "create":
                topic.create(self.chance.randrange(1, 4))
            else:
                for partition in range(len(topic.partitions)):
                    topic.truncate(partition, self.chance.randrange(topic.end(partition) + 1))


@pytest.mark.parametrize("seed", range(15))
async def test_whatever_becomes_of_the_log_each_example_is_learned_once(seed: int) -> None:
    course = Course(seed)
    for _ in range(12):
        course.produce()
        await course.learn()
        if course.chance.random() < 0.5:
            await course.disturb()
    await course.learn(whole=True)

    for name in NAMES:
        expected = undisturbed(name, course.alive[name.partition("~")[0]])
        core: LearningCore = fresh()[name]
        if expected[1]:
            core = await course.deployment.saved(name)
        assert model_of(core) == expected
    replicas = follow(new_replicas(SETTINGS), course.deployment)
    for name in NAMES:
        versions = course.deployment.published.versions(name)
        assert replicas[name].version == max(versions, default=0)
