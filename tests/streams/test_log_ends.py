"""Ends of logs that are asked for, where no fetch tells them."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

from aiokafka import TopicPartition
from aiokafka.consumer.subscription_state import Assignment
from aiokafka.errors import KafkaTimeoutError
from transport_bench import P0, P1, settled

from streams.transport import TransportOptions
from streams.transport.log_ends import LogEnds
from streams.transport.reader import LogEnd, RecordReader


class Reading:
    """A reader with two partitions; P0's last fetch was answered at 1000, up to offset 43."""

    def __init__(self) -> None:
        self.ends: dict[TopicPartition, Any] = {TopicPartition(*P0): 11_000, TopicPartition(*P1): 7}
        self.asked: list[TopicPartition] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.reader: Any = RecordReader.__new__(RecordReader)
        self.reader.options = TransportOptions()
        self.reader._leaving = False
        self.assign()
        self.reader._ends = LogEnds()

    def assign(self) -> None:
        self.assignment = Assignment([TopicPartition(*P0), TopicPartition(*P1)])
        subscription = SimpleNamespace(subscription=SimpleNamespace(assignment=self.assignment))
        self.reader._consumer = SimpleNamespace(end_offsets=self._end_offsets, _subscription=subscription)
        self.fetched(43, at=1000)

    def fetched(self, end: int, *, at: int) -> None:
        state = self.assignment.state_value(TopicPartition(*P0))
        state.highwater, state.lso, state.timestamp = end, end, at

    async def _end_offsets(self, tps: list[TopicPartition]) -> dict[TopicPartition, int]:
        self.asked += tps
        await self.gate.wait()
        [tp] = tps
        if isinstance(self.ends[tp], Exception):
            raise self.ends[tp]
        return {tp: self.ends[tp]}

    async def look(self) -> None:
        self.reader.look_at_ends()
        await settled()


async def test_the_end_of_a_log_that_is_not_fetched_any_more_goes_on() -> None:
    reading = Reading()
    await reading.look()
    assert (reading.reader.log_end(P0), reading.asked) == (LogEnd(43, 1000), [])

    await reading.look()

    assert reading.reader.log_end(P0) == LogEnd(11_000, 1000)
    assert reading.reader.log_end(P1) == LogEnd(7, None)


async def test_nothing_is_asked_for_where_fetches_are_answered_and_what_they_say_counts() -> None:
    reading = Reading()
    await reading.look()
    await reading.look()
    reading.asked.clear()

    reading.fetched(12_000, at=2000)
    assert reading.reader.log_end(P0).end == 12_000
    reading.fetched(5, at=3000)  # created anew
    assert reading.reader.log_end(P0).end == 5
    await reading.look()

    assert reading.asked == [TopicPartition(*P1)]


async def test_an_end_that_is_asked_for_is_never_before_the_one_that_was_fetched() -> None:
    reading = Reading()
    reading.ends[TopicPartition(*P0)] = 40
    await reading.look()
    await reading.look()

    assert reading.reader.log_end(P0).end == 43


async def test_a_broker_that_is_away_or_silent_takes_nothing_from_the_others_and_is_asked_once_at_a_time() -> None:
    reading = Reading()
    reading.ends[TopicPartition(*P1)] = KafkaTimeoutError()
    await reading.look()
    await reading.look()
    assert (reading.reader.log_end(P0).end, reading.reader.log_end(P1).end) == (11_000, None)

    reading.gate.clear()
    for _ in range(5):
        await reading.look()
    assert len(reading.asked) == 2 + 2

    await reading.reader._ends.stop()
    assert reading.reader._ends._asking.cancelled()


async def test_what_was_asked_for_before_a_rebalance_says_nothing_behind_it() -> None:
    reading = Reading()
    reading.gate.clear()
    await reading.look()
    await reading.look()
    before = reading.assignment
    reading.assign()
    before._unassign()
    await reading.look()
    reading.gate.set()
    await settled()

    assert reading.reader.log_end(P0) == LogEnd(43, 1000)


def test_a_reader_that_has_not_begun_or_is_leaving_asks_for_nothing() -> None:
    reader: Any = RecordReader.__new__(RecordReader)
    reader._leaving, reader._consumer = False, None
    reader.look_at_ends()
    reader._leaving, reader._consumer = True, object()
    reader.look_at_ends()


async def test_what_waits_for_a_transaction_to_be_over_is_no_lag_and_counted_by_itself() -> None:
    reading = Reading()
    state = reading.assignment.state_value(TopicPartition(*P0))
    state.highwater, state.lso = 643, 43
    assert reading.reader.log_end(P0) == LogEnd(43, 1000, 600)

    state.lso = -1  # a broker that does not know
    assert reading.reader.log_end(P0) == LogEnd(643, 1000, 0)

    reading.reader.options = TransportOptions(isolation_level="read_uncommitted")
    state.lso = 43
    assert reading.reader.log_end(P0) == LogEnd(643, 1000, 0)
