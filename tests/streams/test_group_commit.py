"""Several callers before one partition: each gets its own end, and nobody's fault is another's."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest
from aiokafka.errors import KafkaTimeoutError, MessageSizeTooLargeError
from hypothesis import given, settings
from hypothesis import strategies as st

from streams.group_commit import GroupCommit
from streams.output import OutRecord

MOST_BYTES = 100


class Log:
    """A partition that takes a batch at a time."""

    def __init__(self, *, faults: dict[int, BaseException] | None = None, most_bytes: int = 1_000) -> None:
        self.records: list[OutRecord] = []
        self.batches: list[int] = []
        self._faults = faults or {}
        self._most_bytes = most_bytes
        self._busy = False
        self.lane = GroupCommit(self.send, most_bytes=MOST_BYTES)

    async def send(self, records: Sequence[OutRecord]) -> int:
        assert not self._busy, "a batch was sent before the one in front of it was acknowledged"
        self._busy = True
        self.batches.append(len(records))
        number = len(self.batches)
        await asyncio.sleep(0)
        self._busy = False
        if number in self._faults:
            raise self._faults[number]
        if any(len(one.value or b"") > self._most_bytes for one in records):
            raise MessageSizeTooLargeError
        self.records += records
        return len(self.records)


def some(name: str, count: int, size: int = 5) -> list[OutRecord]:
    return [OutRecord(name.encode(), b"%d" % number + b"x" * size) for number in range(count)]


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(1, 4), st.integers(0, 60), st.integers(0, 3)), max_size=12))
def test_each_caller_gets_the_end_of_its_own_records_in_their_order(callers: list[tuple[int, int, int]]) -> None:
    async def run() -> None:
        log = Log()

        async def call(name: str, count: int, size: int, later: int) -> None:
            for _ in range(later):
                await asyncio.sleep(0)
            sent = some(name, count, size)
            end = await log.lane.publish(sent)
            assert log.records[end - count : end] == sent

        await asyncio.gather(*(call(f"c{number}", *one) for number, one in enumerate(callers)))
        assert len(log.records) == sum(count for count, _, _ in callers)

    asyncio.run(run())


async def test_whoever_comes_while_a_batch_is_under_way_goes_with_the_next() -> None:
    log = Log()

    ends = await asyncio.gather(*(log.lane.publish(some(name, 2)) for name in "abcd"))

    assert ends == [2, 4, 6, 8]
    assert log.batches == [2, 6]


async def test_what_does_not_fit_together_goes_one_after_another() -> None:
    log = Log()

    await asyncio.gather(*(log.lane.publish(some(name, 2, 30)) for name in "abcd"))

    assert log.batches == [2, 2, 2, 2]


async def test_a_fault_reaches_all_that_went_together_and_no_later_one() -> None:
    log = Log(faults={2: KafkaTimeoutError()})

    outcomes = await asyncio.gather(*(log.lane.publish(some(name, 1)) for name in "abc"), return_exceptions=True)

    assert outcomes[0] == 1
    assert [type(one) for one in outcomes[1:]] == [KafkaTimeoutError] * 2
    assert await log.lane.publish(some("d", 1)) == 2


async def test_a_record_that_is_too_large_is_only_its_own_callers_fault() -> None:
    log = Log(most_bytes=40)

    outcomes = await asyncio.gather(
        log.lane.publish(some("a", 1)),
        log.lane.publish(some("b", 1)),
        log.lane.publish(some("c", 1, 50)),
        log.lane.publish(some("d", 1)),
        return_exceptions=True,
    )

    assert outcomes[:2] == [1, 2]
    assert isinstance(outcomes[2], MessageSizeTooLargeError)
    assert outcomes[3] == 3


async def test_a_caller_that_gives_up_holds_up_nobody() -> None:
    log = Log()
    first = asyncio.ensure_future(log.lane.publish(some("a", 1)))
    second = asyncio.ensure_future(log.lane.publish(some("b", 1)))
    third = asyncio.ensure_future(log.lane.publish(some("c", 1)))
    await asyncio.sleep(0)

    second.cancel()

    assert await asyncio.gather(first, third) == [1, 2]
    with pytest.raises(asyncio.CancelledError):
        await second
    assert [one.key for one in log.records] == [b"a", b"c"]
