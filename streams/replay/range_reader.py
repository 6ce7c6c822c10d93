"""Reads a fixed range of a topic, partition by partition, without a group.

The range is fixed before the first record is read: what comes later belongs to a later replay.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import asynccontextmanager

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.structs import ConsumerRecord

from streams.reading import PATIENCE_S, reader
from streams.replay.spec import Bound, ByTime, SpecError, TopicRange
from streams.sections import KafkaSettings
from streams.stores import Unavailable

_FETCHED_AT_ONCE = 10_000
# The embedded broker tells an end that is too small by up to a batch; records behind it answer at once.
_BEHIND_END_MS = 250
_END_OF_TIME_MS = 253_402_300_799_000  # 9999-12-31


class RangeReader:
    """A consumer that stands in a range of a topic; made by `open_range`.

    Attributes
    ----------
    starts, ends
        By partition: the first offset, and the offset behind the last.
    next_offsets
        By partition: the offset behind what was read.
    """

    def __init__(
        self, topic: str, consumer: AIOKafkaConsumer, starts: Mapping[int, int], ends: Mapping[int, int]
    ) -> None:
        self.starts = dict(starts)
        self.ends = dict(ends)
        self.next_offsets = dict(starts)
        self._topic = topic
        self._consumer = consumer
        for number, start in starts.items():
            consumer.seek(TopicPartition(topic, number), start)

    def ended(self, partition: int) -> bool:
        """Tell whether all of a partition's range was read."""
        return self.next_offsets[partition] >= self.ends[partition]

    async def read(self, pausing: Collection[int] = ()) -> dict[int, list[ConsumerRecord]]:
        """Return records as they come, by partition.

        Parameters
        ----------
        pausing
            Partitions of which nothing is wanted at present.

        Returns
        -------
        dict
            Empty only if all that is not paused was read.

        Raises
        ------
        Unavailable
            Nothing came for a minute.
        """
        loop = asyncio.get_running_loop()
        give_up = loop.time() + PATIENCE_S
        while True:
            wanted = {one for one in self.ends if one not in pausing and not self.ended(one)}
            if not wanted:
                return {}
            self._consumer.pause(*(self._place(one) for one in set(self.ends) - wanted))
            self._consumer.resume(*map(self._place, wanted))
            batches = await self._consumer.getmany(timeout_ms=200, max_records=_FETCHED_AT_ONCE)
            found = {}
            for place, records in batches.items():
                within = [record for record in records if record.offset < self.ends[place.partition]]
                if within:
                    found[place.partition] = within
            moved = False
            for one in wanted:
                # Beside records a log holds marks of transactions and gaps; the position goes on behind them too.
                position = await self._consumer.position(self._place(one))
                moved |= position > self.next_offsets[one]
                self.next_offsets[one] = position
            if found:
                return found
            if moved:
                give_up = loop.time() + PATIENCE_S
            elif loop.time() > give_up:
                where = ", ".join(f"{self._topic}[{one}]" for one in sorted(wanted))
                raise Unavailable(f"nothing came from {where} for {PATIENCE_S:.0f} s; is Kafka running?")

    def _place(self, partition: int) -> TopicPartition:
        return TopicPartition(self._topic, partition)


@asynccontextmanager
async def open_range(
    wanted: TopicRange, kafka: KafkaSettings, *, starting: Mapping[int, int] | None = None, exact: bool = True
) -> AsyncIterator[RangeReader]:
    """Open a range.

    Parameters
    ----------
    starting
        Offsets to go on from, in place of the range's own beginning.
    exact
        Refuse times where the broker cannot find records by them; otherwise what it says will do, and that is the
        oldest record.

    Raises
    ------
    TopicMissing, SpecError
        There is no such topic or partition, or the log no longer holds the beginning of the range.
    """
    async with reader(kafka, [wanted.topic]) as consumer:
        there = _chosen(wanted, consumer)
        if exact and any(isinstance(bound, ByTime) for bound in (wanted.start, wanted.end)):
            await _check_times(consumer, there)
        oldest = await consumer.beginning_offsets(there)
        newest = await _newest(consumer, there)
        starts = await _resolve(consumer, wanted.start, oldest, newest)
        ends = await _resolve(consumer, wanted.end, newest, newest)
        for one in there:
            if starting and one.partition in starting:
                starts[one] = starting[one.partition]
            ends[one] = min(ends[one], newest[one])
            if starts[one] < oldest[one] and starts[one] < ends[one]:
                raise SpecError(
                    f"{wanted.topic}[{one.partition}] no longer holds the offsets {starts[one]} to "
                    f"{oldest[one] - 1}; start at {oldest[one]}"
                )
        yield RangeReader(
            wanted.topic,
            consumer,
            {one.partition: starts[one] for one in there},
            {one.partition: ends[one] for one in there},
        )


def _chosen(wanted: TopicRange, consumer: AIOKafkaConsumer) -> list[TopicPartition]:
    there = sorted(consumer.assignment())
    if wanted.partitions is None:
        return there
    missing = sorted(wanted.partitions - {one.partition for one in there})
    if missing:
        raise SpecError(f"{wanted.topic} has no partition {missing[0]}; it has {len(there)}, from 0 on")
    there = [one for one in there if one.partition in wanted.partitions]
    consumer.assign(there)
    return there


async def _newest(consumer: AIOKafkaConsumer, there: Sequence[TopicPartition]) -> dict[TopicPartition, int]:
    ends = dict(await consumer.end_offsets(there))
    for one in there:
        consumer.seek(one, ends[one])
    for one, records in (await consumer.getmany(timeout_ms=_BEHIND_END_MS)).items():
        ends[one] = records[-1].offset + 1
    return ends


async def _check_times(consumer: AIOKafkaConsumer, there: Sequence[TopicPartition]) -> None:
    """Refuse a broker that finds a record at the end of all time, as the embedded one does: it says the oldest."""
    found = await consumer.offsets_for_times(dict.fromkeys(there, _END_OF_TIME_MS))
    if any(one is not None for one in found.values()):
        raise SpecError("This broker cannot find records by time; name offsets, such as from=1000&to=5000")


async def _resolve(
    consumer: AIOKafkaConsumer,
    bound: Bound | None,
    default: Mapping[TopicPartition, int],
    newest: Mapping[TopicPartition, int],
) -> dict[TopicPartition, int]:
    if bound is None:
        return dict(default)
    if isinstance(bound, ByTime):
        found = await consumer.offsets_for_times(dict.fromkeys(newest, bound.ts_ms))
        return {one: newest[one] if found.get(one) is None else found[one].offset for one in newest}
    offsets = {one: bound.of(one.partition) for one in newest}
    return {one: default[one] if offset is None else offset for one, offset in offsets.items()}
