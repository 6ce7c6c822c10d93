"""Where a partition begins when the store holds nothing of it.

Redis is a cache of the log. If the group has committed offsets but the store is empty, the store was
lost: the partition is replayed from the oldest record kept, and nothing that was published before
the loss is published again.

That takes a log that still holds what was read of it. One that ends below that was cut off, or is another one under the
same name: what is new there has the offsets of what is known, and would be passed over. Nobody but its owner can say
what that means, so the worker ends. Only ends are compared: between records a log may have holes.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from streams.header_names import replace_unreadable_names
from streams.logs import log_event
from streams.output import told
from streams.runner import Attempt, Session
from streams.settings import Settings
from streams.stores import PartitionId

logger = logging.getLogger("streamscore.worker")

_POLL_MS = 50


class LogTruncated(RuntimeError):
    """A log of events ends below what was read of it."""

    def __init__(self, settings: Settings, where: TopicPartition, *, reached: int, end: int) -> None:
        topic, number = where
        key = f"{settings.app}:{{{PartitionId(topic, number)}}}:p"
        super().__init__(
            f"{topic}[{number}] was worked off up to offset {reached}, but its log, which now ends at {end}, ended "
            "below that: the topic was created anew, or the broker has lost acknowledged records. Events that come "
            f"below that offset would be taken for known ones. Stop all workers of {settings.app!r}. If the topic was "
            "created anew, give it another name (`topics: events:`). If it is the same one, have the partition rebuilt "
            f"from what is left: redis-cli UNLINK '{key}' && kafka-consumer-groups.sh --bootstrap-server … "
            f"--group '{settings.app}' --topic '{topic}:{number}' --delete-offsets. "
            'See docs/production.md, "A log that was cut off"'
        )


async def replay_from(settings: Settings, topic: str, partition: int) -> tuple[int, int]:
    """Return (offset to read from, offset from which on results are published) for an empty store.

    They are equal when the group has never committed: the partition is new to it. Raises LogTruncated; Unavailable:
    repeat it; and OutputRefused.
    """
    where = TopicPartition(topic, partition)
    async with _group_consumer(settings, where) as consumer:
        committed = await consumer.committed(where)
        oldest = (await consumer.beginning_offsets([where]))[where]
        await _expect(consumer, settings, where, committed or 0)
    return oldest, max(oldest, committed or 0)


async def begin_in_log(session: Session, settings: Settings, attempt: Attempt) -> None:
    """Say where a session that was opened reads on, and from where it publishes; raises LogTruncated and OutputRefused.

    With an empty store that is the beginning of the log, and the offset that the group has committed.
    """
    topic, partition = session.partition
    if session.stored_offset is None:
        session.next_offset, session.publish_from = await attempt(
            lambda: replay_from(settings, topic, partition), "read committed offset"
        )
        if session.publish_from > session.next_offset:
            log_event(
                logger,
                logging.WARNING,
                "the store has lost a partition; it is rebuilt from the log",
                partition=str(session.partition),
                records=session.publish_from - session.next_offset,
            )
    elif session.publish_from > session.next_offset:
        await attempt(lambda: expect_log(settings, topic, partition, session.publish_from), "read the log's end")


async def expect_log(settings: Settings, topic: str, partition: int, offset: int) -> None:
    """Raise LogTruncated unless a log reaches an offset below which nothing of it will be published."""
    where = TopicPartition(topic, partition)
    async with _group_consumer(settings, where) as consumer:
        await _expect(consumer, settings, where, offset)


async def _expect(consumer: AIOKafkaConsumer, settings: Settings, where: TopicPartition, offset: int) -> None:
    end = (await consumer.end_offsets([where]))[where]
    if end < offset:  # on the embedded broker that is too small, by up to a batch; what it says with a fetch is right
        consumer.seek(where, end)
        while (end := consumer.highwater(where)) is None:
            await consumer.getmany(where, timeout_ms=_POLL_MS)
    if end < offset:
        raise LogTruncated(settings, where, reached=offset, end=end)


async def end_of_log(settings: Settings, where: TopicPartition) -> int:
    """Return the offset behind a partition's last record; on the embedded broker up to a batch less."""
    async with _group_consumer(settings, where) as consumer:
        return int((await consumer.end_offsets([where]))[where])


async def committed_offset(settings: Settings, where: TopicPartition) -> int | None:
    """Return the offset that the group has committed, None if it has none; raises as `replay_from` does."""
    async with _group_consumer(settings, where) as consumer:
        committed = await consumer.committed(where)
    return None if committed is None else int(committed)


@contextmanager
def telling() -> Iterator[None]:
    """Raise what a fault of Kafka's means, see `streams.output.told`."""
    try:
        yield
    except (KafkaError, OSError) as error:
        raise told(error) from error


@asynccontextmanager
async def _group_consumer(settings: Settings, where: TopicPartition) -> AsyncIterator[AIOKafkaConsumer]:
    consumer = AIOKafkaConsumer(**settings.kafka.client_kwargs(), group_id=settings.app, enable_auto_commit=False)
    with telling():
        try:
            await consumer.start()
            replace_unreadable_names(consumer._fetcher)
            consumer.assign([where])
            yield consumer
        finally:
            await asyncio.sleep(0)  # see `streams.reading.reader`
            await consumer.stop()
