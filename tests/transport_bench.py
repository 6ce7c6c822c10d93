"""A log in memory and a consumer that reads it, for tests of the transport without a broker.

`FakeReader` stands in for aiokafka and its reader. It keeps their contract: records are taken once, from a position
that only a seek moves back, and only under the epoch that was named with the seek.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Any, cast

import faust
import msgspec
from aiokafka import ConsumerRecord
from faust.types import TP, Message
from mode import Service

from streams.transport import RecordChunk, TransportOptions, record_schema, use_record_chunks
from streams.transport.consumer import RecordConsumer
from streams.transport.driver import OnRevoked, StartOffsets, Transport
from streams.transport.reader import Fetched, LogEnd

P0, P1 = TP("events", 0), TP("events", 1)


def a_record(tp: TP, offset: int) -> ConsumerRecord[bytes | None, bytes | None]:
    return ConsumerRecord(tp.topic, tp.partition, offset, 1000, 0, None, b"v", None, -1, 1, ())


class FakeReader(Service):
    """A log in memory. ``gate`` holds back the answer of a poll that has already taken its records."""

    def __init__(self, offsets: Mapping[TP, Iterable[int]], chunk_records: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.log = {tp: list(each) for tp, each in offsets.items()}
        self.committed: dict[TP, int] = {}
        self.refuse: Exception | None = None
        self.gate = asyncio.Event()
        self.gate.set()
        self.polled: list[set[TP]] = []
        self.taken = asyncio.Event()
        self.markers: dict[TP, int] = {}
        self._chunk_records = chunk_records
        self._readable: dict[TP, int] = {}
        self._position: dict[TP, int] = {}
        self._changed = asyncio.Event()

    def append(self, tp: TP, *offsets: int) -> None:
        self.log[tp] += offsets
        self._changed.set()

    async def poll(self, wanted: list[tuple[TP, int]], *, timeout_s: float) -> list[Fetched]:
        self.polled.append({tp for tp, _ in wanted})
        fetched = self._take(wanted)
        if not fetched:
            with suppress(TimeoutError):
                async with asyncio.timeout(timeout_s):
                    await self._changed.wait()
            self._changed.clear()
            return []
        self.taken.set()
        await self.gate.wait()
        return fetched

    def _take(self, wanted: list[tuple[TP, int]]) -> list[Fetched]:
        fetched = []
        for tp, epoch in wanted:
            if self._readable.get(tp) != epoch:
                continue
            offsets = [offset for offset in self.log[tp] if offset >= self._position[tp]][: self._chunk_records]
            after = offsets[-1] + 1 if offsets else self.markers.pop(tp, self._position[tp])
            if offsets or after > self._position[tp]:
                fetched.append(Fetched(tp, epoch, [a_record(tp, offset) for offset in offsets], after))
            self._position[tp] = after
        return fetched

    def wake(self) -> None:
        self._changed.set()

    async def seek_to(self, tp: TP, offset: int, epoch: int) -> bool:
        await asyncio.sleep(0)
        if epoch < self._readable.get(tp, 0):
            return False
        self._position[tp], self._readable[tp] = offset, epoch
        return True

    async def locate(self, tp: TP, epoch: int) -> int | None:
        return self._position[tp] if await self.seek_to(tp, self.committed.get(tp, 0), epoch) else None

    async def commit_offsets(self, offsets: Mapping[TP, int]) -> None:
        await asyncio.sleep(0)
        if self.refuse is not None:
            raise self.refuse
        self.committed |= offsets

    def log_end(self, tp: TP) -> LogEnd:
        return LogEnd(self.log[tp][-1] + 1 if self.log[tp] else 0, 1000)


class ConsumerUnderTest(RecordConsumer):
    offsets: Mapping[TP, Iterable[int]]

    def _new_consumer_thread(self) -> Any:
        return FakeReader(type(self).offsets, self.transport.options.chunk_records, loop=self.loop)


class Bench:
    """A consumer that reads a fake log, and the chunks it has handed out."""

    def __init__(self, transport: Transport, offsets: Mapping[TP, Iterable[int]]) -> None:
        self.transport = transport
        self.app = transport.app
        self.chunks: list[RecordChunk] = []
        consumer_class = type("Consumer", (ConsumerUnderTest,), {"offsets": offsets})
        self.consumer: RecordConsumer = consumer_class(
            transport,
            callback=self._receive,
            on_partitions_revoked=self._nothing,
            on_partitions_assigned=self._nothing,
            loop=asyncio.get_running_loop(),
            beacon=self.app.beacon,
        )
        transport._consumer = self.consumer
        self.reader = cast(FakeReader, self.consumer._thread)

    async def _receive(self, message: Message) -> None:
        self.chunks.append(cast(RecordChunk, message.value))

    async def _nothing(self, *_: Any) -> None: ...

    async def assign(self, *tps: TP) -> None:
        self.consumer.resume_flow()
        self.app.flow_control.resume()
        await self.consumer.on_partitions_assigned(set(tps), 1)

    async def revoke(self, *tps: TP) -> None:
        await self.consumer.on_partitions_revoked(set(tps))

    def offsets(self, tp: TP = P0) -> list[int]:
        return [record.offset for chunk in self.chunks if chunk.tp == tp for record in chunk.records]

    def acknowledge_all(self) -> list[bool]:
        return [chunk.acknowledge() for chunk in self.chunks]


@asynccontextmanager
async def a_bench(
    offsets: Mapping[TP, Iterable[int]],
    *,
    start_offsets: StartOffsets | None = None,
    on_revoked: OnRevoked | None = None,
    **options: Any,
) -> AsyncIterator[Bench]:
    app = faust.App("bench", broker="kafka://127.0.0.1:1", web_enabled=False)
    transport = use_record_chunks(
        app,
        options=msgspec.convert({"chunk_records": 10} | options, TransportOptions),
        start_offsets=start_offsets,
        on_revoked=on_revoked,
    )
    app.topics.add(app.topic("events", schema=record_schema()))
    bench = Bench(transport, offsets)
    drain = asyncio.create_task(bench.consumer._drain_messages(Service()))
    try:
        yield bench
    finally:
        drain.cancel()
        with suppress(asyncio.CancelledError):
            await drain
        await bench.consumer.release()


async def until(condition: Callable[[], bool]) -> None:
    for _ in range(2000):
        if condition():
            return
        await asyncio.sleep(0.001)
    raise AssertionError("the condition did not come true within two seconds")


async def settled() -> None:
    """Give everything that can happen now the time to happen."""
    for _ in range(50):
        await asyncio.sleep(0)
