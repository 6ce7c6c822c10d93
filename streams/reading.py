"""Reads topics outside of any group: what the command line and the tests look at.

On the embedded broker `end_offsets` is too small by up to a batch. Here it is only ever a place to
start from; where to stop is decided by what was read.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.structs import ConsumerRecord

from streams import no_made_topics
from streams.header_names import replace_unreadable_names
from streams.sections import KafkaSettings
from streams.stores import Unavailable

no_made_topics.forbid()

# Longer than a broker needs to come back, or a new leader to be found.
PATIENCE_S = 60.0
_FETCH_WAIT_MS = 100
_LAST_LOOK_MS = 500


class TopicMissing(RuntimeError):
    """The topic does not exist on the broker."""


@asynccontextmanager
async def reader(
    kafka: KafkaSettings,
    topics: Iterable[str],
    *,
    start: Mapping[TopicPartition, int] | None = None,
    from_end: bool = False,
) -> AsyncIterator[AIOKafkaConsumer]:
    """Open a consumer of all partitions of `topics`, without a group.

    Parameters
    ----------
    start
        Where to read from; partitions it does not name are read from their beginning.
    from_end
        Begin with what comes from now on instead.

    Raises
    ------
    TopicMissing
        One of the topics does not exist.
    """
    consumer = AIOKafkaConsumer(
        **kafka.client_kwargs(),
        group_id=None,
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        isolation_level="read_committed",  # what a transaction has aborted was never published
        fetch_max_wait_ms=_FETCH_WAIT_MS,
        max_partition_fetch_bytes=4 * 1024 * 1024,
    )
    try:
        await consumer.start()
        replace_unreadable_names(consumer._fetcher)
        partitions = await _all_partitions(consumer, topics)
        consumer.assign(partitions)
        if from_end:
            start = await consumer.end_offsets(partitions)
        for partition in partitions:
            if start and partition in start:
                consumer.seek(partition, start[partition])
        yield consumer
    finally:
        # aiokafka raises CancelledError from stop() when its own tasks have not had a turn yet.
        await asyncio.sleep(0)
        await consumer.stop()


async def _all_partitions(consumer: AIOKafkaConsumer, topics: Iterable[str]) -> list[TopicPartition]:
    found = []
    for topic in topics:
        known = consumer.partitions_for_topic(topic)
        # Asked for by name, a topic that is not there would be made by many brokers.
        if known is None and (await consumer._client.fetch_all_metadata()).partitions_for_topic(topic):
            await consumer._client.add_topic(topic)
            await consumer._client.force_metadata_update()
            known = consumer.partitions_for_topic(topic)
        if not known:
            raise TopicMissing(
                f"There is no topic {topic!r}; create it with `streamscore topics create`, or grant Describe on it"
            )
        found += [TopicPartition(topic, partition) for partition in sorted(known)]
    return found


async def end_offsets(kafka: KafkaSettings, topics: Iterable[str]) -> dict[TopicPartition, int]:
    """Return where each partition of `topics` ends, or (embedded broker) a little before."""
    async with reader(kafka, topics) as consumer:
        return dict(await consumer.end_offsets(list(consumer.assignment())))


async def read_to_end(
    consumer: AIOKafkaConsumer, *, patience_s: float = PATIENCE_S
) -> AsyncIterator[list[ConsumerRecord]]:
    """Yield what there is by now, and end even if more keeps coming.

    Raises
    ------
    Unavailable
        Nothing came for `patience_s` although there is more: what was read so far is not all.
    """
    loop = asyncio.get_running_loop()
    ends = await consumer.end_offsets(list(consumer.assignment()))
    reached = {one: await consumer.position(one) for one in ends}
    give_up = loop.time() + patience_s
    while waiting := [one for one, end in ends.items() if reached[one] < end]:
        batches = await consumer.getmany(timeout_ms=_LAST_LOOK_MS)
        for records in batches.values():
            yield records
        # Beside records a log holds marks of transactions and gaps; the position goes on behind them too.
        now = {one: await consumer.position(one) for one in ends}
        if batches or now != reached:
            give_up = loop.time() + patience_s
        elif loop.time() > give_up:
            where = ", ".join(f"{one.topic}[{one.partition}]" for one in sorted(waiting))
            raise Unavailable(f"nothing came from {where} for {patience_s:.0f} s; is Kafka running?")
        reached = now
    for records in (await consumer.getmany(timeout_ms=_LAST_LOOK_MS)).values():  # see above of the embedded broker
        yield records


async def read_until_quiet(
    consumer: AIOKafkaConsumer, *, quiet_s: float, max_records: int = 2000
) -> AsyncIterator[list[ConsumerRecord]]:
    """Yield batches of records until none has come for `quiet_s` seconds."""
    loop = asyncio.get_running_loop()
    last = loop.time()
    while loop.time() - last < quiet_s:
        batches = await consumer.getmany(timeout_ms=200, max_records=max_records)
        for records in batches.values():
            last = loop.time()
            yield records
