"""Produces events to the `events` topic: as fast as it can, at a rate, or at a recorded pace.

Rules it keeps:

- Keyed by ``user_id`` with Kafka's default partitioner, so that any other client that writes the
  same user reaches the same partition.
- One batch in flight per partition and the next only after its acknowledgement: order holds even
  when a batch has to be sent again.
- A record's Kafka timestamp is the time of producing, never the event's: a broker deletes by that
  timestamp, and a recording of last year would be gone before it is read.
- A batch whose acknowledgement was lost is sent again and may then stand in the topic twice; the
  worker drops the repeats by their event ids.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable
from contextlib import aclosing
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import msgspec
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaConnectionError, KafkaError, KafkaTimeoutError, UnknownTopicOrPartitionError

from schemas.codec import epoch_ms
from schemas.events import EventBase
from streams.partitioning import partition_of
from streams.sources import RawRecord, ReadAhead

Item = EventBase | RawRecord

# For the producer that feeds: large batches, since one per partition is in flight.
PRODUCER_OPTIONS: dict[str, Any] = {"acks": "all", "max_batch_size": 512 * 1024, "max_request_size": 1024 * 1024}

_CHUNK = 256  # events between two looks at the event loop: about 2 ms
_BATCH_RECORDS = 500  # at 250 bytes an event, a quarter of the largest batch
_PAUSE_S = 0.01  # paced events that are due within this go out together: half the CPU of 5 ms at 5,000 events/s
_PROGRESS_S = 0.2
_REMEMBERED_USERS = 500_000  # 100 MB at most; hashing a key again costs 10 µs


class FeedError(RuntimeError):
    """The broker did not take the events; the message says what to do."""


@dataclass
class FeedResult:
    """What was produced; while it runs, what has been so far.

    Attributes
    ----------
    events
        Records taken from the source.
    acknowledged
        Records that the broker has confirmed; equals `events` at the end.
    bytes
        Size of their keys and values.
    resent
        Batches that had to be sent again, and may therefore stand in the topic twice.
    ranges
        For each partition, (first offset, offset behind the last) from the acknowledgements.
    last_ts
        Latest event time produced, epoch ms; 0 before the first event.
    started_ms
        Wall clock at the start, epoch ms.
    duration_s
        Seconds until the last acknowledgement.
    """

    events: int = 0
    acknowledged: int = 0
    bytes: int = 0
    resent: int = 0
    ranges: dict[int, tuple[int, int]] = field(default_factory=dict)
    last_ts: int = 0
    started_ms: int = 0
    duration_s: float = 0.0

    @property
    def events_per_s(self) -> float:
        return self.acknowledged / self.duration_s if self.duration_s else 0.0


async def feed(
    events: Iterable[Item],
    producer: AIOKafkaProducer,
    topic: str,
    *,
    rate: float | None = None,
    speed: float | None = None,
    blocking: bool = False,
    stop: asyncio.Event | None = None,
    on_progress: Callable[[FeedResult], None] | None = None,
    retry_for_s: float = 120.0,
) -> FeedResult:
    """Produce all `events` to `topic` and wait until the broker has them.

    Parameters
    ----------
    events
        Events, or raw records that are produced as they are; in the order to be kept.
    producer
        Started; best made with `PRODUCER_OPTIONS`.
    rate
        Events per second. After a stall it catches up.
    speed
        Times the recorded pace, by event time: 1 as it was, 60 an hour in a minute.
    blocking
        Iterating may wait, as on a pipe: do it in a thread.
    stop
        Set it to end early; what was taken is still delivered, and the result tells where it ends.
    on_progress
        Called about five times a second with the result so far; must not change it.
    retry_for_s
        How long a batch is tried while the broker is away.

    Raises
    ------
    FeedError
        The topic is missing, or the broker was away for too long or refused a record.
    ValueError
        Both `rate` and `speed`, or one that is not positive.
    Exception
        What iterating `events` raised, after all before it was delivered.
    """
    pace = _pace(rate, speed)
    numbers = await _partitions(producer, topic)
    run = _Run(producer, topic, numbers, pace, stop or asyncio.Event(), on_progress, retry_for_s)
    failure: Exception | None = None
    try:
        async with asyncio.TaskGroup() as tasks:
            for lane in run.lanes:
                tasks.create_task(lane.run())
            try:
                async with aclosing(_threaded(events) if blocking else _direct(events)) as chunks:
                    await run.take_all(chunks)
            except Exception as error:  # the source's; delivered first, raised below
                failure = error
            await run.finish()
    except BaseExceptionGroup as group:
        raise group.exceptions[0] from None
    if failure is not None:
        raise failure
    return run.result


async def _partitions(producer: AIOKafkaProducer, topic: str) -> list[int]:
    try:
        return sorted(await producer.partitions_for(topic))
    except (UnknownTopicOrPartitionError, KafkaTimeoutError):
        raise FeedError(f"topic `{topic}` does not exist; create it with `streamscore topics create`") from None
    except KafkaError as error:
        raise FeedError(f"the broker cannot be asked for topic `{topic}`: {error!r}") from None


def _pace(rate: float | None, speed: float | None) -> Callable[[int, int], float] | None:
    """Return a function from (event's number, its time) to seconds after the start."""
    if rate is not None and speed is not None:
        raise ValueError("give `rate` or `speed`, not both")
    for name, value in (("rate", rate), ("speed", speed)):
        if value is not None and not value > 0:
            raise ValueError(f"Expected `{name}` > 0")
    if rate is not None:
        seconds_each = 1 / rate
        return lambda number, ts: number * seconds_each
    if speed is not None:
        return _Recorded(speed)
    return None


class _Recorded:
    """The recorded pace; what is late in the recording is due at once."""

    def __init__(self, speed: float) -> None:
        self._ms_per_s = speed * 1000
        self._first_ts: int | None = None

    def __call__(self, number: int, ts: int) -> float:
        if self._first_ts is None:
            self._first_ts = ts
        return (ts - self._first_ts) / self._ms_per_s


class _Lane:
    """One partition: what is to be sent, in order, one batch in flight."""

    def __init__(
        self, producer: AIOKafkaProducer, topic: str, partition: int, result: FeedResult, retry_for_s: float
    ) -> None:
        self.records: list[tuple[bytes | None, bytes | None]] = []
        self._producer = producer
        self._topic = topic
        self._partition = partition
        self._result = result
        self._retry_for_s = retry_for_s
        self._queue: asyncio.Queue[list[tuple[bytes | None, bytes | None]] | None] = asyncio.Queue(maxsize=2)

    async def flush(self) -> None:
        """Hand over what has come together; waits while two hand-overs are still to be sent."""
        records, self.records = self.records, []
        await self._queue.put(records)

    async def finish(self) -> None:
        await self.flush()
        await self._queue.put(None)

    async def run(self) -> None:
        while (records := await self._queue.get()) is not None:
            sent = 0
            while sent < len(records):
                sent += await self._send(records, sent)

    async def _send(self, records: list[tuple[bytes | None, bytes | None]], start: int) -> int:
        """Send as many records from `start` on as one batch takes; return how many the broker has now."""
        give_up = time.monotonic() + self._retry_for_s
        pause_s = 0.1
        while True:
            batch = self._producer.create_batch()
            append, now_ms = batch.append, time.time_ns() // 1_000_000
            for key, value in islice(records, start, None):
                if append(timestamp=now_ms, key=key, value=value) is None:
                    break
            batch.close()
            if batch.record_count() == 0:
                raise FeedError(f"a record of {_size(*records[start])} bytes is too large for a batch; leave it out")
            try:
                acked = await (await self._producer.send_batch(batch, self._topic, partition=self._partition))
            except KafkaError as error:
                if not _passing(error):
                    raise FeedError(f"the broker refused a batch for `{self._topic}`: {error!r}") from None
                if time.monotonic() + pause_s > give_up:
                    raise FeedError(
                        f"the broker has taken nothing for {self._retry_for_s:.0f} s ({error!r}); is it running?"
                    ) from None
            else:
                self._note(acked.offset, batch.record_count())
                return int(batch.record_count())
            self._result.resent += 1
            await asyncio.sleep(pause_s)
            pause_s = min(pause_s * 2, 5.0)

    def _note(self, first: int, count: int) -> None:
        known = self._result.ranges.get(self._partition, (first, first))
        self._result.ranges[self._partition] = (min(known[0], first), max(known[1], first + count))
        self._result.acknowledged += count


def _size(key: bytes | None, value: bytes | None) -> int:
    return len(key or b"") + len(value or b"")


def _passing(error: KafkaError) -> bool:
    """Tell whether a fault may pass by itself."""
    return bool(error.retriable) or isinstance(error, KafkaTimeoutError | KafkaConnectionError)


class _Run:
    """Takes events from the source, encodes them and spreads them over the lanes in their time."""

    def __init__(
        self,
        producer: AIOKafkaProducer,
        topic: str,
        partitions: list[int],
        pace: Callable[[int, int], float] | None,
        stop: asyncio.Event,
        on_progress: Callable[[FeedResult], None] | None,
        retry_for_s: float,
    ) -> None:
        self.result = FeedResult(started_ms=time.time_ns() // 1_000_000)
        self.lanes = [_Lane(producer, topic, number, self.result, retry_for_s) for number in partitions]
        self._pace = pace
        self._stop = stop
        self._on_progress = on_progress
        self._encode = msgspec.json.Encoder().encode
        self._users: dict[str, tuple[bytes, _Lane]] = {}
        self._started = time.monotonic()
        self._next_report = self._started

    async def take_all(self, chunks: AsyncIterator[list[Item]]) -> None:
        """Take until the source ends or a stop is asked for."""
        async for chunk in chunks:
            if self._stop.is_set():
                return
            if self._pace is None:
                for item in chunk:
                    self._put(item)
            else:
                await self._put_in_time(chunk, self._pace)
            for lane in self.lanes:
                if len(lane.records) >= _BATCH_RECORDS:
                    await lane.flush()
            self._report()
            if not chunk:  # a silent pipe
                await self._flush_all()
                await asyncio.sleep(_PAUSE_S)

    async def finish(self) -> None:
        """Deliver the rest."""
        for lane in self.lanes:
            await lane.finish()
        while self.result.acknowledged < self.result.events:
            await asyncio.sleep(_PAUSE_S)
            self._report()
        self._report(at_end=True)

    def _put(self, item: Item) -> None:
        self.result.events += 1
        if isinstance(item, RawRecord):
            key, value = item
            lane = self.lanes[
                partition_of(key, len(self.lanes)) if key is not None else self.result.events % len(self.lanes)
            ]
            lane.records.append(item)
            self.result.bytes += _size(key, value)
            return
        known = self._users.get(item.user_id)
        if known is None:
            if len(self._users) >= _REMEMBERED_USERS:
                self._users.clear()
            encoded = item.user_id.encode()
            known = self._users[item.user_id] = encoded, self.lanes[partition_of(encoded, len(self.lanes))]
        payload = self._encode(item)
        known[1].records.append((known[0], payload))
        self.result.bytes += len(known[0]) + len(payload)
        ts = item.ts if isinstance(item.ts, int) else epoch_ms(item.ts)
        if ts > self.result.last_ts:
            self.result.last_ts = ts

    async def _put_in_time(self, chunk: list[Item], pace: Callable[[int, int], float]) -> None:
        now = time.monotonic()
        for item in chunk:
            ts = self.result.last_ts if isinstance(item, RawRecord) or not isinstance(item.ts, int) else item.ts
            due = self._started + pace(self.result.events, ts)
            if due > now:
                now = await self._wait(due)
                if self._stop.is_set():
                    return
            self._put(item)

    async def _wait(self, due: float) -> float:
        """Wait until `due` and return the time then, a little later; what is due meanwhile goes together."""
        now = time.monotonic()
        if due > now:
            await self._flush_all()
        while due > now and not self._stop.is_set():
            await asyncio.sleep(min(max(due - now, _PAUSE_S), _PROGRESS_S))
            self._report()
            now = time.monotonic()
        return now

    async def _flush_all(self) -> None:
        for lane in self.lanes:
            if lane.records:
                await lane.flush()

    def _report(self, *, at_end: bool = False) -> None:
        now = time.monotonic()
        if now >= self._next_report or at_end:
            self._next_report = now + _PROGRESS_S
            self.result.duration_s = now - self._started
            if self._on_progress is not None:
                self._on_progress(self.result)


async def _direct(items: Iterable[Item]) -> AsyncGenerator[list[Item], None]:
    iterator = iter(items)
    failure: Exception | None = None
    while failure is None:
        chunk: list[Item] = []
        try:
            chunk.extend(islice(iterator, _CHUNK))  # keeps what came before a failure
        except Exception as error:
            failure = error
        if not chunk:
            break
        yield chunk
        await asyncio.sleep(0)
    if failure is not None:
        raise failure


async def _threaded(items: Iterable[Item]) -> AsyncGenerator[list[Item], None]:
    ahead = ReadAhead(items)
    try:
        while (chunk := ahead.take(_CHUNK)) is not None:
            yield chunk
            await asyncio.sleep(0)
    finally:
        ahead.stop()
