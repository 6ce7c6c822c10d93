"""How records become batches, and what the producer's faults mean; against a producer that does as it is told."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from aiokafka import errors as kafka_errors
from aiokafka.errors import KafkaError, KafkaTimeoutError
from hypothesis import given
from hypothesis import strategies as st
from scripted_client import BATCH_BYTES, ScriptedClient, ScriptedProducer

from streams.configs import shipped_config
from streams.out_records import OutRecord, RecordTooLarge
from streams.output import KafkaOutput, ListOutput, OutputRefused, partition_for_key
from streams.settings import Settings, parse_settings
from streams.stores import Unavailable

SETTINGS = parse_settings(shipped_config("shop").read_text(), {})
IMPATIENT = parse_settings(shipped_config("shop").read_text(), {"STREAMSCORE_KAFKA_REQUEST_TIMEOUT": "10ms"})


async def an_output(*producers: ScriptedProducer, settings: Settings = SETTINGS) -> KafkaOutput:
    waiting = list(producers)
    output = KafkaOutput(settings, new_producer=lambda: waiting.pop(0))
    await output.start()
    return output


def records(count: int, size: int = 300) -> list[OutRecord]:
    return [OutRecord(b"k", b"%05d" % n + b"x" * size, [("h", b"v")], 1_000 + n) for n in range(count)]


SIZES = st.lists(st.integers(0, 3 * BATCH_BYTES), max_size=20)
PLACES = st.tuples(st.sampled_from(["scores", "models"]), st.integers(0, 2))


@given(st.dictionaries(PLACES, SIZES))
def test_everything_arrives_once_in_order_in_whatever_batches(sizes: dict[tuple[str, int], list[int]]) -> None:
    batches = {
        where: [OutRecord(b"%d" % n, b"x" * size, [], 5) for n, size in enumerate(some)]
        for where, some in sizes.items()
    }

    async def published() -> tuple[ScriptedProducer, dict[tuple[str, int], int]]:
        producer = ScriptedProducer()
        return producer, await (await an_output(producer)).publish(batches)

    producer, ends = asyncio.run(published())

    assert producer.log == {where: some for where, some in batches.items() if some}
    assert ends == {where: len(some) for where, some in batches.items() if some}


async def test_keys_values_headers_and_times_arrive_as_they_are() -> None:
    producer = ScriptedProducer()
    output = await an_output(producer)
    sent = [
        OutRecord(None, b"v", [("a", b"1"), ("a", b"2")], 1_700_000_000_000),
        OutRecord(b"", b"", [], 1_600_000_000_000),
        OutRecord(b"tombstone", None, [], 1),
    ]

    await output.publish({("models", 0): sent})

    assert producer.log["models", 0] == sent


@pytest.mark.parametrize("failing", [1, 2, 3, 4])
async def test_what_arrived_before_a_fault_is_a_beginning_and_the_repeat_is_whole(failing: int) -> None:
    producer = ScriptedProducer({failing: KafkaTimeoutError()})
    output = await an_output(producer)
    some = records(7)  # two to a batch

    with pytest.raises(Unavailable, match="KafkaTimeoutError"):
        await output.publish({("scores", 0): some})
    arrived = list(producer.log.get(("scores", 0), []))
    ends = await output.publish({("scores", 0): some})

    assert arrived == some[: 2 * (failing - 1)]
    assert producer.log["scores", 0] == arrived + some
    assert ends == {("scores", 0): len(arrived) + 7}


@pytest.mark.parametrize("failing", [1, 2, 3, 4])
async def test_until_what_comes_first_has_arrived_nothing_else_is_sent(failing: int) -> None:
    producer = ScriptedProducer({failing: KafkaTimeoutError()})
    output = await an_output(producer)
    batches = {("examples", 0): records(3), ("scores", 0): records(7)}  # two to a batch

    with pytest.raises(Unavailable):
        await output.publish(batches, first=("scores", 0))
    others = producer.log.get(("examples", 0), [])
    ends = await output.publish(batches, first=("scores", 0))

    assert others == []
    assert ends == {("examples", 0): 3, ("scores", 0): 2 * (failing - 1) + 7}


async def test_a_fault_of_one_partition_does_not_keep_the_others_from_finishing() -> None:
    producer = ScriptedProducer({1: KafkaTimeoutError()})
    output = await an_output(producer)

    with pytest.raises(Unavailable):
        await output.publish({("scores", 0): records(1), ("scores", 1): records(7)})

    assert producer.log == {("scores", 1): records(7)}


def names(error: BaseException) -> str:
    return type(error).__name__


@pytest.mark.parametrize(
    "fault",
    [
        KafkaTimeoutError(),
        kafka_errors.KafkaConnectionError("closed"),
        kafka_errors.NotLeaderForPartitionError(),
        kafka_errors.NotEnoughReplicasError(),
        kafka_errors.RequestTimedOutError(),
        ConnectionResetError(),
    ],
    ids=names,
)
async def test_what_may_pass_is_unavailable_and_the_producer_stays(fault: BaseException) -> None:
    producer = ScriptedProducer({1: fault})
    output = await an_output(producer)

    with pytest.raises(Unavailable):
        await output.publish({("scores", 0): records(1)})
    await output.publish({("scores", 0): records(1)})

    assert output.producer is producer


@pytest.mark.parametrize(
    "fault",
    [
        KafkaError("Unexpected error during batch delivery"),
        kafka_errors.ProducerClosed(),
        kafka_errors.OutOfOrderSequenceNumber(),
        kafka_errors.ProducerFenced(),
    ],
    ids=names,
)
async def test_a_producer_that_has_ended_is_replaced(fault: BaseException) -> None:
    ended, fresh = ScriptedProducer({1: fault}), ScriptedProducer()
    output = await an_output(ended, fresh)

    with pytest.raises(Unavailable):
        await output.publish({("scores", 0): records(1)})
    await output.publish({("scores", 0): records(1)})
    await output.stop()

    assert fresh.log == {("scores", 0): records(1)}
    assert ended.stopped
    assert fresh.stopped


@pytest.mark.parametrize(
    ("fault", "told"),
    [
        (kafka_errors.TopicAuthorizationFailedError("scores"), OutputRefused),
        (kafka_errors.SaslAuthenticationFailed("no"), OutputRefused),
        (kafka_errors.MessageSizeTooLargeError(), RecordTooLarge),
        (kafka_errors.InvalidTopicError(), kafka_errors.InvalidTopicError),
        (ZeroDivisionError(), ZeroDivisionError),
    ],
    ids=lambda one: one.__name__ if isinstance(one, type) else names(one),
)
async def test_what_will_not_pass_is_told_even_beside_what_may(fault: BaseException, told: type) -> None:
    output = await an_output(ScriptedProducer({1: KafkaTimeoutError(), 2: fault}))

    with pytest.raises(told):
        await output.publish({("scores", 0): records(1), ("scores", 1): records(1)})


async def test_a_record_beyond_every_limit_is_not_even_sent() -> None:
    producer = ScriptedProducer()
    output = await an_output(producer)

    with pytest.raises(RecordTooLarge, match="for scores"):
        await output.publish({("scores", 0): [OutRecord(None, bytes((64 << 20) + 1))]})

    assert producer.batches == 0


class Silent(ScriptedClient):
    async def send(self, node_id: int, request: Any) -> Any:
        await asyncio.get_running_loop().create_future()


async def test_a_producer_that_stays_silent_beyond_all_its_timeouts_is_replaced() -> None:
    silent, fresh = ScriptedProducer(client=Silent()), ScriptedProducer()
    output = await an_output(silent, fresh, settings=IMPATIENT)

    with pytest.raises(Unavailable, match="no answer within"):
        await output.publish({("scores", 0): records(1)})
    await output.publish({("scores", 0): records(1)})

    assert fresh.log == {("scores", 0): records(1)}
    assert silent.stopped


async def test_cancelling_ends_the_wait() -> None:
    output = await an_output(ScriptedProducer(client=Silent()))
    publishing = asyncio.create_task(output.publish({("scores", 0): records(1)}))
    await asyncio.sleep(0)
    publishing.cancel()

    with pytest.raises(asyncio.CancelledError):
        await publishing


async def test_a_start_that_fails_leaves_nothing_behind() -> None:
    class Failing(ScriptedClient):
        async def bootstrap(self) -> None:
            raise kafka_errors.KafkaConnectionError("nobody there")

    failing, good = ScriptedProducer(client=Failing()), ScriptedProducer()
    waiting = [failing, good]
    output = KafkaOutput(SETTINGS, new_producer=lambda: waiting.pop(0))

    with pytest.raises(Unavailable, match="nobody there"):
        await output.start()
    with pytest.raises(RuntimeError, match="comes first"):
        await output.publish({("scores", 0): records(1)})
    await output.start()

    assert failing.stopped
    assert output.producer is good


async def test_a_list_tells_the_same_ends_as_a_broker() -> None:
    kept, producer = ListOutput(), ScriptedProducer()
    output = await an_output(producer)
    steps = [{("a", 0): records(2), ("a", 1): []}, {("a", 0): records(3), ("b", 5): records(1)}]

    ends = [(await kept.publish(step), await output.publish(step)) for step in steps]

    assert all(ours == brokers for ours, brokers in ends)
    assert kept.records == producer.log


def test_a_key_goes_where_every_client_sends_it() -> None:
    # From the test of Kafka's own Utils.murmur2: 21 -> -973932308, foobar -> -790332482.
    def by_hand(murmur2: int) -> Callable[[int], int]:
        return lambda partitions: (murmur2 & 0x7FFFFFFF) % partitions

    for key, murmur2 in ((b"21", -973932308), (b"foobar", -790332482)):
        for partitions in (1, 3, 12):
            assert partition_for_key(key, partitions) == by_hand(murmur2)(partitions)
