from __future__ import annotations

import asyncio
from typing import Any

import pytest

from streams.actors import Actor
from streams.retry import retrying
from streams.stores import Fenced, Unavailable


class FakeChunk:
    partition = 0

    def __init__(self, number: int) -> None:
        self.number = number
        self.acknowledged = False

    def acknowledge(self) -> bool:
        self.acknowledged = True
        return True


class Outcome:
    """What an actor told its worker."""

    def __init__(self) -> None:
        self.fenced = 0
        self.failures: list[BaseException] = []

    def actor(self, work: object, **options: Any) -> Actor[FakeChunk]:
        return Actor("events-0", work, on_fenced=self.on_fenced, on_failure=self.failures.append, **options)  # type: ignore[arg-type]

    def on_fenced(self) -> None:
        self.fenced += 1


async def settled() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


async def test_chunks_are_worked_through_in_order_and_acknowledged_after_their_work() -> None:
    seen: list[tuple[int, bool]] = []

    async def work(chunk: FakeChunk) -> None:
        await asyncio.sleep(0)
        seen.append((chunk.number, chunk.acknowledged))

    actor = Outcome().actor(work)
    chunks = [FakeChunk(number) for number in range(4)]
    for chunk in chunks:
        actor.put(chunk)
    await asyncio.sleep(0.02)
    await actor.stop()

    assert seen == [(0, False), (1, False), (2, False), (3, False)]
    assert all(chunk.acknowledged for chunk in chunks)


async def test_garbage_is_looked_after_when_nothing_waits_and_not_between_chunks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    done: list[int] = []
    looked_after: list[int] = []
    monkeypatch.setattr("streams.garbage.look_when_quiet", lambda: looked_after.append(len(done)))

    async def work(chunk: FakeChunk) -> None:
        await asyncio.sleep(0)
        done.append(chunk.number)

    actor = Outcome().actor(work)
    for number in range(3):
        actor.put(FakeChunk(number))
    await asyncio.sleep(0.02)
    await actor.stop()

    assert looked_after == [3]


async def test_what_has_not_begun_is_not_waited_for() -> None:
    worked: list[int] = []
    admitted = asyncio.Event()

    async def work(chunk: FakeChunk) -> None:
        worked.append(chunk.number)

    async def admit(chunk: FakeChunk) -> None:
        if chunk.number == 1:
            await admitted.wait()

    actor = Outcome().actor(work, admit=admit)
    chunks = [FakeChunk(0), FakeChunk(1)]
    for chunk in chunks:
        actor.put(chunk)
    await settled()

    await asyncio.wait_for(actor.stop(), 1)

    assert worked == [0]
    assert [chunk.acknowledged for chunk in chunks] == [True, False]


async def test_a_fault_of_our_own_acknowledges_nothing_and_ends_the_worker() -> None:
    async def work(chunk: FakeChunk) -> None:
        raise ValueError("a bug")

    outcome = Outcome()
    actor = outcome.actor(work)
    chunks = [FakeChunk(0), FakeChunk(1)]
    for chunk in chunks:
        actor.put(chunk)
    await settled()

    assert [str(one) for one in outcome.failures] == ["a bug"]
    assert not any(chunk.acknowledged for chunk in chunks)
    await actor.stop()


async def test_a_fenced_partition_is_given_up_and_not_acknowledged() -> None:
    async def work(chunk: FakeChunk) -> None:
        raise Fenced("events-0", expected=1, found=2)

    outcome = Outcome()
    actor = outcome.actor(work)
    chunk = FakeChunk(0)
    actor.put(chunk)
    await settled()

    assert (outcome.fenced, outcome.failures, chunk.acknowledged) == (1, [], False)
    await actor.stop()


async def test_stopping_lets_the_chunk_at_hand_end_and_drops_the_rest() -> None:
    release = asyncio.Event()

    async def work(chunk: FakeChunk) -> None:
        await release.wait()

    actor = Outcome().actor(work)
    chunks = [FakeChunk(0), FakeChunk(1)]
    for chunk in chunks:
        actor.put(chunk)
    await settled()
    stopping = asyncio.create_task(actor.stop())
    await settled()
    still_working = not stopping.done()
    release.set()
    await asyncio.wait_for(stopping, 1)

    assert still_working
    assert [chunk.acknowledged for chunk in chunks] == [True, False]


def storing_work(writes: list[asyncio.Future[None]]) -> Any:
    async def work(chunk: FakeChunk) -> asyncio.Future[None]:
        writes.append(asyncio.get_running_loop().create_future())
        return writes[-1]

    return work


async def test_the_next_chunk_begins_during_a_write_and_each_is_acknowledged_when_it_is_stored() -> None:
    writes: list[asyncio.Future[None]] = []
    actor = Outcome().actor(storing_work(writes))
    chunks = [FakeChunk(0), FakeChunk(1)]
    for chunk in chunks:
        actor.put(chunk)
    await settled()

    assert len(writes) == 2
    seen = [[chunk.acknowledged for chunk in chunks]]
    for write in writes:
        write.set_result(None)
        await settled()
        seen.append([chunk.acknowledged for chunk in chunks])
    await actor.stop()

    assert seen == [[False, False], [True, False], [True, True]]


@pytest.mark.parametrize("error", [Fenced("events-0", expected=1, found=2), ValueError("a bug")])
async def test_a_write_that_fails_while_nothing_waits_is_told_like_any_other_fault(error: Exception) -> None:
    writes: list[asyncio.Future[None]] = []
    outcome = Outcome()
    actor = outcome.actor(storing_work(writes))
    chunk = FakeChunk(0)
    actor.put(chunk)
    await settled()

    writes[0].set_exception(error)
    await settled()
    actor.put(FakeChunk(1))
    await settled()

    told = [error] if isinstance(error, ValueError) else []
    assert (outcome.fenced, outcome.failures, chunk.acknowledged) == (int(not told), told, False)
    assert len(writes) == 1, "nothing is begun after it"
    await actor.stop()


async def test_stopping_waits_for_the_write_of_the_last_chunk() -> None:
    writes: list[asyncio.Future[None]] = []
    actor = Outcome().actor(storing_work(writes))
    chunk = FakeChunk(0)
    actor.put(chunk)
    await settled()

    stopping = asyncio.create_task(actor.stop())
    await settled()
    waited = not stopping.done()
    writes[0].set_result(None)
    await asyncio.wait_for(stopping, 1)

    assert (waited, chunk.acknowledged) == (True, True)


async def test_a_write_that_fails_while_the_actor_stops_is_told() -> None:
    writes: list[asyncio.Future[None]] = []
    outcome, error = Outcome(), ValueError("a bug")
    actor = outcome.actor(storing_work(writes))
    chunk = FakeChunk(0)
    actor.put(chunk)
    await settled()

    stopping = asyncio.create_task(actor.stop())
    await settled()
    writes[0].set_exception(error)
    await asyncio.wait_for(stopping, 1)

    assert (outcome.failures, chunk.acknowledged) == ([error], False)


async def test_a_write_that_does_not_end_is_left_to_the_fence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("streams.actors._STOP_SECONDS", 0.05)
    writes: list[asyncio.Future[None]] = []
    actor = Outcome().actor(storing_work(writes))
    chunk = FakeChunk(0)
    actor.put(chunk)
    await settled()

    await asyncio.wait_for(actor.stop(), 5)

    assert (writes[0].cancelled(), chunk.acknowledged) == (True, False)


async def test_who_is_told_to_stop_again_has_no_more_time(monkeypatch: pytest.MonkeyPatch) -> None:
    writes: list[asyncio.Future[None]] = []
    actor = Outcome().actor(storing_work(writes))
    actor.put(FakeChunk(0))
    await settled()
    monkeypatch.setattr("streams.actors._STOP_SECONDS", 0.05)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(actor.stop(), 0.01)

    monkeypatch.setattr("streams.actors._STOP_SECONDS", 3600.0)
    await asyncio.wait_for(actor.stop(), 5)

    assert writes[0].cancelled()


async def test_an_idle_actor_stops_at_once() -> None:
    async def work(chunk: FakeChunk) -> None: ...

    await asyncio.wait_for(Outcome().actor(work).stop(), 1)


async def test_only_what_is_away_is_tried_again_and_each_outage_is_told_once() -> None:
    tries, outages = 0, 0

    async def step() -> str:
        nonlocal tries
        tries += 1
        if tries < 3:
            raise Unavailable("away")
        return "done"

    def on_outage() -> None:
        nonlocal outages
        outages += 1

    assert await retrying(step, name="step", on_outage=on_outage) == "done"
    assert (tries, outages) == (3, 1)


async def test_another_error_is_not_tried_again() -> None:
    tries = 0

    async def step() -> None:
        nonlocal tries
        tries += 1
        raise KeyError("a bug")

    with pytest.raises(KeyError):
        await retrying(step, name="step")
    assert tries == 1


async def test_waiting_for_what_is_away_can_be_cancelled() -> None:
    async def step() -> None:
        raise Unavailable("away")

    waiting = asyncio.create_task(retrying(step, name="step"))
    await settled()
    waiting.cancel()

    with pytest.raises(asyncio.CancelledError):
        await waiting


async def test_what_has_come_during_the_work_is_the_next_batch_and_is_acknowledged_with_it() -> None:
    batches: list[list[int]] = []
    joined: dict[FakeChunk, list[FakeChunk]] = {}

    def join(chunk: FakeChunk, later: FakeChunk) -> bool:
        those = joined.setdefault(chunk, [chunk])
        if len(those) == 3:
            return False
        those.append(later)
        return True

    async def work(chunk: FakeChunk) -> None:
        batches.append([one.number for one in joined.get(chunk, [chunk])])
        await asyncio.sleep(0.01)

    actor = Outcome().actor(work, join=join)
    for number in range(6):
        actor.put(FakeChunk(number))
        await asyncio.sleep(0)
    await asyncio.sleep(0.05)
    await actor.stop()

    assert batches == [[0], [1, 2, 3], [4, 5]]
