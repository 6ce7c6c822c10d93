"""Random runs of a consumer's life: whatever the order of events, nothing is skipped and nothing committed early."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from aiokafka.errors import CommitFailedError
from hypothesis import given, settings
from hypothesis import strategies as st
from transport_bench import P0, Bench, a_bench, settled


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

            assert bench.reader.committed == {P0: len(bench.reader.log[P0])}

    asyncio.run(play())


def assert_no_gaps(bench: Bench) -> None:
    by_epoch: dict[int, list[int]] = {}
    for chunk in bench.chunks:
        by_epoch.setdefault(chunk.epoch, []).extend(record.offset for record in chunk.records)
    for offsets in by_epoch.values():
        assert offsets == list(range(offsets[0], offsets[0] + len(offsets)))


async def drain(bench: Bench) -> None:
    end = len(bench.reader.log[P0])
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
    end = len(bench.reader.log[P0])
    bench.reader.append(P0, *range(end, end + count))


async def _rebalance(bench: Bench, _: int) -> None:
    await bench.revoke(P0)
    await bench.assign(P0)
    await settled()


async def _commit(bench: Bench, accepted: bool) -> None:
    before = dict(bench.reader.committed)
    bench.reader.refuse = None if accepted else CommitFailedError("rebalanced")
    await bench.consumer.commit()
    bench.reader.refuse = None
    if not accepted:
        assert bench.reader.committed == before
        return  # after a rewind behind it, the older commit stands until the next one succeeds
    waiting = [chunk for chunk in bench.chunks if chunk.is_current and not chunk._delivery.acknowledged]
    assert not waiting or bench.reader.committed.get(P0, 0) <= waiting[0].first_offset


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
