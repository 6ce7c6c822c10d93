"""The next batch is scored and published while the one before is stored; what is stored is as if it had waited."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, NamedTuple

import pytest
from bidding_bench import BiddingBench, a_campaign, a_grant, a_loss, a_request, a_win, begun
from builders import MINUTE, EventLog, a_click, a_page_view, an_impression
from core_bench import ALL, Bench
from hypothesis import given
from hypothesis import strategies as st

from online_models.records import DecodedBatch
from schemas.codec import decode_score
from streams.messages import Messages
from streams.runner import Ends, Published, Session
from streams.stores import DictStateStore, Fenced, PartitionId

PLACE = PartitionId("events", 0)
HOUR = 60 * MINUTE


class Output:
    """Counts what is published; takes a few turns of the loop for it."""

    def __init__(self, turns: int = 0) -> None:
        self.scores: list[str] = []
        self._turns = turns

    async def publish(self, batch: DecodedBatch, messages: Messages, *, partition: PartitionId) -> Ends:
        for _ in range(self._turns):
            await asyncio.sleep(0)
        self.scores += [decode_score(one.value or b"").score_id for one in messages.scores]
        return Ends(len(self.scores) if messages.scores else None)


class Snapshot(NamedTuple):
    """Everything that is stored."""

    meta: bytes
    timers: dict[str, int]
    users: dict[str, bytes]


class Store(DictStateStore):
    """Takes its time for each write, and keeps a copy of what a crash would leave behind it."""

    def __init__(self, turns: int = 0) -> None:
        super().__init__()
        self.left: dict[int, Snapshot] = {}
        self._turns = turns

    async def save(self, partition: PartitionId, *, next_offset: int, users: Mapping[str, Any], **other: Any) -> None:
        for _ in range(self._turns):
            await asyncio.sleep(0)
        await super().save(partition, next_offset=next_offset, users=users, **other)
        record = await self.load_partition(partition)
        assert record is not None
        self.left[next_offset] = Snapshot(record.meta, record.timers, dict(self._users[partition]))


class Held(DictStateStore):
    """Writes when it is let."""

    def __init__(self) -> None:
        super().__init__()
        self.begun = 0
        self.go_on = asyncio.Semaphore(0)

    async def save(self, partition: PartitionId, **other: Any) -> None:
        self.begun += 1
        await self.go_on.acquire()
        await super().save(partition, **other)


async def once(step: Any, name: str) -> Any:
    return await step()


def a_session(store: DictStateStore, *, cache_users: int = 100) -> Session:
    return Session(
        PLACE,
        Bench(ALL).core,
        store,
        stored_offset=None,
        cache_users=cache_users,
        max_event_bytes=65_536,
        scores=Published(0, None),
    )


def a_log(users: list[int]) -> EventLog:
    log = EventLog()
    for number, user in enumerate(users):
        at_ms, name = number * 7 * MINUTE, f"u{user}"
        log.add(
            an_impression(f"i{number}", at_ms, user_id=name),
            a_page_view(at_ms + 1, user_id=f"u{(user + 1) % 5}"),
            a_click(f"i{number}", at_ms + 2, user_id=name),
        )
    return log.tick(HOUR * 24 * 40)


async def run(users: list[int], chunk: int, store: Store, output: Output, *, cache_users: int, wait: bool) -> None:
    session = a_session(store, cache_users=cache_users)
    records = a_log(users).records
    for first in range(0, len(records), chunk):
        await session.run_batch(records[first : first + chunk], output, once)
        if wait:
            assert session.saving is not None
            await session.saving
    assert session.saving is not None
    await session.saving


@given(
    st.lists(st.integers(0, 4), min_size=1, max_size=12),
    st.integers(1, 7),
    st.integers(1, 6),
    st.integers(0, 30),
    st.integers(0, 10),
)
async def test_with_each_offset_lies_the_state_of_just_the_events_before_it(
    users: list[int], chunk: int, cache_users: int, save_turns: int, publish_turns: int
) -> None:
    expected, output = Store(), Output()
    await run(users, chunk, expected, output, cache_users=100, wait=True)

    store, published = Store(save_turns), Output(publish_turns)
    await run(users, chunk, store, published, cache_users=cache_users, wait=False)

    assert published.scores == output.scores
    assert store.left == expected.left


def a_bidders_log(steps: list[tuple[str, int, int]]) -> EventLog:
    log, asked, at_ms = EventLog().add(begun(), a_grant(10_000_000)), [], 0
    for kind, user, later_ms in steps:
        at_ms += later_ms
        if kind == "grant":
            log.add(a_grant(10_000_000 + at_ms))
        elif kind == "request" or not asked:
            asked.append((f"events-0-{len(log.records)}", f"u{user}"))
            log.add(a_request(at_ms, user_id=f"u{user}"))
        else:
            bid_id, name = asked[user % len(asked)]
            log.add(a_win(bid_id, at_ms, 3.0, user_id=name) if kind == "win" else a_loss(bid_id, at_ms, user_id=name))
    return log


async def booked(log: EventLog, chunk: int, store: Store, *, wait: bool) -> list[tuple[int | None, str, list[str]]]:
    """Return what the books said after each write, and with which offset stored."""
    session = Session(
        PLACE,
        BiddingBench(a_campaign(), granted=True).core,
        store,
        stored_offset=None,
        cache_users=2,
        max_event_bytes=65_536,
    )
    books, said = session.books, []
    assert books is not None
    note = books.saved

    def saved(*what: Any) -> None:
        note(*what)
        said.append((session.stored_offset, books.epoch, [repr(one) for one in books.entries.values()]))

    books.saved = saved  # type: ignore[method-assign]
    for first in range(0, len(log.records), chunk):
        await session.run_batch(log.records[first : first + chunk], Output(2), once)
        if wait:
            assert session.saving is not None
            await session.saving
    assert session.saving is not None
    await session.saving
    return said


@given(
    st.lists(
        st.tuples(st.sampled_from(["request", "win", "loss", "grant"]), st.integers(0, 3), st.integers(1, 400_000)),
        min_size=1,
        max_size=25,
    ),
    st.integers(1, 7),
    st.integers(0, 20),
)
async def test_the_books_say_what_is_stored_and_no_more(
    steps: list[tuple[str, int, int]], chunk: int, save_turns: int
) -> None:
    log, expected, store = a_bidders_log(steps), Store(), Store(save_turns)

    said = await booked(log, chunk, expected, wait=True)

    assert await booked(log, chunk, store, wait=False) == said
    assert any(entries for _, _, entries in said)
    assert store.left == expected.left


async def test_one_batch_is_published_beyond_a_write_and_the_next_waits_for_it() -> None:
    store, output = Held(), Output()
    session = a_session(store)
    records = a_log([0, 1, 2]).records

    await session.run_batch(records[:3], output, once)
    first = len(output.scores)
    second = asyncio.create_task(session.run_batch(records[3:6], output, once))
    for _ in range(20):
        await asyncio.sleep(0)

    assert len(output.scores) == 2 * first > 0
    assert (second.done(), store.begun) == (False, 1)
    store.go_on.release()
    await second
    for _ in range(20):
        await asyncio.sleep(0)
    assert (session.stored_offset, store.begun) == (3, 2)
    store.go_on.release()
    assert session.saving is not None
    await session.saving
    assert session.stored_offset == 6


async def test_a_fence_in_a_write_ends_the_batch_after_it() -> None:
    store = Held()
    session, other = a_session(store), a_session(store)
    records = a_log([0, 1]).records
    store.go_on.release()
    await other.run_batch(records[:3], Output(), once)
    assert other.saving is not None
    await other.saving

    await session.run_batch(records[:3], Output(), once)
    store.go_on.release()
    with pytest.raises(Fenced):
        await session.run_batch(records[3:6], Output(), once)


async def test_nothing_is_published_once_a_write_has_found_another_owner() -> None:
    store, output = Store(), Output()
    session, other = a_session(store), a_session(store)
    records = a_log([0, 1]).records
    await other.run_batch(records[:3], Output(), once)
    assert other.saving is not None
    await other.saving

    await session.run_batch(records[:3], output, once)
    before = list(output.scores)
    for _ in range(5):
        await asyncio.sleep(0)
    with pytest.raises(Fenced):
        await session.run_batch(records[3:6], output, once)

    assert output.scores == before
