"""A challenger that was added catches up from the broker, beside the models that were there."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from conftest import Broker
from learner_bench import Published, an_example, at_once, model_of, undisturbed

from online_models.serving import Served
from schemas.codec import encode_json
from streams import learner
from streams.example_log import KafkaExampleLog
from streams.learner import LearnerSession, open_learner
from streams.publish import Publisher
from streams.settings import Settings, parse_settings
from streams.stores import DictStateStore
from streams.telemetry import Telemetry

COUNT = 3_000


def settings_of(broker: Broker, topic: str, *, challengers: str) -> Settings:
    return parse_settings(
        f"""
features:
  price: {{field: price, transform: log1p}}
objectives:
  click:
    trigger: impression
    outcome: click
    window: 30m
    match: user
    model: {{name: ftrl}}
    challengers: {challengers}
topics: {{examples: {topic}}}
kafka: {{bootstrap_servers: "{broker.bootstrap_servers}"}}
""",
        {},
    )


async def opened(settings: Settings, store: DictStateStore) -> LearnerSession:
    return await open_learner(
        0,
        1,
        settings=settings,
        store=store,
        publisher=cast(Publisher, Published()),
        telemetry=Telemetry(),
        attempt=at_once,
        served={one.name: Served(one.variants) for one in settings.objectives},
        knows_served=lambda: True,
        log=KafkaExampleLog(settings),
    )


async def test_a_challenger_that_was_added_catches_up_from_the_broker(
    broker: Broker, unique: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(learner, "_FAR_BEHIND", 100)
    topic, store = unique("examples"), DictStateStore()
    before = settings_of(broker, topic, challengers="{}")
    added = settings_of(broker, topic, challengers="{slow: {model: {name: ftrl, alpha: 0.01}}}")
    admin = AIOKafkaAdminClient(bootstrap_servers=broker.bootstrap_servers)
    await admin.start()
    await admin.create_topics([NewTopic(topic, 1, 1)])
    await admin.close()
    examples = [an_example("click", number) for number in range(COUNT)]
    async with AIOKafkaProducer(bootstrap_servers=broker.bootstrap_servers) as producer:
        for one in examples:
            await producer.send(topic, encode_json(one), key=b"click", partition=0)
    session = await opened(before, store)
    async for records in KafkaExampleLog(before).rest(0, session.next_offset):
        await session.run_batch(records)
    await session.save()

    session = await opened(added, store)
    assert (session.next_offset, [*session.behind]) == (COUNT, ["click~slow"])
    faults: list[object] = []
    session.catch_up(on_fenced=lambda: faults.append("fenced"), on_failure=faults.append)
    async with asyncio.timeout(30):
        while session.behind:
            await asyncio.sleep(0.01)
    await session.close()

    assert faults == []
    for name in ("click", "click~slow"):
        assert model_of(session._cores[name]) == undisturbed(name, examples)
    assert session._cores["click~slow"].read_to == COUNT


async def test_catching_up_can_be_ended_in_its_midst(
    broker: Broker, unique: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(learner, "_FAR_BEHIND", -1)  # all of them: they wait for records that do not come
    topic = unique("examples")
    admin = AIOKafkaAdminClient(bootstrap_servers=broker.bootstrap_servers)
    await admin.start()
    await admin.create_topics([NewTopic(topic, 1, 1)])
    await admin.close()
    session = await opened(settings_of(broker, topic, challengers="{}"), DictStateStore())
    faults: list[object] = []
    session.catch_up(on_fenced=lambda: faults.append("fenced"), on_failure=faults.append)
    assert session._catch_up is not None
    assert session._catch_up._task is not None
    await asyncio.sleep(0.1)

    async with asyncio.timeout(10):
        await session.close()

    assert session._catch_up._task.done()
    assert faults == []
