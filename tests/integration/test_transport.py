"""Workers that read a real broker in chunks: nothing lost, nothing committed too early, whoever comes and goes."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from types import SimpleNamespace
from typing import Any, Protocol
from uuid import uuid4

import faust
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from faust.types import TP

from streams.transport import RecordChunk, Transport, TransportOptions, record_schema, use_record_chunks
from streams.transport.driver import OnRevoked, StartOffsets

# The embedded broker lets a group's first member wait for about as long, and keeps an only member that is late.
SESSION_S = {"embedded": 2.0, "kafka": 6.0}


class Broker(Protocol):
    @property
    def kind(self) -> str: ...

    @property
    def bootstrap_servers(self) -> str: ...


class Topic:
    """A topic of its own for each test, and a consumer group that belongs to it."""

    def __init__(self, broker: Broker, partitions: int) -> None:
        self.broker = broker
        self.name = f"events-{uuid4().hex[:8]}"
        self.group = f"group-{self.name}"
        self.partitions = [TP(self.name, partition) for partition in range(partitions)]

    async def produce(self, records: int, **kwargs: Any) -> None:
        """Append ``records`` records to every partition."""
        async with AIOKafkaProducer(bootstrap_servers=self.broker.bootstrap_servers, **kwargs) as producer:
            sent = [
                await producer.send(self.name, b"%d" % index, partition=tp.partition)
                for index in range(records)
                for tp in self.partitions
            ]
            await asyncio.gather(*sent)

    async def committed(self) -> list[int | None]:
        consumer = AIOKafkaConsumer(bootstrap_servers=self.broker.bootstrap_servers, group_id=self.group)
        await consumer.start()
        try:
            return [await consumer.committed(TopicPartition(*tp)) for tp in self.partitions]
        finally:
            await consumer.stop()


async def a_topic(broker: Broker, partitions: int, *, records: int = 0) -> Topic:
    topic = Topic(broker, partitions)
    admin = AIOKafkaAdminClient(bootstrap_servers=broker.bootstrap_servers)
    await admin.start()
    try:
        await admin.create_topics([NewTopic(topic.name, partitions, 1)])
    finally:
        await admin.close()
    if records:
        await topic.produce(records)
    return topic


class Worker:
    """A Faust app that hands every chunk to ``take``."""

    def __init__(
        self,
        topic: Topic,
        take: Callable[[RecordChunk], object],
        *,
        start_offsets: StartOffsets | None = None,
        on_revoked: OnRevoked | None = None,
        **options: Any,
    ) -> None:
        self.chunks: list[RecordChunk] = []
        self.app = faust.App(
            topic.group,
            broker=f"kafka://{topic.broker.bootstrap_servers}",
            broker_session_timeout=SESSION_S[topic.broker.kind],
            broker_heartbeat_interval=0.5,
            broker_request_timeout=20.0,
            broker_commit_interval=0.2,
            topic_disable_leader=True,
            web_enabled=False,
            autodiscover=False,
        )
        self.transport = use_record_chunks(
            self.app, options=TransportOptions(**options), start_offsets=start_offsets, on_revoked=on_revoked
        )

        @self.app.agent(self.app.topic(topic.name, schema=record_schema()))
        async def hand_over(stream: faust.StreamT[RecordChunk]) -> None:
            async for chunk in stream:
                self.chunks.append(chunk)
                take(chunk)

    def offsets(self, tp: TP) -> list[int]:
        return [record.offset for chunk in self.chunks if chunk.tp == tp for record in chunk.records]

    @property
    def received(self) -> int:
        return sum(len(chunk) for chunk in self.chunks)

    async def __aenter__(self) -> Worker:
        await self.app.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        started = time.monotonic()
        await self.app.stop()
        assert time.monotonic() - started < 3.0
        assert self.app.crash_reason is None


async def until(condition: Callable[[], bool], *, timeout_s: float = 30.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"the condition did not come true within {timeout_s} s")
        await asyncio.sleep(0.01)


def acknowledge(chunk: RecordChunk) -> None:
    assert chunk.acknowledge()


async def test_the_coordinator_says_whether_we_are_a_member_of_the_present_generation(broker: Broker) -> None:
    topic = await a_topic(broker, 1, records=1)
    async with Worker(topic, acknowledge) as worker:
        await until(lambda: worker.received == 1)
        member = await worker.transport.is_member()
        consumer: Any = worker.transport._consumer._thread._consumer  # type: ignore[union-attr]
        ours = consumer._coordinator
        consumer._coordinator = SimpleNamespace(
            group_id=ours.group_id,
            member_id=ours.member_id,
            generation=ours.generation + 1,
            _send_req=ours._send_req,
            check_errors=ours.check_errors,
        )
        of_another_generation = await worker.transport.is_member()
        consumer._coordinator = ours
    stopped = await worker.transport.is_member()

    assert (member, of_another_generation, stopped) == (True, False, None)


async def test_every_record_comes_once_and_in_order_and_all_is_committed(broker: Broker) -> None:
    topic = await a_topic(broker, 4, records=5000)

    async with Worker(topic, acknowledge) as worker:
        await until(lambda: worker.received >= 20_000)
        await until(lambda: all(one.committed == 5000 for one in worker.transport.status().values()))

        assert worker.transport.lag() == dict.fromkeys(topic.partitions, 0)
        assert worker.transport.stalled(time.monotonic(), 1.0) == []
        assert not worker.app.consumer.unacked  # Faust's own lists, which nothing would ever empty
        assert not any(worker.app.consumer._acked.values())  # type: ignore[attr-defined]

    assert [worker.offsets(tp) for tp in topic.partitions] == [list(range(5000))] * 4
    assert await topic.committed() == [5000] * 4


async def test_no_commit_passes_the_first_chunk_that_is_not_acknowledged(broker: Broker) -> None:
    topic = await a_topic(broker, 1, records=1000)
    worker = Worker(
        topic, lambda chunk: len(worker.chunks) % 2 and chunk.acknowledge(), chunk_records=100, open_chunks=100
    )

    async with worker:
        await until(lambda: worker.received >= 1000)

    assert await topic.committed() == [worker.chunks[1].first_offset]


async def test_a_full_partition_holds_memory_bounded_and_leaves_the_others_alone(broker: Broker) -> None:
    topic = await a_topic(broker, 2, records=2000)
    stuck, free = topic.partitions

    def take(chunk: RecordChunk) -> None:
        if chunk.tp == free:
            acknowledge(chunk)

    async with Worker(topic, take, chunk_records=100, open_chunks=3) as worker:
        await until(lambda: len(worker.offsets(free)) == 2000)
        status = worker.transport.status()

        assert worker.offsets(stuck) == list(range(300))
        assert (status[stuck].open_chunks, status[stuck].open_records) == (3, 300)

        for chunk in worker.chunks:
            if chunk.tp == stuck:
                acknowledge(chunk)
        await until(lambda: len(worker.offsets(stuck)) == 600)


async def test_an_agent_that_raises_neither_acknowledges_nor_loses_anything(broker: Broker) -> None:
    topic = await a_topic(broker, 1, records=1000)

    def take(chunk: RecordChunk) -> None:
        if len(worker.chunks) == 3:
            raise RuntimeError("on purpose")
        acknowledge(chunk)

    worker = Worker(topic, take, chunk_records=100, open_chunks=3)
    async with worker:
        await until(lambda: len(worker.chunks) == 5)  # two done, the failed one, and two behind it

    assert await topic.committed() == [200]
    async with Worker(topic, acknowledge) as after:
        await until(lambda: after.received >= 800)
    assert after.offsets(topic.partitions[0]) == list(range(200, 1000))


async def test_a_rewind_under_load_delivers_again_and_refuses_what_came_before(broker: Broker) -> None:
    topic = await a_topic(broker, 2, records=20_000)
    tp, other = topic.partitions
    refused: list[RecordChunk] = []

    def take(chunk: RecordChunk) -> None:
        if not chunk.acknowledge():
            refused.append(chunk)

    async with Worker(topic, take, chunk_records=50) as worker:
        for _ in range(5):
            seen = worker.received
            await until(lambda seen=seen: worker.received > seen + 1000)  # type: ignore[misc]
            assert await worker.transport.rewind(tp, 500)
        await until(lambda: worker.transport.lag() == {tp: 0, other: 0})

    by_epoch: dict[int, list[int]] = {}
    for chunk in worker.chunks:
        if chunk.tp == tp and chunk not in refused:
            by_epoch.setdefault(chunk.epoch, []).extend(record.offset for record in chunk.records)
    first, *rewound = by_epoch.values()
    assert first == list(range(len(first)))
    assert [offsets[0] for offsets in rewound] == [500] * len(rewound)
    assert rewound[-1] == list(range(500, 20_000))
    assert worker.offsets(other) == list(range(20_000))
    assert await topic.committed() == [20_000] * 2


@pytest.mark.parametrize(("named", "begins"), [(None, 300), (700, 700), (100, 100)])
async def test_a_restart_goes_on_where_the_application_says_else_at_the_commit(
    broker: Broker, named: int | None, begins: int
) -> None:
    topic = await a_topic(broker, 1, records=1000)
    (tp,) = topic.partitions
    first = Worker(topic, lambda chunk: chunk.next_offset <= 300 and chunk.acknowledge(), chunk_records=100)
    async with first:
        await until(lambda: len(first.chunks) >= 5)

    async def start_offsets(tps: frozenset[TP]) -> Mapping[TP, int]:
        assert tps == {tp}
        return {} if named is None else {tp: named}

    async with Worker(topic, acknowledge, start_offsets=start_offsets) as second:
        await until(lambda: second.received >= 1000 - begins)

    assert second.offsets(tp) == list(range(begins, 1000))
    assert await topic.committed() == [1000]


async def test_a_record_that_comes_while_nothing_else_does_is_handed_out_at_once(broker: Broker) -> None:
    topic = await a_topic(broker, 4)
    delays: list[float] = []

    def take(chunk: RecordChunk) -> None:
        delays.extend(time.time() - float(record.value) for record in chunk.records)
        acknowledge(chunk)

    async with (
        Worker(topic, take) as worker,
        AIOKafkaProducer(bootstrap_servers=topic.broker.bootstrap_servers) as producer,
    ):
        for index in range(50):
            await producer.send_and_wait(topic.name, b"%f" % time.time(), partition=index % 4)
        await until(lambda: worker.received == 50)

    assert sorted(delays)[25] < 0.1


async def test_who_holds_up_the_loop_for_less_than_a_session_keeps_what_it_has(kafka_broker: Broker) -> None:
    topic = await a_topic(kafka_broker, 2, records=1)

    def take(chunk: RecordChunk) -> None:
        if worker.received == 1:
            time.sleep(3.0)  # half of the session: six heartbeats are late
        acknowledge(chunk)

    async with Worker(topic, take) as worker:
        loop_of_the_consumer = worker.transport._consumer._thread.thread_loop  # type: ignore[union-attr]
        await until(lambda: worker.received == 2)
        await topic.produce(5)
        await until(lambda: worker.received == 12)
        member = await worker.transport.is_member()

    assert loop_of_the_consumer is asyncio.get_running_loop()
    assert member
    assert {chunk.epoch for chunk in worker.chunks} == {worker.chunks[0].epoch}
    assert await topic.committed() == [6, 6]


async def test_each_record_is_counted_once_while_workers_come_and_go(kafka_broker: Broker) -> None:
    topic = await a_topic(kafka_broker, 4, records=100)
    shared = SharedStore(topic.partitions)

    def worker() -> Worker:
        made = Worker(topic, shared.take, start_offsets=shared.start_offsets, on_revoked=shared.on_revoked)
        shared.chunks[made.transport] = made.chunks
        return made

    stays, comes = worker(), worker()
    async with stays:
        await until(lambda: shared.counted == 400)
        async with comes:
            await until(lambda: len(comes.transport.status()) == len(stays.transport.status()) == 2)
            await topic.produce(500)
            await until(lambda: shared.counted == 2400)
        await until(lambda: len(stays.transport.status()) == 4)
        await topic.produce(100)
        await until(lambda: shared.counted == 2800)

    assert shared.next_offset == dict.fromkeys(topic.partitions, 700)
    assert await topic.committed() == [700] * 4
    assert comes.received >= 1000
    assert shared.revocations == [4, 2, 2, 4]  # stays (comes joins), comes (ends) and stays (comes has left), stays


class SharedStore:
    """What a store shared by workers does: offsets move by compare and set only."""

    def __init__(self, partitions: Iterable[TP]) -> None:
        self.next_offset = dict.fromkeys(partitions, 0)
        self.counted = 0
        self.revocations: list[int] = []
        self.chunks: dict[Transport, list[RecordChunk]] = {}

    def take(self, chunk: RecordChunk) -> None:
        if chunk.first_offset == self.next_offset[chunk.tp] and chunk.is_current:
            self.next_offset[chunk.tp] = chunk.next_offset
            self.counted += len(chunk)
            acknowledge(chunk)

    async def start_offsets(self, tps: frozenset[TP]) -> Mapping[TP, int]:
        return {tp: self.next_offset[tp] for tp in tps}

    async def on_revoked(self, tps: frozenset[TP]) -> None:
        self.revocations.append(len(tps))


async def test_aborted_records_are_not_handed_out_and_markers_are_no_lag(kafka_broker: Broker) -> None:
    topic = await a_topic(kafka_broker, 1)
    (tp,) = topic.partitions
    producer = AIOKafkaProducer(bootstrap_servers=kafka_broker.bootstrap_servers, transactional_id=f"tx-{topic.name}")
    async with producer:
        for value in (b"committed", b"aborted", b"committed"):
            await producer.begin_transaction()
            await producer.send(topic.name, value, partition=0)
            await (producer.abort_transaction() if value == b"aborted" else producer.commit_transaction())

    async with Worker(topic, acknowledge) as worker:
        await until(lambda: worker.transport.lag() == {tp: 0} and worker.received == 2)

    assert [record.value for chunk in worker.chunks for record in chunk.records] == [b"committed"] * 2
    assert await topic.committed() == [6]


async def test_what_is_waited_for_is_taken_as_it_arrives_so_that_the_next_fetch_can_leave(broker: Broker) -> None:
    topic = await a_topic(broker, 2, records=1)
    async with Worker(topic, acknowledge) as worker:
        await until(lambda: worker.received == 2)
        fetcher: Any = worker.transport._consumer._thread._consumer._fetcher  # type: ignore[union-attr]
        fetch, left = fetcher._proc_fetch_request, []

        async def watched(*request: Any) -> bool:
            arrived = bool(await fetch(*request))
            if arrived:
                left.append(set(fetcher._records))
            return arrived

        fetcher._proc_fetch_request = watched
        for rounds in range(1, 6):
            await topic.produce(1)
            await until(lambda: worker.received == 2 + 2 * rounds)  # noqa: B023 - awaited here

    assert left
    assert left == [set()] * len(left)
    assert [worker.offsets(tp) for tp in topic.partitions] == [list(range(6))] * 2


SCRIPT = """
import logging, sys
import faust
from streams.transport import record_schema, use_record_chunks

logging.basicConfig(level=logging.WARNING, format="ours %(name)s %(message)s")
app = faust.App({group!r}, broker="kafka://{servers}", broker_session_timeout={session_s},
                broker_heartbeat_interval=0.5, broker_request_timeout=20.0, topic_disable_leader=True,
                web_enabled=False, autodiscover=False)
use_record_chunks(app)

@app.agent(app.topic({topic!r}, schema=record_schema()))
async def hand_over(stream):
    async for chunk in stream:
        chunk.acknowledge()
        print("chunk", len(chunk), flush=True)

worker = faust.Worker(app, override_logging=False, redirect_stdouts=False, quiet=True)
worker.spinner = None
worker.execute_from_commandline()
"""


async def test_a_faust_worker_process_ends_cleanly_on_a_signal(broker: Broker) -> None:
    topic = await a_topic(broker, 1, records=10)
    session_s = SESSION_S[broker.kind]
    script = SCRIPT.format(group=topic.group, servers=broker.bootstrap_servers, topic=topic.name, session_s=session_s)
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-W", "error::RuntimeWarning", "-c", script,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE, env=os.environ | {"PYTHONPATH": os.getcwd()},
    )  # fmt: skip
    try:
        assert process.stdout is not None
        async with asyncio.timeout(40):
            assert await process.stdout.readline() == b"chunk 10\n"
            process.send_signal(signal.SIGTERM)
            _, errors = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()

    assert (process.returncode, errors.decode()) == (0, "")
    assert await topic.committed() == [10]
