"""The consumer against a log of our own: who gets which records, and what is committed, whatever happens between."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import faust
import pytest
from aiokafka.errors import CommitFailedError
from faust.exceptions import ImproperlyConfigured
from faust.types import TP, Message
from transport_bench import P0, P1, a_bench, settled, until

from streams.transport import record_schema, use_record_chunks
from streams.transport.driver import Transport


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
        bench.reader.append(P1, 10)
        await until(lambda: len(bench.offsets(P1)) == 11)

        assert len(bench.offsets(P0)) == 20


async def test_an_acknowledgement_makes_room_at_once_even_while_another_partition_is_waited_for() -> None:
    async with a_bench({P0: range(30), P1: []}, open_chunks=1) as bench:
        await bench.assign(P0, P1)
        await until(lambda: bench.reader.polled[-1:] == [{P1}])

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
        bench.reader.committed[P1] = 4
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
        assert bench.reader.committed == {P0: 10}
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
        assert bench.reader.committed == {}


async def _append(messages: list[Message], message: Message) -> None:
    messages.append(message)


@pytest.mark.parametrize("refusal", [CommitFailedError("rebalanced"), TimeoutError()])
async def test_a_refused_commit_is_tried_again_and_crashes_nothing(refusal: Exception) -> None:
    async with a_bench({P0: range(10)}) as bench:
        await bench.assign(P0)
        await until(lambda: len(bench.chunks) == 1)
        bench.acknowledge_all()

        bench.reader.refuse = refusal
        assert not await bench.consumer.commit()
        assert bench.transport.status()[P0].committed == 0
        assert not bench.consumer.crashed

        bench.reader.refuse = None
        assert await bench.consumer.commit()
        assert bench.reader.committed == {P0: 10}


async def test_a_commit_that_is_refused_for_long_is_a_stall() -> None:
    async with a_bench({P0: range(10)}) as bench:
        await bench.assign(P0)
        await until(lambda: len(bench.chunks) == 1)
        bench.reader.refuse = TimeoutError()
        bench.acknowledge_all()
        await bench.consumer.commit()
        now_s = asyncio.get_running_loop().time()

        assert bench.transport.lag() == {P0: 0}
        assert bench.transport.stalled(now_s, 60.0) == []
        assert bench.transport.stalled(now_s + 61.0, 60.0) == [P0]

        bench.reader.refuse = None
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
        bench.reader.gate.clear()
        await bench.assign(P0)
        await bench.reader.taken.wait()  # the poll holds offsets 0..9, its answer is on the way

        await bench.transport.rewind(P0, 3)
        bench.reader.gate.set()
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
        bench.reader.gate.clear()
        await bench.transport.rewind(P0, 5)

        left = [topic.queue.get_nowait().value.tp for _ in range(topic.queue.qsize())]
        assert left == [P1]
        bench.reader.gate.set()


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
        assert bench.reader.committed == {P0: 10}
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

        assert bench.reader.committed == {P0: 10}
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
        bench.reader.markers[P0] = 11
        await bench.assign(P0)
        await until(lambda: (one := bench.transport.status().get(P0)) is not None and one.position == 11)
        bench.acknowledge_all()
        await bench.consumer.commit()

        assert bench.reader.committed == {P0: 11}


async def test_a_topic_that_was_created_anew_is_read_from_its_beginning() -> None:
    async with a_bench({P0: range(5)}) as bench:
        await bench.assign(P0)
        await until(lambda: bench.offsets() == [0, 1, 2, 3, 4])
        bench.chunks.clear()

        bench.reader._position[P0] = 0  # what aiokafka does when the offset is out of range
        bench.reader.wake()
        await until(lambda: len(bench.chunks) == 1)

        assert bench.offsets() == [0, 1, 2, 3, 4]
        assert bench.acknowledge_all() == [True]


@pytest.mark.parametrize("appended", [[], [0, 1, 2]])
async def test_of_a_log_that_ends_below_what_was_read_nothing_is_handed_out_if_the_application_says_so(
    appended: list[int],
) -> None:
    told: list[tuple[TP, int, int]] = []

    async def on_truncated(tp: TP, position: int, begins: int) -> bool:
        told.append((tp, position, begins))
        return False

    async with a_bench({P0: range(5), P1: []}) as bench:
        bench.transport.on_truncated = on_truncated
        await bench.assign(P0, P1)
        await until(lambda: bench.offsets() == [0, 1, 2, 3, 4])

        bench.reader.log[P0] = appended
        bench.reader.markers[P0] = 0
        bench.reader._position[P0] = 0 if appended else -1  # a step to 0, with records or without
        bench.reader.append(P1, 7)
        await until(lambda: bench.offsets(P1) == [7])
        await settled()

        assert told == [(P0, 5, 0)]
        assert bench.offsets() == [0, 1, 2, 3, 4]
        assert not any(chunk.is_current for chunk in bench.chunks if chunk.tp == P0)
        await bench.revoke(P0, P1)
        assert P0 not in bench.reader.committed


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


async def test_a_topic_whose_offsets_the_application_commits_is_never_committed_and_is_not_stuck() -> None:
    async with a_bench({P0: range(8)}, chunk_records=4, committed_elsewhere=frozenset({P0.topic})) as bench:
        await bench.assign(P0)
        await settled()
        bench.acknowledge_all()

        assert await bench.consumer.commit()

        assert bench.reader.committed == {}
        assert bench.transport.status()[P0].committed == 8
        assert bench.transport.stalled(1e9, 1.0) == []


async def test_what_is_done_again_leaves_the_commit_alone_until_it_comes_to_what_is_due() -> None:
    async def start_offsets(_: frozenset[TP]) -> Mapping[TP, int]:
        bench.transport.commit_from(P0, 6)
        return {P0: 0}

    async with a_bench({P0: range(8)}, chunk_records=4, start_offsets=start_offsets) as bench:
        bench.reader.committed[P0] = 6
        await bench.assign(P0)
        await until(lambda: len(bench.chunks) == 2)

        assert await bench.consumer.commit()
        bench.chunks[0].acknowledge()
        assert await bench.consumer.commit()
        assert bench.reader.committed == {P0: 6}
        assert bench.transport.status()[P0].committed == 4, "it moves, so nothing is stuck"

        bench.chunks[1].acknowledge()
        await bench.revoke(P0)
        assert bench.reader.committed == {P0: 8}
