"""A model that is new to a partition reads what was there before it, and keeps none of the others waiting."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from random import Random
from typing import Any

import learner_bench
import pytest
from learner_bench import SETTINGS, Deployment, Record, an_example, model_of, undisturbed

from schemas.codec import encode_json
from schemas.examples import Example
from streams import catch_up, learner
from streams.learner import LearnerSession
from streams.settings import Settings, parse_settings
from streams.stores import Fenced
from streams.transport import TransportOptions

NAMES = ("click", "click~slow", "sale")


def without(*names: str) -> Settings:
    """Return the configuration before a challenger or an objective was added to it."""
    slow = "" if "slow" in names else "    challengers: {slow: {model: {name: ftrl, alpha: 0.01}}}\n"
    sale = "  sale: {trigger: click, outcome: purchase, window: 30m, match: user, model: {name: ftrl}}\n"
    return parse_settings(
        f"""
features:
  price: {{field: price, transform: log1p}}
learning: {{publish_examples: 20}}
objectives:
  click:
    trigger: impression
    outcome: click
    window: 30m
    match: user
    model: {{name: ftrl}}
{slow}{"" if "sale" in names else sale}""",
        {},
    )


@pytest.fixture(autouse=True)
def near(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(learner, "_FAR_BEHIND", 50)
    monkeypatch.setattr(catch_up, "_PORTION", 10)
    monkeypatch.setattr(catch_up, "_AGAIN_S", 0.0)


async def learned_before(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch, *names: str, clicks: int = 500, sales: int = 100
) -> dict[str, list[Example]]:
    """Have a deployment learn without some models, end it, and declare these."""
    monkeypatch.setattr(learner_bench, "SETTINGS", without(*names))
    examples = {"click": deployment.topic.produce("click", clicks), "sale": deployment.topic.produce("sale", sales)}
    session = await deployment.open()
    await deployment.read(session)
    await session.save()
    monkeypatch.setattr(learner_bench, "SETTINGS", SETTINGS)
    return examples


async def catch_up_with(session: LearnerSession) -> None:
    assert session._catch_up is not None
    await session._catch_up.read()


def versions(session: LearnerSession) -> dict[str, int]:
    return {name: core.version for name, core in session._cores.items()}


async def test_the_others_learn_and_publish_while_a_challenger_that_was_added_catches_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    deployment = Deployment()
    examples = await learned_before(deployment, monkeypatch, "slow")

    session = await deployment.open()
    examples["click"] += deployment.topic.produce("click", 40)
    assert session.next_offset == 600
    assert await deployment.read(session) == 40

    assert versions(session) == {"click": 640, "click~slow": 0, "sale": 600}
    assert deployment.published.versions("click")[-2:] == [620, 640]
    await catch_up_with(session)
    assert not session.behind
    examples["click"] += deployment.topic.produce("click", 25)
    for one in deployment.topic.between(0, 640):
        await session.run_batch([one])
    for name in NAMES:
        assert model_of(session._cores[name]) == undisturbed(name, examples[name.partition("~")[0]])


async def test_a_challenger_that_has_caught_up_has_published_what_it_would_have_from_the_beginning(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    straight, added = Deployment(), Deployment()
    await learned_before(straight, monkeypatch)
    await learned_before(added, monkeypatch, "slow")
    sessions = [await one.open() for one in (straight, added)]
    await catch_up_with(sessions[1])
    for deployment, session in zip((straight, added), sessions, strict=True):
        deployment.topic.produce("click", 60)
        await deployment.read(session)

    for name in NAMES:
        assert added.published.versions(name) == straight.published.versions(name)
        checkpoints = [session._cores[name].checkpoint() for session in sessions]
        # The one that was there from the beginning has more evidence, since its champion has seen its scores.
        assert name == "click" or checkpoints[0] == checkpoints[1]


async def test_a_task_of_its_own_catches_up_while_batches_come(monkeypatch: pytest.MonkeyPatch) -> None:
    deployment = Deployment()
    examples = await learned_before(deployment, monkeypatch, "slow", clicks=2000)
    session = await deployment.open()
    session.catch_up(on_fenced=lambda: pytest.fail("fenced"), on_failure=lambda error: pytest.fail(str(error)))
    reached, caught_up = session.next_offset, []

    for _ in range(60):
        examples["click"] += deployment.topic.produce("click", 3)
        await session.run_batch(deployment.topic.between(0, reached))
        reached += 3
        caught_up.append(session.behind_offset)
        await asyncio.sleep(0)
    assert session._catch_up is not None
    assert session._catch_up._task is not None
    await session._catch_up._task
    examples["click"] += deployment.topic.produce("click", 30)
    await session.run_batch(deployment.topic.between(0, reached))
    await session.close()

    assert 0 < caught_up[-1] < 2000  # both have learned in turns
    for name in NAMES:
        assert model_of(session._cores[name]) == undisturbed(name, examples[name.partition("~")[0]])


async def test_an_objective_that_was_added_reads_none_of_the_records_with_another_key(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    deployment = Deployment()
    await learned_before(deployment, monkeypatch, "sale", sales=0)
    log = deployment.topic.partitions[0]
    garbage = [Record(one.offset, b"never decoded", one.timestamp, b"click") for one in log]
    first = an_example("sale", 1000)
    garbage[321] = Record(321, encode_json(first), log[321].timestamp, b"sale")
    deployment.topic.partitions[0] = garbage
    session = await deployment.open()
    assert session.next_offset == 500

    await catch_up_with(session)

    assert session.unreadable == 0
    assert model_of(session._cores["sale"]) == undisturbed("sale", [first])
    assert session._cores["sale"].read_to == 500


async def test_a_model_that_is_not_far_behind_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    deployment = Deployment()
    examples = await learned_before(deployment, monkeypatch, "slow", clicks=30, sales=20)

    session = await deployment.open()

    assert (session.next_offset, [*session.behind]) == (0, [])
    await deployment.read(session)
    assert model_of(session._cores["click~slow"]) == undisturbed("click~slow", examples["click"])


@pytest.mark.parametrize("saved", [True, False])
async def test_catching_up_that_is_interrupted_goes_on_from_the_checkpoint(
    monkeypatch: pytest.MonkeyPatch, saved: bool
) -> None:
    deployment = Deployment()
    examples = await learned_before(deployment, monkeypatch, "slow")
    session = await deployment.open()
    for first in range(0, 200, 10):
        assert await session.learn_behind(first, deployment.topic.between(0, first, first + 10))
    if saved:
        await session.save()

    session = await deployment.open()

    assert session.behind_offset == (200 if saved else 0)
    await catch_up_with(session)
    assert model_of(session._cores["click~slow"]) == undisturbed("click~slow", examples["click"])


async def test_whoever_is_fenced_or_fails_while_it_catches_up_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    for error in (Fenced("our place in the group", expected="ours", found="another"), RuntimeError("a fault")):
        deployment = Deployment()
        await learned_before(deployment, monkeypatch, "slow")
        session = await deployment.open()
        told: list[object] = []

        async def publish_models(*_: Any, error: Exception = error) -> None:
            raise error

        monkeypatch.setattr(deployment.published, "publish_models", publish_models)
        session.catch_up(on_fenced=lambda told=told: told.append("fenced"), on_failure=told.append)  # type: ignore
        assert session._catch_up is not None
        assert session._catch_up._task is not None
        await asyncio.wait([session._catch_up._task])

        assert told == ["fenced" if isinstance(error, Fenced) else error]
        await session.close()


async def test_closing_waits_for_what_is_being_published_and_reads_no_further(monkeypatch: pytest.MonkeyPatch) -> None:
    deployment = Deployment()
    await learned_before(deployment, monkeypatch, "slow")
    session = await deployment.open()
    begun, may_end = asyncio.Event(), asyncio.Event()
    publish = deployment.published.publish_models

    async def publish_models(publications: Sequence[Any], told: Sequence[Any]) -> None:
        begun.set()
        await may_end.wait()
        await publish(publications, told)

    monkeypatch.setattr(deployment.published, "publish_models", publish_models)
    session.catch_up(on_fenced=lambda: pytest.fail("fenced"), on_failure=lambda error: pytest.fail(str(error)))
    await begun.wait()

    closing = asyncio.create_task(session.close())
    await asyncio.sleep(0)
    may_end.set()
    await closing

    assert deployment.published.versions("click~slow") == [20]
    assert session._cores["click~slow"].version == session.behind_offset == 21  # read in sevens


async def test_what_cannot_be_read_is_left_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Within the time for giving a partition up, in which what was learned is to be saved too."""
    deployment = Deployment()
    await learned_before(deployment, monkeypatch, "slow")
    session = await deployment.open()
    assert session._catch_up is not None
    monkeypatch.setattr(session._catch_up._log, "rest", _never)
    session.catch_up(on_fenced=lambda: pytest.fail("fenced"), on_failure=lambda error: pytest.fail(str(error)))
    await asyncio.sleep(0)

    async with asyncio.timeout(TransportOptions().revoke_timeout_s - 2):
        await session.close()


async def _never(partition: int, position: int) -> AsyncIterator[Any]:
    await asyncio.Event().wait()
    yield []


async def test_what_was_learned_and_could_not_be_published_in_time_is_not_saved(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Or its version would be missing for good."""
    deployment = Deployment()
    examples = await learned_before(deployment, monkeypatch, "slow")
    session = await deployment.open()
    begun = asyncio.Event()
    publish = deployment.published.publish_models

    async def publish_models(publications: Sequence[Any], told: Sequence[Any]) -> None:
        begun.set()
        await asyncio.Event().wait()

    monkeypatch.setattr(deployment.published, "publish_models", publish_models)
    monkeypatch.setattr(catch_up, "_STOP_S", 0.01)
    session.catch_up(on_fenced=lambda: pytest.fail("fenced"), on_failure=lambda error: pytest.fail(str(error)))
    await begun.wait()
    await session.close()
    await session.save()

    monkeypatch.setattr(deployment.published, "publish_models", publish)
    session = await deployment.open()
    await catch_up_with(session)
    assert deployment.published.versions("click~slow") == list(range(20, 501, 20))
    assert model_of(session._cores["click~slow"]) == undisturbed("click~slow", examples["click"])


class Course:
    """A random course: models are added, batches come, the log begins anew, learners end or crash."""

    def __init__(self, seed: int, examples: dict[str, list[Example]], deployment: Deployment) -> None:
        self.chance = Random(seed)
        self.examples = examples
        self.deployment = deployment
        self.position = 0

    async def open(self) -> LearnerSession:
        session = await self.deployment.open()
        self.position = session.next_offset
        return session

    async def read(self, session: LearnerSession, count: int) -> None:
        records = self.deployment.topic.between(0, self.position)[:count]
        if records:
            await session.run_batch(records)
            self.position = records[-1].offset + 1

    async def step(self, session: LearnerSession) -> LearnerSession:
        topic = self.deployment.topic
        what = self.chance.choice(("produce", "read", "read", "behind", "behind", "crash", "save", "create"))
        if what == "produce":
            objective = self.chance.choice(("click", "sale"))
            self.examples[objective] += topic.produce(objective, self.chance.randrange(30))
        elif what == "read":
            await self.read(session, self.chance.randrange(1, 40))
        elif what == "behind" and session.behind:
            records = topic.between(0, session.behind_offset)[: self.chance.randrange(1, 120)]
            if records:
                await session.learn_behind(session.behind_offset, records)
        elif what == "save":
            await session.save()
        elif what == "crash":
            return await self.open()
        elif self.position == topic.end(0) and not session.behind and self.chance.random() < 0.2:
            topic.create(1)  # what is destroyed unread would be lost, whatever a learner does
            self.position = 0
        return session


@pytest.mark.parametrize("seed", range(20))
async def test_whoever_is_added_whenever_learns_each_example_once(monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    deployment = Deployment()
    added = (("slow",), ("sale",), ("slow", "sale"))[seed % 3]
    examples = await learned_before(deployment, monkeypatch, *added)
    course = Course(seed, examples, deployment)
    session = await course.open()
    assert session.behind

    for _ in range(60):
        session = await course.step(session)
    while session.behind:
        await session.learn_behind(session.behind_offset, deployment.topic.between(0, session.behind_offset))
    await course.read(session, 10_000)

    for name in NAMES:
        assert model_of(session._cores[name]) == undisturbed(name, examples[name.partition("~")[0]])


async def test_a_log_that_begins_anew_under_both_readers_loses_nothing_of_the_new_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for the_others_first in (True, False):
        deployment = Deployment()
        examples = await learned_before(deployment, monkeypatch, "slow")
        session = await deployment.open()
        for first in range(0, 50, 10):
            await session.learn_behind(first, deployment.topic.between(0, first, first + 10))
        deployment.topic.create(1)
        after = deployment.topic.produce("click", 80)

        new = deployment.topic.between(0, 0)
        if the_others_first:
            await session.run_batch(new[:30])
            assert not await session.learn_behind(50, new[:10])  # what was read on in the old log is not taken
        else:
            assert await session.learn_behind(50, new[:70])
            await session.run_batch(new[:30])
        await catch_up_with(session)
        await session.run_batch(new[30:])

        seen = [one for one in examples["click"] if one.offset < 50]
        assert model_of(session._cores["click~slow"]) == undisturbed("click~slow", [*seen, *after])
        assert model_of(session._cores["click"]) == undisturbed("click", [*examples["click"], *after])
