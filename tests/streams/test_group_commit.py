"""Several callers before one broker: each gets its own ends, and nobody's fault is another's."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest
from aiokafka.errors import KafkaTimeoutError, MessageSizeTooLargeError
from hypothesis import given, settings
from hypothesis import strategies as st

from streams.group_commit import GroupCommit
from streams.out_records import Batches, Outcomes, OutRecord, Place, Written

MOST_BYTES = 100
SHARED: Place = ("examples", 0)


class Broker:
    """Takes a request at a time, and of what has a record that is too large nothing for that place."""

    def __init__(
        self, *, faults: dict[int, Exception] | None = None, most_bytes: int = 1_000, most_records: int = 1_000
    ) -> None:
        self.log: dict[Place, list[OutRecord]] = {}
        self.requests: list[dict[Place, int]] = []
        self._faults = faults or {}
        self._most_bytes = most_bytes
        self._most_records = most_records
        self._busy = False
        self.line = GroupCommit(self.send, most_bytes=MOST_BYTES)

    async def send(self, batches: Batches) -> Outcomes:
        assert not self._busy, "a request was sent before the one in front of it was answered"
        self._busy = True
        self.requests.append({where: len(records) for where, records in batches.items()})
        number = len(self.requests)
        await asyncio.sleep(0)
        self._busy = False
        if number in self._faults:
            return dict.fromkeys(batches, self._faults[number])
        return {where: self._append(where, records) for where, records in batches.items()}

    def _append(self, where: Place, records: Sequence[OutRecord]) -> Written | Exception:
        if any(len(one.value or b"") > self._most_bytes for one in records):
            return MessageSizeTooLargeError()
        log = self.log.setdefault(where, [])
        log += records[: self._most_records]
        return Written(len(log), len(records[: self._most_records]))

    async def publish(self, records: list[OutRecord], where: Place = SHARED) -> int:
        outcome = (await self.line.publish({where: records}))[where]
        if isinstance(outcome, Exception):
            raise outcome
        assert outcome.records == len(records)
        return outcome.end


def some(name: str, count: int, size: int = 5) -> list[OutRecord]:
    return [OutRecord(name.encode(), b"%d" % number + b"x" * size) for number in range(count)]


PLACES = [SHARED, ("scores", 0), ("scores", 1)]
BATCHES = st.dictionaries(st.sampled_from(PLACES), st.tuples(st.integers(1, 4), st.integers(0, 60)), min_size=1)


@settings(deadline=None)
@given(st.lists(st.tuples(BATCHES, st.integers(0, 3)), max_size=12))
def test_each_caller_gets_the_ends_of_its_own_records_in_their_order(
    callers: list[tuple[dict[Place, tuple[int, int]], int]],
) -> None:
    async def run() -> None:
        broker = Broker()

        async def call(name: str, batches: dict[Place, tuple[int, int]], later: int) -> None:
            for _ in range(later):
                await asyncio.sleep(0)
            sent = {where: some(name, *one) for where, one in batches.items()}
            outcomes = await broker.line.publish(sent)
            assert outcomes.keys() == sent.keys()
            for where, outcome in outcomes.items():
                assert isinstance(outcome, Written)
                assert outcome.records == len(sent[where])
                assert broker.log[where][outcome.end - outcome.records : outcome.end] == sent[where]

        await asyncio.gather(*(call(f"c{number}", *one) for number, one in enumerate(callers)))
        for where in PLACES:
            expected = sum(batches[where][0] for batches, _ in callers if where in batches)
            assert len(broker.log.get(where, [])) == expected

    asyncio.run(run())


async def test_whoever_comes_while_a_request_is_under_way_goes_with_the_next_wherever_it_writes() -> None:
    broker = Broker()

    outcomes = await asyncio.gather(
        *(broker.line.publish({("scores", n): some("s", 1), SHARED: some("e", 2)}) for n in range(4))
    )

    assert outcomes == [{("scores", n): (1, 1), SHARED: (2 * n + 2, 2)} for n in range(4)]
    assert broker.requests == [
        {("scores", 0): 1, SHARED: 2},
        {("scores", 1): 1, ("scores", 2): 1, ("scores", 3): 1, SHARED: 6},
    ]


async def test_what_a_place_does_not_take_together_goes_one_after_another() -> None:
    broker = Broker()

    await asyncio.gather(*(broker.publish(some(name, 2, 30)) for name in "abcd"))

    assert broker.requests == [{SHARED: 2}] * 4


async def test_each_that_joins_leaves_less_room_for_the_next() -> None:
    broker = Broker()

    await asyncio.gather(broker.publish(some("a", 1)), *(broker.publish(some(name, 1, 38)) for name in "bcd"))

    assert broker.requests == [{SHARED: 1}, {SHARED: 2}, {SHARED: 1}], "three of 40 bytes are more than 100"


async def test_what_goes_to_different_places_fits_together() -> None:
    broker = Broker()

    await asyncio.gather(*(broker.publish(some("s", 2, 30), ("scores", n)) for n in range(4)))

    assert [len(request) for request in broker.requests] == [1, 3]


async def test_of_what_was_not_taken_whole_each_caller_learns_how_much_of_his_was() -> None:
    broker = Broker(most_records=3)

    outcomes = await asyncio.gather(*(broker.line.publish({SHARED: some(name, 2)}) for name in "abcd"))

    assert [one[SHARED] for one in outcomes] == [(2, 2), (4, 2), (5, 1), (5, 0)]
    assert [one.key for one in broker.log[SHARED]] == [b"a", b"a", b"b", b"b", b"c"]


async def test_a_fault_reaches_all_that_went_together_and_no_later_one() -> None:
    broker = Broker(faults={2: KafkaTimeoutError()})

    outcomes = await asyncio.gather(*(broker.publish(some(name, 1)) for name in "abc"), return_exceptions=True)

    assert outcomes[0] == 1
    assert [type(one) for one in outcomes[1:]] == [KafkaTimeoutError] * 2
    assert await broker.publish(some("d", 1)) == 2


async def test_a_record_that_is_too_large_is_only_its_own_callers_fault() -> None:
    broker = Broker(most_bytes=40)

    outcomes = await asyncio.gather(
        broker.publish(some("a", 1)),
        broker.publish(some("b", 1)),
        broker.publish(some("c", 1, 50)),
        broker.publish(some("d", 1)),
        broker.publish(some("e", 1), ("scores", 0)),
        return_exceptions=True,
    )

    assert outcomes[:2] == [1, 2]
    assert isinstance(outcomes[2], MessageSizeTooLargeError)
    assert outcomes[3:] == [3, 1]
    assert [one.key for one in broker.log["scores", 0]] == [b"e"]


async def test_what_is_too_large_and_went_alone_or_was_the_only_one_for_its_place_is_not_sent_again() -> None:
    broker = Broker(most_bytes=40)

    outcomes = await asyncio.gather(
        broker.publish(some("a", 1)),
        broker.publish(some("b", 1, 120)),  # goes alone: nobody fits beside it
        broker.publish(some("c", 1)),
        broker.publish(some("d", 1, 50), ("scores", 0)),  # goes with c, to a place of its own
        return_exceptions=True,
    )

    assert [type(one) for one in outcomes] == [int, MessageSizeTooLargeError, int, MessageSizeTooLargeError]
    assert broker.requests == [{SHARED: 1}, {SHARED: 1}, {SHARED: 1, ("scores", 0): 1}]


async def test_a_sender_that_fails_by_itself_fails_those_who_wait_and_the_line_goes_on() -> None:
    async def send(batches: Batches) -> Outcomes:
        await asyncio.sleep(0)
        if len(batches) > 1:
            raise ZeroDivisionError
        return dict.fromkeys(batches, Written(1, 1))

    line = GroupCommit(send, most_bytes=MOST_BYTES)
    outcomes = await asyncio.gather(
        *(line.publish({("scores", n): some("s", 1)}) for n in range(3)), return_exceptions=True
    )

    assert outcomes[0] == {("scores", 0): (1, 1)}
    assert [type(one) for one in outcomes[1:]] == [ZeroDivisionError] * 2
    assert await line.publish({SHARED: some("s", 1)}) == {SHARED: (1, 1)}


async def test_a_caller_that_gives_up_holds_up_nobody() -> None:
    broker = Broker()
    first = asyncio.ensure_future(broker.publish(some("a", 1)))
    second = asyncio.ensure_future(broker.publish(some("b", 1)))
    third = asyncio.ensure_future(broker.publish(some("c", 1)))
    await asyncio.sleep(0)

    second.cancel()

    assert await asyncio.gather(first, third) == [1, 2]
    with pytest.raises(asyncio.CancelledError):
        await second
    assert [one.key for one in broker.log[SHARED]] == [b"a", b"c"]


async def test_where_the_sending_is_cancelled_those_who_wait_for_it_are_too_and_the_line_goes_on() -> None:
    answered = [asyncio.Event() for _ in range(3)]
    requests: list[Batches] = []

    async def send(batches: Batches) -> Outcomes:
        requests.append(batches)
        await answered[len(requests) - 1].wait()
        return {where: Written(len(records), len(records)) for where, records in batches.items()}

    async def until(count: int) -> None:
        while len(requests) < count:
            await asyncio.sleep(0)

    line = GroupCommit(send, most_bytes=MOST_BYTES)
    callers = [asyncio.ensure_future(line.publish({SHARED: some(name, 1)})) for name in "abc"]
    await until(1)
    waits = [one.outcomes for one in line._waiting]
    answered[0].set()
    await until(2)  # b and c are under way

    assert line._draining is not None
    line._draining.cancel()
    await asyncio.wait(callers)

    assert [one.cancelled() for one in waits] == [True, True], "nothing was wrong with what they sent"
    assert [one.cancelled() for one in callers] == [False, True, True]
    answered[2].set()
    assert await line.publish({SHARED: some("d", 1)}) == {SHARED: (1, 1)}
