"""A batch done again after a crash: with the scores that were published, whatever the model would say by now."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import pytest
from aiokafka import TopicPartition
from builders import MINUTE, EventLog, a_click, a_page_view, an_impression
from core_bench import ALL, Bench
from crowds import crowded_bench
from hypothesis import given
from hypothesis import strategies as st

from online_models.published import NEVER
from online_models.records import DecodedBatch
from schemas.bids import Bid
from schemas.codec import decode_example, decode_partition_meta, decode_score, encode_json, encode_partition_meta
from schemas.examples import Example
from schemas.scores import Score
from schemas.user_state import Allowance, BiddingMeta, PartitionMeta
from streams import runner
from streams.configs import shipped_config
from streams.messages import Messages
from streams.new_models import new_replicas
from streams.runner import Ends, Published, Session, open_session
from streams.settings import load_settings
from streams.stores import DictStateStore, PartitionId

PLACE = PartitionId("events", 0)


class Log:
    """A topic of scores, read back and written to."""

    def __init__(self, scores: list[Score]) -> None:
        self.scores = [decode_score(encode_json(one)) for one in scores]
        self._waiting = {one.score_id: one for one in self.scores}
        self._end = len(self.scores)
        self.published: list[Score] = []
        self.examples: list[Example] = []

    known_from = 0

    @property
    def end(self) -> int | None:
        return None if self._waiting else self._end

    async def before(self, next_offset: int) -> dict[str, Score]:
        due = {score_id: one for score_id, one in self._waiting.items() if one.offset < next_offset}
        for score_id in due:
            del self._waiting[score_id]
        return due

    async def close(self) -> None:
        """Nothing is open."""

    async def publish(self, batch: DecodedBatch, messages: Messages, *, partition: PartitionId) -> Ends:
        self.published += [decode_score(one.value or b"") for one in messages.scores]
        self.examples += [decode_example(one.value or b"") for some in messages.examples.values() for one in some]
        return Ends(self._end + len(self.published) if messages.scores else None)


async def once(step: Callable[[], Awaitable[Any]], name: str) -> Any:
    return await step()


def a_session(bench: Bench, store: DictStateStore, log: Log, *, cache_users: int = 100) -> Session:
    return Session(
        PLACE,
        bench.core,
        store,
        stored_offset=None,
        cache_users=cache_users,
        max_event_bytes=65_536,
        scores=Published(0, log),
    )


def a_bench(version: int = 7) -> Bench:
    bench = Bench(ALL)
    for replica in bench.replicas.values():
        replica.version = version
        replica.intercept = -version / 7
    return bench


def a_log() -> EventLog:
    log = EventLog()
    for number in range(4):
        at_ms, user = number * MINUTE, f"u{number % 2}"
        log.add(
            a_page_view(at_ms, user_id=user),
            an_impression(f"i{number}", at_ms + 1, user_id=user),
            a_click(f"i{number}", at_ms + 2, user_id=user),
        )
    return log.tick(48 * 60 * MINUTE)


async def run(bench: Bench, log: Log, chunk: int, *, publish_from: int = 0) -> DictStateStore:
    store = DictStateStore()
    session = a_session(bench, store, log)
    session.publish_from = publish_from
    records = a_log().records
    chunks = [records[first : first + chunk] for first in range(0, len(records), chunk)]
    for one in chunks:
        for part in session.parts(one):
            await session.run_batch(part, log, once)
    await stored(session)
    return store


async def stored(session: Session) -> None:
    if session.saving is not None:
        await session.saving


async def states(store: DictStateStore, users: list[str]) -> list[bytes | None]:
    return await store.load_users(PLACE, users)


@given(st.integers(0, 20), st.integers(1, 6), st.integers(1, 6))
async def test_a_batch_done_again_gives_the_state_and_the_examples_of_the_scores_that_were_published(
    published: int, chunk: int, chunk_again: int
) -> None:
    first = Log([])
    whole = await run(a_bench(), first, chunk)
    survived = first.published[:published]

    again = Log(survived)
    # The model has gone on meanwhile, so what was not published yet is scored by a later version.
    store = await run(a_bench(version=7 if published >= len(first.published) else 9), again, chunk_again)

    stand = {one.score_id: one for one in survived}
    seen = again.scores + again.published
    assert [one.score_id for one in seen] == [one.score_id for one in first.published], "each once, in order"
    assert all(encode_json(stand.get(one.score_id, one)) == encode_json(one) for one in seen)
    scored = {one.score_id: (one.score, one.model_version) for one in seen}
    assert again.examples
    assert all(scored[one.score_id] == (one.score, one.model_version) for one in again.examples)
    if published >= len(first.published):
        assert await states(store, ["u0", "u1"]) == await states(whole, ["u0", "u1"])
        assert [encode_json(one) for one in again.examples] == [encode_json(one) for one in first.examples]


async def test_what_was_lost_is_rebuilt_in_silence_and_the_place_among_the_scores_is_kept() -> None:
    first = Log([])
    whole = await run(a_bench(), first, 5)
    end_of_log = len(a_log().records)

    again = Log(first.published)
    store = await run(a_bench(version=9), again, 3, publish_from=end_of_log)

    rebuilt, before = await store.load_partition(PLACE), await whole.load_partition(PLACE)
    assert again.published == []
    assert await states(store, ["u0", "u1"]) == await states(whole, ["u0", "u1"])
    assert rebuilt is not None
    assert before is not None
    assert (rebuilt.next_offset, rebuilt.timers) == (before.next_offset, before.timers)
    assert decode_partition_meta(rebuilt.meta).scores_end == len(first.published)


async def test_scores_of_a_topic_of_the_same_name_that_is_no_more_do_not_count() -> None:
    first = Log([])
    await run(a_bench(), first, 5)
    for one in first.published:
        one.event_id = f"another-{one.event_id}"

    again = Log(first.published)
    await run(a_bench(version=9), again, 5)

    assert len(again.published) == len(first.published)
    assert {one.model_version for one in again.published} == {9}


@pytest.mark.parametrize(("known_from", "opened"), [(0, [0]), (2, [0]), (3, [0, 2]), (NEVER, [0, 2])])
async def test_what_did_not_meet_a_condition_on_the_crowd_does_not_meet_it_when_it_is_rebuilt(
    known_from: int, opened: list[int]
) -> None:
    events = EventLog().add(*(an_impression(f"i{number}", number, event_id=f"e{number}") for number in (0, 1, 2)))
    first = Log([])
    await a_session(crowded_bench("i0"), DictStateStore(), first).run_batch(events.records, first, once)

    again = Log(first.published)
    again.known_from = known_from
    session = a_session(crowded_bench("i2"), DictStateStore(), again)
    session.publish_from = 3
    for record in events.records:
        await session.run_batch([record], again, once)

    assert [one.offset for one in first.published] == [0]
    assert [one.offset for one in session._users["u1"].open] == opened
    assert again.published == []


class Watched(DictStateStore):
    """Notes who was asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[str] = []

    async def load_users(self, partition: PartitionId, user_ids: Sequence[str]) -> list[bytes | None]:
        self.asked += user_ids
        return await super().load_users(partition, user_ids)


@given(st.lists(st.lists(st.integers(0, 30), min_size=1, max_size=5), max_size=20), st.integers(1, 12))
async def test_a_small_cache_changes_no_state(visits: list[list[int]], cache_users: int) -> None:
    stores: list[Watched] = []
    for most in (cache_users, 100):
        log, store = Log([]), Watched()
        session = a_session(a_bench(), store, log, cache_users=most)
        events = EventLog()
        for number, users in enumerate(visits):
            first = len(events.records)
            events.add(*(a_page_view(number * MINUTE + place, user_id=f"u{user}") for place, user in enumerate(users)))
            await session.run_batch(events.records[first:], log, once)
            await stored(session)
            assert len(session._users) <= most
        stores.append(store)

    everyone = [f"u{user}" for user in range(31)]
    assert await states(stores[0], everyone) == await states(stores[1], everyone)


async def test_who_comes_again_and_again_stays_at_hand() -> None:
    log, store = Log([]), Watched()
    session = a_session(a_bench(), store, log, cache_users=10)
    events = EventLog()
    for number in range(100):
        first = len(events.records)
        events.add(a_page_view(number, user_id=f"once-{number}"), a_page_view(number, user_id=f"often-{number % 3}"))
        await session.run_batch(events.records[first:], log, once)
        await stored(session)

    assert sorted(one for one in store.asked if one.startswith("often")) == ["often-1", "often-2"]
    assert len(session._users) == 10


async def test_the_loop_goes_on_while_the_windows_of_very_many_close(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "_BREATHE_S", 0.0)
    log, store = Log([]), DictStateStore()
    session = a_session(a_bench(), store, log, cache_users=5_000)
    events = EventLog()
    for number in range(3_000):
        events.add(an_impression("i1", number, user_id=f"u{number}"))
    await session.run_batch(events.records, log, once)
    turns = 0

    async def count_turns() -> None:
        nonlocal turns
        while True:
            await asyncio.sleep(0)
            turns += 1

    counting = asyncio.create_task(count_turns())
    await asyncio.sleep(0)
    before = turns
    await session.run_batch(events.tick(48 * 60 * MINUTE).records[3_000:], log, once)
    counting.cancel()

    assert turns - before >= 3_000 // 500
    assert len(log.examples) == 3_000


async def test_where_bidding_was_taken_out_the_books_are_stored_on_and_reported_to_nobody() -> None:
    owed = BiddingMeta([], [Allowance("shoes", "2023-11-14", received=9, spent=7)], "e1", [True], 60_000)
    bench, store = Bench(ALL, meta=PartitionMeta([], 0, 0, bidding=owed)), DictStateStore()
    session = a_session(bench, store, Log([]))

    await session.run_batch(EventLog().add(a_page_view(0)).records, Log([]), once)
    await stored(session)

    record = await store.load_partition(PLACE)
    assert record is not None
    assert decode_partition_meta(record.meta).bidding == owed
    assert session.books is None
    assert session.campaign_version("shoes") == 0


class NothingLeft:
    """Bids of before, of which none lies beyond what was stored."""

    known_from = 0

    def __init__(self, settings: Any, partition: PartitionId, *, start: int) -> None:
        self.end = start

    async def before(self, next_offset: int) -> dict[str, Bid]:
        return {}


@pytest.mark.parametrize(("owed", "kept"), [(BiddingMeta([], [], "e1", [True], 60_000), 5_000_000), (None, -1)])
async def test_where_bidding_was_taken_out_it_goes_on_reading_bids_where_it_stood(
    owed: BiddingMeta | None, kept: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All bids that are kept would be read before the first batch, and held in memory."""
    monkeypatch.setattr(runner, "LeftBids", NothingLeft)
    meta = PartitionMeta([], 0, 0, bidding=owed)
    meta.scores_end, meta.bids_end = -1, 5_000_000
    store, settings = DictStateStore(), load_settings(shipped_config("shop"), {})
    await store.save(PLACE, expected_offset=None, next_offset=0, meta=encode_partition_meta(meta), users={}, timers={})

    session = await open_session(
        PLACE, settings, store, new_replicas(settings), once, scores=TopicPartition("scores", 0), bids=None
    )
    await session.run_batch(EventLog().add(a_page_view(0)).records, Log([]), once)
    await stored(session)

    record = await store.load_partition(PLACE)
    assert record is not None
    assert decode_partition_meta(record.meta).bids_end == kept
