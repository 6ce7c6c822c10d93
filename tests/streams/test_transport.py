"""The consumer against a log of our own: who gets which records, and what is committed, whatever happens between.

`FakeThread` stands in for aiokafka and its thread. It keeps their contract: records are taken once, from a position
that only a seek moves back, and only under the epoch that was named with the seek.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, cast

import faust
import msgspec
import pytest
from aiokafka import ConsumerRecord
from aiokafka.errors import CommitFailedError
from faust.exceptions import ImproperlyConfigured
from faust.types import TP, Message
from hypothesis import given, settings
from hypothesis import strategies as st
from mode import Service

from streams.transport import RecordChunk, TransportOptions, record_schema, use_record_chunks
from streams.transport.consumer import RecordConsumer
from streams.transport.driver import OnRevoked, StartOffsets, Transport
from streams.transport.thread import Fetched, LogEnd

P0, P1 = TP("events", 0), TP("events", 1)


def a_record(tp: TP, offset: int) -> ConsumerRecord[bytes | None, bytes | None]:
    return ConsumerRecord(tp.topic, tp.partition, offset, 1000, 0, None, b"v", None, -1, 1, ())


class FakeThread(Service):
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
        return FakeThread(type(self).offsets, self.transport.options.chunk_records, loop=self.loop)


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
        self.thread = cast(FakeThread, self.consumer._thread)

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


async def test_records_come_in_chunks_each_once_and_in_order() -> None:
    async with a_bench({P0: range(25), P1: range(5)}) as bench:
        await bench.assign(P0, P1)
        await until(lambda: len(bench.chunks) == 4)

        assert bench.offsets(P0) == list(range(25))
        assert bench.offsets(P1) == list(range(5))
        assert {(c.tp, c.first_offset, c.next_offset, len(c)) for c in bench.chunks} == {
            (P0, 0, 10, 10), (P0, 10, 20, 10), (P0, 20, 25, 5), (P1, 0, 5, 5),
        }  # fmt: skip


async def test_a_full_partition_is_not_read_on_and_the_others_are() -> None:
    async with a_bench({P0: range(100), P1: range(10)}, open_chunks=2) as bench:
        await bench.assign(P0, P1)
        await until(lambda: len(bench.offsets(P0)) == 20 and len(bench.offsets(P1)) == 10)
        bench.thread.append(P1, 10)
        await until(lambda: len(bench.offsets(P1)) == 11)

        assert len(bench.offsets(P0)) == 20


async def test_an_acknowledgement_makes_room_at_once_even_while_another_partition_is_waited_for() -> None:
    async with a_bench({P0: range(30), P1: []}, open_chunks=1) as bench:
        await bench.assign(P0, P1)
        await until(lambda: bench.thread.polled[-1:] == [{P1}])

        bench.chunks[0].acknowledge()
        await settled()

        assert bench.offsets(P0) == list(range(20))


async def test_room_ends_the_wait_when_every_partition_was_full() -> None:
    async with a_bench({P0: range(30)}, open_chunks=1) as bench:
        await bench.assign(P0)
        await until(lambda: len(bench.chunks) == 1)
        await settled()

        bench.chunks[0].acknowledge()
        await settled()

        assert len(bench.chunks) == 2


async def test_the_application_says_where_to_read_and_the_rest_is_read_from_its_commit() -> None:
    asked: list[frozenset[TP]] = []

    async def start_offsets(tps: frozenset[TP]) -> Mapping[TP, int]:
        asked.append(tps)
        await settled()
        return {P0: 7}

    async with a_bench({P0: range(10), P1: range(10)}, start_offsets=start_offsets) as bench:
        bench.thread.committed[P1] = 4
        await bench.assign(P0, P1)
        assert bench.chunks == []
        await until(lambda: len(bench.chunks) == 2)

        assert asked == [frozenset({P0, P1})]
        assert (bench.offsets(P0), bench.offsets(P1)) == ([7, 8, 9], [4, 5, 6, 7, 8, 9])


async def test_each_assignment_asks_again_where_to_read() -> None:
    starts = iter([{P0: 7}, {P0: 2}])

    async def start_offsets(_: frozenset[TP]) -> Mapping[TP, int]:
        return next(starts)

    async with a_bench({P0: range(10)}, start_offsets=start_offsets) as bench:
        await bench.assign(P0)
        await until(lambda: bench.offsets() == [7, 8, 9])
        await bench.revoke(P0)
        bench.chunks.clear()
        await bench.assign(P0)
        await until(lambda: len(bench.chunks) == 1)

        assert bench.offsets() == [2, 3, 4, 5, 6, 7, 8, 9]


async def test_a_start_that_is_still_being_looked_up_when_the_partition_goes_is_forgotten() -> None:
    cancelled = asyncio.Event()

    async def start_offsets(_: frozenset[TP]) -> Mapping[TP, int]:
        try:
            return await asyncio.get_running_loop().create_future()
        finally:
            cancelled.set()

    async with a_bench({P0: range(10)}, start_offsets=start_offsets) as bench:
        await bench.assign(P0)
        await settled()
        await bench.revoke(P0)

        assert cancelled.is_set()
        assert bench.transport.status() == {}


async def test_a_start_that_cannot_be_looked_up_crashes_the_worker() -> None:
    async def start_offsets(_: frozenset[TP]) -> Mapping[TP, int]:
        raise RuntimeError("our own fault")

    async with a_bench({P0: range(10)}, start_offsets=start_offsets) as bench:
        await bench.assign(P0)
        await until(lambda: bench.consumer.crashed)

        assert bench.chunks == []


async def test_what_was_acknowledged_is_committed_up_to_the_first_gap() -> None:
    async with a_bench({P0: range(30)}) as bench:
        await bench.assign(P0)
        await until(lambda: len(bench.chunks) == 3)
        bench.chunks[0].acknowledge()
        bench.chunks[2].acknowledge()

        assert await bench.consumer.commit()
        assert bench.thread.committed == {P0: 10}
        assert not await bench.consumer.commit()


async def test_what_an_agent_and_faust_do_with_the_message_acknowledges_nothing() -> None:
    async with a_bench({P0: range(10)}) as bench:
        messages: list[Message] = []
        bench.consumer.callback = cast(Any, lambda message: _append(messages, message))
        await bench.assign(P0)
        await until(lambda: len(messages) == 1)
        messages[0].ack(bench.consumer)
        bench.consumer.ack(messages[0])

        assert not await bench.consumer.commit()
        assert bench.thread.committed == {}


async def _append(messages: list[Message], message: Message) -> None:
    messages.append(message)


@pytest.mark.parametrize("refusal", [CommitFailedError("rebalanced"), TimeoutError()])
async def test_a_refused_commit_is_tried_again_and_crashes_nothing(refusal: Exception) -> None:
    async with a_bench({P0: range(10)}) as bench:
        await bench.assign(P0)
        await until(lambda: len(bench.chunks) == 1)
        bench.acknowledge_all()

        bench.thread.refuse = refusal
        assert not await bench.consumer.commit()
        assert bench.transport.status()[P0].committed == 0
        assert not bench.consumer.crashed

        bench.thread.refuse = None
        assert await bench.consumer.commit()
        assert bench.thread.committed == {P0: 10}


async def test_a_commit_that_is_refused_for_long_is_a_stall() -> None:
    async with a_bench({P0: range(10)}) as bench:
        await bench.assign(P0)
        await until(lambda: len(bench.chunks) == 1)
        bench.thread.refuse = TimeoutError()
        bench.acknowledge_all()
        await bench.consumer.commit()
        now_s = asyncio.get_running_loop().time()

        assert bench.transport.lag() == {P0: 0}
        assert bench.transport.stalled(now_s, 60.0) == []
        assert bench.transport.stalled(now_s + 61.0, 60.0) == [P0]

        bench.thread.refuse = None
        await bench.consumer.commit()
        assert bench.transport.stalled(now_s + 62.0, 60.0) == []


async def test_lag_counts_what_is_not_acknowledged() -> None:
    async with a_bench({P0: range(30)}, open_chunks=2) as bench:
        await bench.assign(P0)
        await until(lambda: len(bench.chunks) == 2)
        bench.chunks[1].acknowledge()
        assert bench.transport.lag() == {P0: 30}

        bench.chunks[0].acknowledge()
        assert bench.transport.lag() == {P0: 10}


async def test_a_rewound_partition_is_delivered_again_and_the_older_chunks_are_refused() -> None:
    async with a_bench({P0: range(10)}) as bench:
        await bench.assign(P0)
        await until(lambda: len(bench.chunks) == 1)
        stale = bench.chunks.pop()

        assert await bench.transport.rewind(P0, 4)
        await until(lambda: len(bench.chunks) == 1)

        assert bench.offsets() == [4, 5, 6, 7, 8, 9]
        assert (stale.is_current, stale.acknowledge()) == (False, False)
        assert bench.acknowledge_all() == [True]
        assert bench.chunks[0].epoch > stale.epoch


async def test_records_that_were_taken_before_a_rewind_are_not_handed_out_after_it() -> None:
    async with a_bench({P0: range(10)}) as bench:
        bench.thread.gate.clear()
        await bench.assign(P0)
        await bench.thread.taken.wait()  # the poll holds offsets 0..9, its answer is on the way

        await bench.transport.rewind(P0, 3)
        bench.thread.gate.set()
        await until(lambda: len(bench.chunks) == 1)
        await settled()

        assert bench.offsets() == [3, 4, 5, 6, 7, 8, 9]


async def test_a_rewind_takes_the_partitions_chunks_out_of_the_agents_buffer() -> None:
    async with a_bench({P0: range(10), P1: range(10)}) as bench:
        topic = next(iter(bench.app.topics))

        async def buffer(message: Message) -> None:
            await topic.queue.put(await topic.decode(message))

        bench.consumer.callback = buffer
        await bench.assign(P0, P1)
        await until(lambda: topic.queue.qsize() == 2)
        bench.thread.gate.clear()
        await bench.transport.rewind(P0, 5)

        left = [topic.queue.get_nowait().value.tp for _ in range(topic.queue.qsize())]
        assert left == [P1]
        bench.thread.gate.set()


async def test_a_rewind_of_a_partition_that_is_not_ours_does_nothing() -> None:
    async with a_bench({P0: range(10)}) as bench:
        assert not await bench.transport.rewind(P0, 0)

        await bench.assign(P0)
        await until(lambda: len(bench.chunks) == 1)
        await bench.revoke(P0)
        assert not await bench.transport.rewind(P0, 0)


async def test_a_revocation_lets_the_application_finish_and_commits_what_it_finished() -> None:
    seen: list[frozenset[TP]] = []

    async def on_revoked(tps: frozenset[TP]) -> None:
        seen.append(tps)
        handed_out = len(bench.chunks)
        await settled()
        assert len(bench.chunks) == handed_out
        bench.chunks[0].acknowledge()

    async with a_bench({P0: range(30)}, on_revoked=on_revoked, open_chunks=2) as bench:
        await bench.assign(P0)
        await until(lambda: len(bench.chunks) == 2)
        await bench.revoke(P0)

        assert seen == [frozenset({P0})]
        assert bench.thread.committed == {P0: 10}
        assert bench.acknowledge_all() == [False, False]
        assert bench.transport.lag() == {}


@pytest.mark.parametrize("fault", [RuntimeError("our own fault"), None])
async def test_an_application_that_fails_or_hangs_on_revocation_does_not_keep_the_partitions(
    fault: Exception | None,
) -> None:
    async def on_revoked(_: frozenset[TP]) -> None:
        if fault is not None:
            raise fault
        await asyncio.get_running_loop().create_future()

    async with a_bench({P0: range(10)}, on_revoked=on_revoked, revoke_timeout_s=0.01) as bench:
        await bench.assign(P0)
        await until(lambda: len(bench.chunks) == 1)
        bench.acknowledge_all()
        await bench.revoke(P0)

        assert bench.thread.committed == {P0: 10}
        assert bench.transport.status() == {}


async def test_a_stop_gives_the_partitions_up_once() -> None:
    seen: list[frozenset[TP]] = []

    async def on_revoked(tps: frozenset[TP]) -> None:
        seen.append(tps)

    async with a_bench({P0: range(10)}, on_revoked=on_revoked) as bench:
        await bench.assign(P0)
        await until(lambda: len(bench.chunks) == 1)
        await bench.consumer.wait_empty()
        await bench.consumer.on_stop()

        assert seen == [frozenset({P0})]


async def test_offsets_without_records_are_passed_and_committed() -> None:
    async with a_bench({P0: range(10)}) as bench:
        bench.thread.markers[P0] = 11
        await bench.assign(P0)
        await until(lambda: (one := bench.transport.status().get(P0)) is not None and one.position == 11)
        bench.acknowledge_all()
        await bench.consumer.commit()

        assert bench.thread.committed == {P0: 11}


async def test_a_topic_that_was_created_anew_is_read_from_its_beginning() -> None:
    async with a_bench({P0: range(5)}) as bench:
        await bench.assign(P0)
        await until(lambda: bench.offsets() == [0, 1, 2, 3, 4])
        bench.chunks.clear()

        bench.thread._position[P0] = 0  # what aiokafka does when the offset is out of range
        bench.thread.wake()
        await until(lambda: len(bench.chunks) == 1)

        assert bench.offsets() == [0, 1, 2, 3, 4]
        assert bench.acknowledge_all() == [True]


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("acknowledge"), st.integers(0, 9)),
            st.tuples(st.just("rewind"), st.integers(0, 40)),
            st.tuples(st.just("append"), st.integers(1, 15)),
            st.tuples(st.just("rebalance"), st.just(0)),
            st.tuples(st.just("commit"), st.booleans()),
            st.tuples(st.just("settle"), st.just(0)),
        ),
        max_size=25,
    )
)
def test_whatever_happens_each_epoch_is_an_unbroken_run_and_nothing_unacknowledged_is_committed(
    steps: list[tuple[str, Any]],
) -> None:
    async def play() -> None:
        async with a_bench({P0: range(40)}, chunk_records=4, open_chunks=3) as bench:
            await bench.assign(P0)
            for name, argument in steps:
                await STEPS[name](bench, argument)
                assert_no_gaps(bench)
            await bench.transport.rewind(P0, 0)
            await drain(bench)

            assert bench.thread.committed == {P0: len(bench.thread.log[P0])}

    asyncio.run(play())


def assert_no_gaps(bench: Bench) -> None:
    by_epoch: dict[int, list[int]] = {}
    for chunk in bench.chunks:
        by_epoch.setdefault(chunk.epoch, []).extend(record.offset for record in chunk.records)
    for offsets in by_epoch.values():
        assert offsets == list(range(offsets[0], offsets[0] + len(offsets)))


async def drain(bench: Bench) -> None:
    end = len(bench.thread.log[P0])
    for _ in range(2 * end):
        await settled()
        bench.acknowledge_all()
    await bench.consumer.commit()


async def _acknowledge(bench: Bench, back: int) -> None:
    if back < len(bench.chunks):
        bench.chunks[-1 - back].acknowledge()


async def _rewind(bench: Bench, offset: int) -> None:
    assert await bench.transport.rewind(P0, offset)


async def _append_records(bench: Bench, count: int) -> None:
    end = len(bench.thread.log[P0])
    bench.thread.append(P0, *range(end, end + count))


async def _rebalance(bench: Bench, _: int) -> None:
    await bench.revoke(P0)
    await bench.assign(P0)
    await settled()


async def _commit(bench: Bench, accepted: bool) -> None:
    before = dict(bench.thread.committed)
    bench.thread.refuse = None if accepted else CommitFailedError("rebalanced")
    await bench.consumer.commit()
    bench.thread.refuse = None
    if not accepted:
        assert bench.thread.committed == before
        return  # after a rewind behind it, the older commit stands until the next one succeeds
    waiting = [chunk for chunk in bench.chunks if chunk.is_current and not chunk._delivery.acknowledged]
    assert not waiting or bench.thread.committed.get(P0, 0) <= waiting[0].first_offset


async def _settle(_bench: Bench, _: int) -> None:
    await settled()


STEPS: dict[str, Callable[[Bench, Any], Awaitable[None]]] = {
    "acknowledge": _acknowledge,
    "rewind": _rewind,
    "append": _append_records,
    "rebalance": _rebalance,
    "commit": _commit,
    "settle": _settle,
}


async def test_the_schema_hands_a_chunk_through_as_it_is() -> None:
    async with a_bench({P0: range(3)}) as bench:
        await bench.assign(P0)
        await until(lambda: len(bench.chunks) == 1)
        message = bench.consumer._message(bench.chunks[0])

        event = await bench.app.topic("events", schema=record_schema()).decode(message)

        assert event.value is bench.chunks[0]
        assert event.key is None
        assert (message.topic, message.partition, message.offset) == ("events", 0, 0)


async def test_a_topic_without_the_schema_is_refused() -> None:
    async with a_bench({P0: []}) as bench:
        bench.app.topics.add(bench.app.topic("clicks"))

        with pytest.raises(ImproperlyConfigured, match=r"Topic 'clicks' .* give it schema=record_schema\(\)"):
            await bench.consumer.subscribe(["events", "clicks"])


async def test_faust_tables_are_refused() -> None:
    async with a_bench({P0: []}) as bench:
        bench.app.Table("counts")

        with pytest.raises(ImproperlyConfigured, match="Faust tables"):
            await bench.consumer.subscribe(["events"])


async def test_faust_transactions_are_refused(tmp_path: Path) -> None:
    app = faust.App("bench", broker="kafka://127.0.0.1:1", processing_guarantee="exactly_once", datadir=str(tmp_path))
    use_record_chunks(app)

    with pytest.raises(ImproperlyConfigured, match="processing_guarantee"):
        _ = app.consumer


def test_faust_finds_the_transport_by_the_scheme_of_the_broker_url() -> None:
    app = faust.App("bench", broker="streamscore://one:9092;two:9093")

    assert type(app.transport) is Transport
    assert [(url.host, url.port) for url in app.transport.url] == [("one", 9092), ("two", 9093)]
