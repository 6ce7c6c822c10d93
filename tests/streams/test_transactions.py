"""The outputs of a partition in transactions: what a failed or doubtful attempt means for the next one."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from aiokafka import TopicPartition
from aiokafka import errors as kafka_errors
from aiokafka.structs import OffsetAndMetadata

from streams.configs import shipped_config
from streams.out_records import OutRecord
from streams.output import Consumed
from streams.settings import load_settings
from streams.stores import Fenced, PartitionId, Unavailable
from streams.transactions import TransactionalOutput, TransactionsRefused

PLACE = PartitionId("events", 2)
BATCH = {("scores", 2): [OutRecord(b"u1", b"a"), OutRecord(b"u2", b"b")]}
EVENTS = Consumed(10, 20)


class Broker:
    """Keeps what was committed, and fails where it is told to.

    Attributes
    ----------
    fails
        Step to error: "start", "send", "commit" (nothing was done), "answer" (it was done, and nobody heard).
    """

    def __init__(self) -> None:
        self.fails: dict[str, Exception] = {}
        self.offset: int | None = None
        self.log: list[bytes] = []
        self.producers: list[Producer] = []

    def new_producer(self) -> Producer:
        self.producers.append(Producer(self))
        return self.producers[-1]

    async def committed(self) -> int | None:
        return self.offset

    def step(self, name: str) -> None:
        if name in self.fails:
            raise self.fails.pop(name)


class Filled:
    def __init__(self) -> None:
        self.values: list[bytes] = []

    def append(self, *, timestamp: int | None, key: bytes, value: bytes, headers: list[Any]) -> object:
        self.values.append(value)
        return self

    def record_count(self) -> int:
        return len(self.values)

    def size(self) -> int:
        return sum(map(len, self.values))


class Producer:
    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self._sent: list[bytes] = []
        self._offsets: dict[TopicPartition, OffsetAndMetadata] = {}
        self.stopped = False

    async def start(self) -> None:
        self._broker.step("start")

    async def stop(self) -> None:
        self.stopped = True

    async def begin_transaction(self) -> None:
        if self._broker.producers[-1] is not self:
            raise kafka_errors.ProducerFenced()

    def create_batch(self) -> Filled:
        return Filled()

    async def send_batch(self, batch: Filled, topic: str, *, partition: int) -> asyncio.Future[Any]:
        self._broker.step("send")
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        answer.set_result(type("Answer", (), {"offset": len(self._broker.log) + len(self._sent)}))
        self._sent += batch.values
        return answer

    async def send_offsets_to_transaction(self, offsets: dict[TopicPartition, OffsetAndMetadata], group: str) -> None:
        self._offsets = offsets

    async def commit_transaction(self) -> None:
        self._broker.step("commit")
        self._broker.log += self._sent
        self._broker.offset = self._offsets[TopicPartition(*PLACE)].offset
        self._broker.step("answer")


def an_output(broker: Broker) -> TransactionalOutput:
    settings = load_settings(shipped_config("shop"), {})
    return TransactionalOutput(settings, PLACE, new_producer=broker.new_producer, committed=broker.committed)


async def started(broker: Broker) -> TransactionalOutput:
    output = an_output(broker)
    await output.start()
    return output


async def test_records_and_offset_are_committed_together_and_the_ends_are_returned() -> None:
    broker = Broker()
    output = await started(broker)

    ends = await output.publish(BATCH, consumed=EVENTS)

    assert (broker.log, broker.offset, ends) == ([b"a", b"b"], 20, {("scores", 2): 2})


@pytest.mark.parametrize("step", ["send", "commit"])
async def test_an_attempt_that_failed_is_repeated_by_a_new_producer(step: str) -> None:
    broker = Broker()
    broker.offset = 10
    output = await started(broker)
    broker.fails[step] = kafka_errors.RequestTimedOutError()

    with pytest.raises(Unavailable):
        await output.publish(BATCH, consumed=EVENTS)
    await output.publish(BATCH, consumed=EVENTS)

    assert (broker.log, broker.offset, len(broker.producers)) == ([b"a", b"b"], 20, 2)
    assert broker.producers[0].stopped


async def test_a_commit_whose_answer_was_lost_is_not_repeated() -> None:
    broker = Broker()
    output = await started(broker)
    broker.fails["answer"] = kafka_errors.KafkaError("connection lost")

    with pytest.raises(Unavailable):
        await output.publish(BATCH, consumed=EVENTS)
    ends = await output.publish(BATCH, consumed=EVENTS)

    assert (broker.log, broker.offset, ends) == ([b"a", b"b"], 20, {})


async def test_who_was_replaced_publishes_nothing_and_takes_nothing_back() -> None:
    broker = Broker()
    zombie = await started(broker)
    owner = await started(broker)
    await owner.publish(BATCH, consumed=Consumed(10, 15))

    with pytest.raises(Fenced):
        await zombie.publish(BATCH, consumed=EVENTS)

    assert (broker.log, broker.offset, len(broker.producers)) == ([b"a", b"b"], 15, 2)


async def test_a_batch_that_another_owner_has_published_a_part_of_is_not_published_again() -> None:
    broker = Broker()
    output = await started(broker)
    broker.fails["send"] = kafka_errors.RequestTimedOutError()
    with pytest.raises(Unavailable):
        await output.publish(BATCH, consumed=EVENTS)
    broker.offset = 15

    with pytest.raises(Fenced, match="expected 10, found 15"):
        await output.publish(BATCH, consumed=EVENTS)

    assert broker.log == []


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (kafka_errors.UnknownError, "does not offer"),
        (kafka_errors.IncompatibleBrokerVersion, "does not offer"),
        (kafka_errors.TransactionalIdAuthorizationFailed, "grant Write and Describe on transactional ids"),
    ],
)
async def test_a_broker_without_transactions_is_told_from_one_that_is_away(
    error: Callable[[str], Exception], words: str
) -> None:
    broker = Broker()
    broker.fails["start"] = error("no")

    with pytest.raises(TransactionsRefused, match=words):
        await an_output(broker).start()

    broker.fails["start"] = kafka_errors.KafkaConnectionError("away")
    with pytest.raises(Unavailable):
        await an_output(broker).start()
    assert all(one.stopped for one in broker.producers)
