"""What every worker follows whole: a record that is bad is passed over, and nothing else ends it unseen."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import KafkaConnectionError, SaslAuthenticationFailed, TopicAuthorizationFailedError
from conftest import Broker
from polling import eventually_async

from schemas.codec import BadRecord, decode_model_record
from schemas.dead_letters import INVALID
from streams.output import OutputRefused
from streams.retry import Outages
from streams.sections import KafkaSettings
from streams.topic_feed import NotTaken, TopicFeed

LATIN = b'{"kind":"serving","objective":"caf\xe9","variant":"","before":"","number":1}'


class Topic:
    """A topic with one partition, and what a feed took of it."""

    def __init__(self, broker: Broker, name: str) -> None:
        self.name = name
        self.kafka = KafkaSettings(bootstrap_servers=broker.bootstrap_servers)
        self.taken: list[bytes] = []
        self.failures: list[BaseException] = []
        self.failed = asyncio.Event()
        self.began: list[str] = []
        self.outages = Outages(self.began.append)

    async def put(self, *values: bytes) -> None:
        async with AIOKafkaProducer(**self.kafka.client_kwargs()) as producer:
            for value in values:
                await producer.send_and_wait(self.name, value)

    def feed(self, take: Callable[[bytes], None]) -> TopicFeed:
        def taking(record: Any) -> None:
            take(record.value)
            self.taken.append(record.value)

        return TopicFeed(self.kafka, self.name, taking, on_failure=self._fail, outages=self.outages)

    def _fail(self, error: BaseException) -> None:
        self.failures.append(error)
        self.failed.set()

    async def until_taken(self, count: int) -> None:
        async with asyncio.timeout(20):
            while len(self.taken) < count:
                await asyncio.sleep(0.02)


@pytest.fixture
async def topic(embedded_broker: Broker, unique: Callable[[str], str]) -> Topic:
    made = Topic(embedded_broker, unique("fed"))
    admin = AIOKafkaAdminClient(**made.kafka.client_kwargs())
    await admin.start()
    await admin.create_topics([NewTopic(made.name, 1, 1)])
    await admin.close()
    return made


def refusing(wrong: bytes, error: Exception) -> Callable[[bytes], None]:
    def take(value: bytes) -> None:
        if value == wrong:
            raise error

    return take


async def test_a_bad_record_is_counted_and_passed_over(topic: Topic, caplog: pytest.LogCaptureFixture) -> None:
    await topic.put(b"a", b"wrong", b"b")
    feed = topic.feed(refusing(b"wrong", BadRecord(INVALID, "Expected better")))
    assert await feed.start()
    await topic.put(LATIN, b"wrong", b"c")

    await topic.until_taken(4)

    await feed.stop()
    assert topic.taken == [b"a", b"b", LATIN, b"c"]
    assert (feed.unreadable, topic.failures) == (2, [])
    assert "unreadable record" in caplog.text


@pytest.mark.parametrize("error", [KeyError("secret"), RuntimeError("secret"), OSError("secret")])
async def test_a_fault_of_our_own_ends_the_worker_and_names_the_record(
    topic: Topic, error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    await topic.put(b"a")
    feed = topic.feed(refusing(b"wrong", error))
    assert await feed.start()

    await topic.put(b"wrong", b"b")
    async with asyncio.timeout(20):
        await topic.failed.wait()

    [failure] = topic.failures
    assert isinstance(failure, NotTaken)
    assert str(failure) == f"{topic.name}[0]@1 cannot be taken in: {type(error).__name__}"
    assert failure.__cause__ is error
    assert topic.taken == [b"a"]
    assert [one.levelno for one in caplog.records if one.name == "streamscore.feeds"] == [logging.ERROR]
    await feed.stop()


async def test_a_fault_at_the_start_is_not_waited_out(topic: Topic) -> None:
    await topic.put(b"wrong")
    feed = topic.feed(refusing(b"wrong", KeyError("x")))

    async with asyncio.timeout(10):
        assert not await feed.start()

    assert len(topic.failures) == 1
    await feed.stop()


async def test_a_feed_that_is_stopped_has_not_failed(topic: Topic) -> None:
    feed = topic.feed(lambda value: None)
    assert await feed.start()

    await feed.stop()

    assert topic.failures == []


async def test_a_cancellation_that_the_client_lets_out_is_an_outage(topic: Topic) -> None:
    await topic.put(b"a")
    due = [asyncio.CancelledError()]

    def take(value: bytes) -> None:
        if due:
            raise due.pop()

    feed = topic.feed(take)
    assert await feed.start()

    await feed.stop()
    assert (topic.taken, topic.failures) == ([b"a"], [])


async def test_models_that_are_not_utf8_are_passed_over(topic: Topic) -> None:
    await topic.put(LATIN, LATIN.replace(b"caf\xe9", b"click"))

    def take(value: bytes) -> None:
        decode_model_record(value)

    feed = topic.feed(take)

    assert await feed.start()

    await feed.stop()
    assert (len(topic.taken), feed.unreadable) == (1, 1)


@pytest.mark.parametrize("refusal", [TopicAuthorizationFailedError("fed"), SaslAuthenticationFailed("fed")])
async def test_what_the_broker_does_not_let_us_read_ends_the_worker_and_says_what_to_do(
    topic: Topic, refusal: Exception, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def getmany(consumer: object, timeout_ms: int) -> None:
        raise refusal

    monkeypatch.setattr("aiokafka.AIOKafkaConsumer.getmany", getmany)
    feed = topic.feed(lambda value: None)

    async with asyncio.timeout(10):
        assert not await feed.start()

    [failure] = topic.failures
    assert isinstance(failure, OutputRefused)
    assert str(failure) == (
        f"Kafka does not let us read {topic.name} ({refusal}); check user, password and permissions: "
        f"Read on the topic {topic.name}"
    )
    assert (caplog.messages, topic.began) == ([], [])


async def test_a_topic_that_is_away_is_one_outage_however_often_it_is_tried(
    topic: Topic, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("streams.topic_feed._RETRY_S", 0.01)
    caplog.set_level(logging.INFO, logger="streamscore.feeds")
    due = [KafkaConnectionError("away")] * 3
    waiting: list[list[str]] = []

    reading = AIOKafkaConsumer.getmany

    async def getmany(consumer: AIOKafkaConsumer, timeout_ms: int) -> Any:
        waiting.append(topic.outages.steps)
        if due:
            raise due.pop()
        return await reading(consumer, timeout_ms=timeout_ms)

    monkeypatch.setattr("aiokafka.AIOKafkaConsumer.getmany", getmany)
    await topic.put(b"a")
    feed = topic.feed(lambda value: None)
    assert await feed.start()
    await eventually_async(lambda: topic.taken == [b"a"])

    step = f"follow {topic.name}"
    assert waiting[:4] == [[], [step], [step], [step]]
    assert (topic.began, topic.outages.steps, topic.failures) == ([step], [], [])
    assert caplog.messages == ["topic is away, trying again", "topic is back"]
    await feed.stop()


async def test_a_feed_that_is_stopped_while_its_topic_is_away_waits_no_more(
    topic: Topic, monkeypatch: pytest.MonkeyPatch
) -> None:
    topic.name = f"{topic.name}-none"
    feed = topic.feed(lambda value: None)
    starting = asyncio.create_task(feed.start())
    await eventually_async(lambda: topic.outages.steps == [f"follow {topic.name}"])

    starting.cancel()
    await feed.stop()

    assert topic.outages.steps == []
