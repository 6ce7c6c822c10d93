"""What waits for a broker goes in one request, what may pass is tried again, and only that."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from aiokafka import errors as kafka_errors
from aiokafka.errors import KafkaError
from scripted_client import ScriptedClient, ScriptedProducer

from streams import producer as module
from streams.out_records import OutRecord, RecordTooLarge
from streams.producer import BatchProducer, MayNotWrite


def records(count: int, name: str = "r", size: int = 300) -> list[OutRecord]:
    return [OutRecord(name.encode(), b"%d" % n + b"x" * size, [], 1_000 + n) for n in range(count)]


async def test_callers_share_a_request_to_a_broker_whatever_they_write_to() -> None:
    producer = ScriptedProducer()

    ends = await asyncio.gather(
        *(producer.publish({("scores", 2 * n): records(1), ("examples", 0): records(1)}) for n in range(4))
    )

    assert ends == [{("scores", 2 * n): 1, ("examples", 0): n + 1} for n in range(4)]
    assert [sorted(one) for one in producer.client.requests] == [
        [("examples", 0), ("scores", 0)],
        [("examples", 0), ("scores", 2), ("scores", 4), ("scores", 6)],
    ]


async def test_what_one_caller_has_for_two_brokers_goes_to_both() -> None:
    producer = ScriptedProducer()

    ends = await producer.publish({("scores", 0): records(1), ("scores", 1): records(2)})

    assert ends == {("scores", 0): 1, ("scores", 1): 2}
    assert producer.client.requests == [[("scores", 0)], [("scores", 1)]]


@pytest.mark.parametrize(
    "fault",
    [
        kafka_errors.NotLeaderForPartitionError(),
        kafka_errors.NotEnoughReplicasError(),
        kafka_errors.UnknownTopicOrPartitionError(),
    ],
    ids=lambda one: type(one).__name__,
)
async def test_what_one_partition_says_may_pass_is_tried_again_for_that_one_alone(fault: Exception) -> None:
    producer = ScriptedProducer({2: fault}, timeout_ms=5_000)
    batches = {("scores", 0): records(1, "a"), ("scores", 2): records(1, "b"), ("scores", 4): records(1, "c")}

    ends = await producer.publish(batches)

    assert ends == dict.fromkeys(batches, 1)
    assert producer.log == batches
    assert producer.client.metadata_updates == 1
    assert producer.client.requests == [list(batches), [("scores", 2)]]


async def test_what_was_there_of_several_batches_is_not_sent_again() -> None:
    producer = ScriptedProducer({2: kafka_errors.NotEnoughReplicasError()}, timeout_ms=5_000)
    some = records(7)  # two to a batch

    assert await producer.publish({("scores", 0): some}) == {("scores", 0): 7}
    assert producer.log == {("scores", 0): some}


async def test_a_partition_that_moves_is_followed_to_its_new_leader() -> None:
    client = ScriptedClient({1: kafka_errors.NotLeaderForPartitionError()})
    asked: list[int] = []
    ready, update = client.ready, client.force_metadata_update

    async def noted(node_id: int) -> bool:
        asked.append(node_id)
        return await ready(node_id)

    async def moved() -> bool:
        client.leaders["scores", 0] = 7
        return await update()

    client.ready, client.force_metadata_update = noted, moved  # type: ignore[method-assign]

    ends = await ScriptedProducer(client=client, timeout_ms=5_000).publish({("scores", 0): records(1)})

    assert ends == {("scores", 0): 1}
    assert asked == [0, 7]


async def test_what_does_not_pass_in_time_is_told_by_place() -> None:
    fault = kafka_errors.NotEnoughReplicasError()
    producer = ScriptedProducer(dict.fromkeys((1, *range(3, 100)), fault), timeout_ms=150)

    ends = await producer.publish({("scores", 0): records(1), ("scores", 2): records(1)})

    assert isinstance(ends["scores", 0], kafka_errors.NotEnoughReplicasError)
    assert ends["scores", 2] == 1
    assert 1 < producer.batches < 6


async def test_a_broker_that_is_away_is_waited_for() -> None:
    client = ScriptedClient()
    answers = [False, False, True]

    async def ready(node_id: int) -> bool:
        return answers.pop(0)

    client.ready = ready  # type: ignore[method-assign]

    assert await ScriptedProducer(client=client, timeout_ms=5_000).publish({("scores", 0): records(1)}) == {
        ("scores", 0): 1
    }
    assert not answers


async def test_a_topic_is_waited_for_and_a_partition_without_a_leader_too() -> None:
    client = ScriptedClient()
    client.topics = set()
    client.leaders["scores", 0] = -1
    producer = ScriptedProducer(client=client, timeout_ms=5_000)
    publishing = asyncio.create_task(producer.publish({("scores", 0): records(1)}))
    await asyncio.sleep(0.15)
    client.topics = {"scores"}
    await asyncio.sleep(0.15)
    assert not client.requests
    client.leaders.clear()

    assert await publishing == {("scores", 0): 1}


async def test_a_topic_that_does_not_come_is_told_and_so_is_a_number_that_it_does_not_have() -> None:
    client = ScriptedClient()
    client.topics = {"scores"}
    producer = ScriptedProducer(client=client, timeout_ms=100)
    client.leaders["scores", 10] = None  # type: ignore[assignment]

    ends = await producer.publish({("other", 0): records(1), ("scores", 10): records(1), ("scores", 0): records(1)})

    assert isinstance(ends["other", 0], kafka_errors.UnknownTopicOrPartitionError)
    assert isinstance(ends["scores", 10], kafka_errors.UnknownTopicOrPartitionError)
    assert ends["scores", 0] == 1
    with pytest.raises(kafka_errors.UnknownTopicOrPartitionError):
        await producer.partitions_for("other")


async def test_who_asks_again_by_himself_is_told_soon_that_a_topic_is_not_there() -> None:
    client = ScriptedClient()
    client.topics = set()
    producer = ScriptedProducer(client=client, timeout_ms=60_000)

    async with asyncio.timeout(10):
        with pytest.raises(kafka_errors.UnknownTopicOrPartitionError):
            await producer.partitions_for("scores", within_s=0.1)


async def test_a_topic_that_we_may_not_see_is_told_at_once() -> None:
    client = ScriptedClient()
    client.topics = set()
    client.cluster.unauthorized_topics.add("scores")

    ends = await ScriptedProducer(client=client, timeout_ms=60_000).publish({("scores", 0): records(1)})

    assert isinstance(ends["scores", 0], kafka_errors.TopicAuthorizationFailedError)


async def test_what_a_broker_leaves_out_of_its_answer_is_a_fault() -> None:
    class Forgetful(ScriptedClient):
        async def send(self, node_id: int, request: Any) -> Any:
            response = await super().send(node_id, request)
            response.topics = [(topic, answers[:1]) for topic, answers in response.topics]
            return response

    ends = await ScriptedProducer(client=Forgetful()).publish({("s", 0): records(1), ("s", 2): records(1)})

    assert ends["s", 0] == 1
    assert isinstance(ends["s", 2], KafkaError)


async def test_nothing_leaves_while_it_may_not() -> None:
    producer = ScriptedProducer(may_write=lambda: False, timeout_ms=5_000)

    ends = await producer.publish({("scores", 0): records(1)})

    assert isinstance(ends["scores", 0], MayNotWrite)
    assert not producer.client.requests


async def test_a_record_that_is_too_large_is_its_places_fault_alone() -> None:
    producer = ScriptedProducer()
    huge = [OutRecord(None, bytes((64 << 20) + 1))]

    ends = await producer.publish({("scores", 0): huge, ("scores", 2): records(1)})

    assert isinstance(ends["scores", 0], RecordTooLarge)
    assert ends["scores", 2] == 1


async def test_a_compression_that_is_not_installed_is_told_before_anything_is_sent(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(module._CODECS, "lz4", (lambda: False, 3))

    with pytest.raises(ValueError, match=r"kafka.compression: lz4 needs .* aiokafka\[lz4\]"):
        BatchProducer(ScriptedClient(), compression="lz4", request_timeout_ms=0)


async def test_stopping_sends_what_waits_and_refuses_what_comes_later() -> None:
    producer = ScriptedProducer(timeout_ms=5_000)
    waiting = [asyncio.create_task(producer.publish({("scores", n): records(3)})) for n in range(6)]
    await asyncio.sleep(0)

    await producer.stop()

    assert producer.stopped
    assert [await one for one in waiting] == [{("scores", n): 3} for n in range(6)]
    late = await producer.publish({("scores", 0): records(1)})
    assert isinstance(late["scores", 0], kafka_errors.ProducerClosed)


async def test_stopping_does_not_wait_until_a_broker_is_back() -> None:
    faults = {number: kafka_errors.NotEnoughReplicasError() for number in range(1, 100)}
    producer = ScriptedProducer(faults, timeout_ms=60_000)
    publishing = asyncio.create_task(producer.publish({("scores", 0): records(1)}))
    await asyncio.sleep(0)

    async with asyncio.timeout(5):
        await producer.stop()

    assert isinstance((await publishing)["scores", 0], kafka_errors.ProducerClosed)
