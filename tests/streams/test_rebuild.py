"""A lost partition that is rebuilt, whoever is cut off on the way: nothing that was published goes out again."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import msgspec
from aiokafka import TopicPartition
from builders import MINUTE, EventLog, a_click, an_impression
from hypothesis import given
from hypothesis import strategies as st

from online_models.records import DecodedBatch, Record
from schemas.codec import decode_partition_meta, decode_score
from schemas.scores import Score
from streams.configs import shipped_config
from streams.messages import Messages
from streams.new_models import new_replicas
from streams.runner import Ends, Published, Session, open_session
from streams.settings import load_settings
from streams.stores import DictStateStore, PartitionId

PLACE = PartitionId("events", 0)
SETTINGS = load_settings(shipped_config("shop"), {})


class Topics:
    """What is published, by the offsets of its events."""

    def __init__(self) -> None:
        self.scores: list[int] = []
        self.dead: list[int] = []
        self.accounted: list[int] = []

    async def publish(self, batch: DecodedBatch, messages: Messages, *, partition: PartitionId) -> Ends:
        self.scores += [decode_score(one.value or b"").offset for one in messages.scores]
        self.dead += [int(dead.value or b"") for dead in batch.dead_letters]
        self.accounted += range(batch.first_offset, batch.next_offset)
        return Ends()


async def once(step: Callable[[], Awaitable[Any]], name: str) -> Any:
    return await step()


async def take(store: DictStateStore) -> Session:
    """Take the partition up; none of the scores of before the loss is kept any more."""
    session = await open_session(
        PLACE, SETTINGS, store, new_replicas(SETTINGS), once, scores=TopicPartition("scores", 0), bids=None
    )
    session._scores = Published[Score](-1, None)
    return session


async def work(session: Session, records: Sequence[Record], topics: Topics) -> None:
    for part in session.parts(records):
        await session.run_batch(part, topics, once)
        assert session.saving is not None
        await session.saving


def a_log(triples: int) -> EventLog:
    log = EventLog()
    for number in range(triples):
        log.add(an_impression(f"i{number}", number * MINUTE), a_click(f"i{number}", number * MINUTE + 1))
        log.add_raw(b"%d" % len(log.records))
    return log


def test_what_an_earlier_version_has_stored_is_under_no_rebuild() -> None:
    before = msgspec.msgpack.encode([[], 5, 0, -1, -1, None])

    assert decode_partition_meta(before).publish_from == 0


@given(st.integers(0, 24), st.lists(st.integers(1, 9), max_size=4))
async def test_a_rebuild_that_is_interrupted_goes_on_in_silence(committed: int, batches: list[int]) -> None:
    records, whole = a_log(8).records, Topics()
    await work(await take(DictStateStore()), records, whole)

    store, topics, at = DictStateStore(), Topics(), 0
    session = await take(store)
    session.publish_from = committed  # as the group says; whoever comes later has it from the store
    for count in [*batches, len(records)]:
        if records[at : at + count]:
            await work(session, records[at : at + count], topics)
            at = session.next_offset
            session = await take(store)
            assert session.publish_from == (committed if at < committed else 0)

    assert set(whole.scores) | set(whole.dead) == set(whole.accounted) == set(range(24))
    assert topics.scores == [offset for offset in whole.scores if offset >= committed]
    assert topics.dead == [offset for offset in whole.dead if offset >= committed]
    assert topics.accounted == list(range(committed, 24))
