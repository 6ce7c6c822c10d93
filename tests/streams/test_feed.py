"""Feeding: order, retries and pace, against a producer that keeps what it is given."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from typing import Any, NamedTuple

import msgspec
import pytest
from aiokafka.errors import (
    KafkaConnectionError,
    KafkaError,
    MessageSizeTooLargeError,
    NotLeaderForPartitionError,
    UnknownTopicOrPartitionError,
)

from schemas.events import EventBase, PageView
from streams.feed import FeedError, FeedResult, feed
from streams.partitioning import partition_of
from streams.sources import BadRow, RawRecord

T0 = 1_700_000_000_000


class Acked(NamedTuple):
    offset: int


class Batch:
    def __init__(self, most: int) -> None:
        self.records: list[tuple[bytes | None, bytes | None, int]] = []
        self._most = most

    def append(self, *, timestamp: int, key: bytes | None, value: bytes | None) -> object | None:
        if len(self.records) >= self._most or len(value or b"") > 100_000:
            return None
        self.records.append((key, value, timestamp))
        return object()

    def record_count(self) -> int:
        return len(self.records)

    def close(self) -> None:
        pass


class KeepingProducer:
    """Takes batches as aiokafka's producer does; `faults` are raised first, one for each batch sent."""

    def __init__(self, partitions: int = 4, *, first_offset: int = 0, per_batch: int = 70) -> None:
        self.logs: dict[int, list[tuple[bytes | None, bytes | None, int]]] = {n: [] for n in range(partitions)}
        self.faults: list[KafkaError] = []
        self.in_flight: dict[int, int] = {}
        self.most_in_flight = 0
        self.silent = False
        self._first_offset = first_offset
        self._per_batch = per_batch

    async def partitions_for(self, topic: str) -> set[int]:
        if topic == "missing":
            raise UnknownTopicOrPartitionError
        return set(self.logs)

    def create_batch(self) -> Batch:
        return Batch(self._per_batch)

    async def send_batch(self, batch: Batch, topic: str, *, partition: int) -> asyncio.Future[Acked]:
        self.in_flight[partition] = self.in_flight.get(partition, 0) + 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight[partition])
        future: asyncio.Future[Acked] = asyncio.get_running_loop().create_future()
        if not self.silent:
            asyncio.get_running_loop().call_soon(self._answer, batch, partition, future)
        return future

    def _answer(self, batch: Batch, partition: int, future: asyncio.Future[Acked]) -> None:
        self.in_flight[partition] -= 1
        if self.faults:
            future.set_exception(self.faults.pop(0))
            return
        log = self.logs[partition]
        future.set_result(Acked(self._first_offset + len(log)))
        log += batch.records

    def ids(self, partition: int) -> list[str]:
        return [msgspec.json.decode(value)["event_id"] for _, value, _ in self.logs[partition] if value]


def views(count: int, *, users: int = 50, step_ms: int = 10) -> list[EventBase]:
    return [PageView(event_id=f"e{n}", user_id=f"u{n % users}", ts=T0 + n * step_ms) for n in range(count)]


async def feed_to(producer: KeepingProducer, events: Any, **options: Any) -> FeedResult:
    async with asyncio.timeout(20):
        return await feed(events, producer, "events", **options)  # type: ignore[arg-type]


async def test_every_event_is_on_its_users_partition_in_order() -> None:
    producer, events = KeepingProducer(first_offset=100), views(5_000)

    result = await feed_to(producer, events)

    by_partition: dict[int, list[str]] = {n: [] for n in range(4)}
    for event in events:
        by_partition[partition_of(event.user_id.encode(), 4)].append(event.event_id)
    assert {n: producer.ids(n) for n in range(4)} == by_partition
    assert result.ranges == {n: (100, 100 + len(ids)) for n, ids in by_partition.items()}
    assert (result.events, result.acknowledged, result.resent) == (5_000, 5_000, 0)
    assert result.last_ts == T0 + 49_990
    assert result.bytes == sum(len(k or b"") + len(v or b"") for log in producer.logs.values() for k, v, _ in log)


async def test_the_kafka_timestamp_is_the_time_of_producing() -> None:
    producer = KeepingProducer()
    before = time.time_ns() // 1_000_000

    await feed_to(producer, views(10))

    after = time.time_ns() // 1_000_000
    assert all(before <= at <= after for log in producer.logs.values() for _, _, at in log)


async def test_order_holds_when_batches_have_to_be_sent_again() -> None:
    producer, events = KeepingProducer(1), views(500, users=3)
    producer.faults = [NotLeaderForPartitionError(), KafkaConnectionError("gone"), NotLeaderForPartitionError()]

    result = await feed_to(producer, events)

    assert producer.ids(0) == [event.event_id for event in events]
    assert producer.most_in_flight == 1
    assert result.resent == 3


async def test_what_the_broker_refuses_ends_the_feed_with_a_reason() -> None:
    producer = KeepingProducer()
    producer.faults = [MessageSizeTooLargeError()] * 10

    with pytest.raises(FeedError, match="refused a batch for `events`: MessageSizeTooLarge"):
        await feed_to(producer, views(5_000))


async def test_a_broker_that_stays_away_ends_the_feed() -> None:
    producer = KeepingProducer()
    producer.faults = [KafkaConnectionError("gone")] * 1_000

    with pytest.raises(FeedError, match=r"has taken nothing for 0 s .* is it running"):
        await feed_to(producer, views(10), retry_for_s=0.3)


async def test_a_missing_topic_is_named_with_what_to_do() -> None:
    with pytest.raises(FeedError, match="topic `missing` does not exist; create it with `streamscore topics create`"):
        await feed(views(1), KeepingProducer(), "missing")  # type: ignore[arg-type]


async def test_a_record_too_large_for_any_batch_is_refused_and_not_tried_for_ever() -> None:
    with pytest.raises(FeedError, match="a record of 200001 bytes is too large"):
        await feed_to(KeepingProducer(), [RawRecord(b"u", b"x" * 200_000)])


async def test_raw_records_go_out_as_they_are() -> None:
    producer = KeepingProducer(2)

    result = await feed_to(producer, [RawRecord(b"u1", b"not json"), RawRecord(b"u1", None), RawRecord(None, b"x")])

    sent = [record[:2] for log in producer.logs.values() for record in log]
    assert sorted(sent, key=repr) == sorted([(b"u1", b"not json"), (b"u1", None), (None, b"x")], key=repr)
    assert result.acknowledged == 3


async def test_a_source_that_fails_is_delivered_up_to_there() -> None:
    def failing() -> Iterator[EventBase]:
        yield from views(1_000)
        raise BadRow(1_001, "wrong")

    producer = KeepingProducer()
    with pytest.raises(BadRow, match="line 1001"):
        await feed_to(producer, failing())
    assert sum(map(len, producer.logs.values())) == 1_000


@pytest.mark.parametrize("blocking", [False, True])
async def test_a_stop_ends_early_and_delivers_what_was_taken(blocking: bool) -> None:
    def endless() -> Iterator[EventBase]:
        number = 0
        while True:
            yield PageView(event_id=f"e{number}", user_id="u", ts=T0 + number)
            number += 1

    producer, stop = KeepingProducer(1), asyncio.Event()

    def stop_soon(so_far: FeedResult) -> None:
        if so_far.acknowledged > 500:
            stop.set()

    result = await feed_to(producer, endless(), stop=stop, on_progress=stop_soon, blocking=blocking)

    assert producer.ids(0) == [f"e{n}" for n in range(result.events)]
    assert result.ranges == {0: (0, result.events)}


async def test_cancelling_ends_at_once_even_while_the_broker_is_silent() -> None:
    producer = KeepingProducer()
    producer.silent = True
    task = asyncio.create_task(feed_to(producer, views(100_000)))
    while not producer.in_flight:
        await asyncio.sleep(0.005)

    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


@pytest.mark.parametrize(
    ("pace", "seconds"),
    [({"rate": 1_000.0}, 0.5), ({"speed": 10.0}, 0.5)],  # 500 events, recorded 10 ms apart
    ids=["rate", "speed"],
)
async def test_the_pace_is_kept(pace: dict[str, float], seconds: float) -> None:
    producer = KeepingProducer()
    seen: list[int] = []

    result = await feed_to(producer, views(500), on_progress=lambda so_far: seen.append(so_far.events), **pace)

    assert seconds * 0.95 < result.duration_s < seconds + 2  # later only where the machine is busy
    assert seen == sorted(seen)
    assert seen[-1] == 500


async def test_late_events_of_a_recording_are_due_at_once() -> None:
    events = [PageView(event_id=f"e{n}", user_id="u", ts=T0 - n * 3_600_000) for n in range(5)]

    result = await feed_to(KeepingProducer(), events, speed=1.0)

    assert result.duration_s < 2


async def test_a_silent_pipe_does_not_hold_back_what_came_before() -> None:
    producer = KeepingProducer(1)
    delivered: list[bool] = []

    def pipe() -> Iterator[EventBase]:
        yield PageView(event_id="e0", user_id="u", ts=T0)
        deadline = time.monotonic() + 10
        while not producer.logs[0] and time.monotonic() < deadline:
            time.sleep(0.002)
        delivered.append(bool(producer.logs[0]))

    await feed_to(producer, pipe(), blocking=True)

    assert delivered == [True]


@pytest.mark.parametrize("pace", [{"rate": 1.0, "speed": 1.0}, {"rate": 0.0}, {"speed": -1.0}, {"rate": float("nan")}])
async def test_a_wrong_pace_is_refused(pace: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=r"not both|> 0"):
        await feed_to(KeepingProducer(), views(1), **pace)


async def test_nothing_to_feed_is_no_fault() -> None:
    result = await feed_to(KeepingProducer(), [])

    assert (result.events, result.ranges) == (0, {})
