"""Bids that were published and not stored before bidding was taken out are read back by who no longer bids."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from aiokafka import TopicPartition
from bidding_bench import DAY, a_request, a_win
from builders import T0, EventLog, a_page_view
from site_under_test import Site

from online_models.records import DecodedBatch
from schemas.bids import Bid
from schemas.codec import decode_partition_meta, encode_json, encode_partition_meta
from schemas.user_state import Allowance, BiddingMeta, PartitionMeta
from streams.admin import create_topics
from streams.messages import Messages
from streams.new_models import new_replicas
from streams.out_records import OutRecord
from streams.output import KafkaOutput
from streams.runner import Ends, open_session
from streams.sections import TopicSettings
from streams.settings import Settings
from streams.stores import DictStateStore, PartitionId

STORED = BiddingMeta([], [Allowance("shoes", DAY, received=50_000)], "e1", [True], 300_000)


class Nowhere:
    async def publish(self, batch: DecodedBatch, messages: Messages, *, partition: PartitionId) -> Ends:
        return Ends()


async def once(step: Callable[[], Awaitable[Any]], name: str) -> Any:
    return await step()


def a_site(folder: Path, bootstrap_servers: str, name: str) -> tuple[Settings, PartitionId]:
    settings = Site(folder, "shop", bootstrap_servers, "redis://127.0.0.1:1", name).settings
    assert settings.bidding is None
    return settings, PartitionId(settings.topics.events.name, 5)


def a_bid(place: PartitionId, offset: int) -> Bid:
    return Bid(
        reason="bid",
        campaign="shoes",
        day=DAY,
        price=10.0,
        bid_id=f"{place}-{offset}",
        event_id="r0",
        user_id="u1",
        ts=T0,
        topic=place.topic,
        partition=place.partition,
        offset=offset,
        source_ts=T0,
    )


async def run(settings: Settings, place: PartitionId, store: DictStateStore, log: EventLog) -> PartitionMeta:
    """Take the partition up without bidding, and return what is stored then."""
    replicas = new_replicas(settings)
    scores = TopicPartition(settings.topics.scores.name, 1)
    session = await open_session(place, settings, store, replicas, once, scores=scores, bids=None)
    await session.run_batch(log.records, Nowhere(), once)
    assert session.saving is not None
    await session.saving
    record = await store.load_partition(place)
    assert record is not None
    return decode_partition_meta(record.meta)


async def left(place: PartitionId, bids_end: int) -> DictStateStore:
    """Return a store as a worker has left it that had published more bids than it could store."""
    store, meta = DictStateStore(), PartitionMeta([], T0, 0)
    meta.bidding, meta.scores_end, meta.bids_end = STORED, -1, bids_end
    blob = encode_partition_meta(meta)
    await store.save(place, expected_offset=None, next_offset=1, meta=blob, users={}, timers={})
    return store


async def test_a_bid_that_was_published_and_not_stored_is_set_aside_and_paid(
    tmp_path: Path, broker: Any, unique: Any
) -> None:
    settings, place = a_site(tmp_path, broker.bootstrap_servers, unique("left"))
    topics = settings.topics
    await create_topics(settings, [topics.scores, TopicSettings(name=topics.bids.name, partitions=4)])
    output = KafkaOutput(settings)
    await output.start()
    where = (topics.bids.name, 1)  # of four: that of partition 5
    for offset in (0, 1):  # of which the first is stored
        ends = await output.publish({where: [OutRecord(b"u1", encode_json(a_bid(place, offset)))]})
    await output.stop()
    store, log = await left(place, ends[where] - 1), EventLog().add(a_page_view(0), a_request(0))

    asked = await run(settings, place, store, log)
    paid = await run(settings, place, store, log.add(a_win(f"{place}-1", 100, 7.5)))

    assert asked.bidding is not None
    assert paid.bidding is not None
    assert asked.bidding.allowances == [Allowance("shoes", DAY, received=50_000, reserved=10_000)]
    assert paid.bidding.allowances == [Allowance("shoes", DAY, received=50_000, spent=7_500)]
    assert asked.bids_end == paid.bids_end == ends[where], "it is not read again"


async def test_where_the_topic_of_bids_is_gone_nobody_waits_for_it(tmp_path: Path, broker: Any, unique: Any) -> None:
    settings, place = a_site(tmp_path, broker.bootstrap_servers, unique("left"))
    await create_topics(settings, [settings.topics.scores])
    store = await left(place, 7)

    stored = await run(settings, place, store, EventLog().add(a_page_view(0), a_request(0)))

    assert stored.bidding == STORED
    assert stored.bids_end == 7
