"""Dead letters: looked at, and fed back once their cause is mended."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import NamedTuple

from aiokafka import AIOKafkaProducer
from aiokafka.errors import MessageSizeTooLargeError
from aiokafka.structs import ConsumerRecord

from schemas import dead_letters as why
from streams.reading import read_until_quiet, reader
from streams.settings import Settings

# The broker answers within its fetch wait; a second without a record is the end of the topic.
_QUIET_S = 1.5
# Twice what the topic of dead letters is made for.
_MOST_BYTES = 64 << 20
_AT_ONCE = 500


class DeadRecord(NamedTuple):
    """A dead letter as it stands on its topic."""

    partition: int
    offset: int
    reason: str
    detail: str
    source: str
    key: bytes | None
    value: bytes | None
    omitted: bool

    @property
    def source_place(self) -> tuple[int, int] | None:
        """Partition and offset that the record had on the events topic."""
        _, bracket, rest = self.source.rpartition("[")
        partition, _, offset = rest.partition("]@")
        return (int(partition), int(offset)) if bracket and partition.isdigit() and offset.isdigit() else None


def parse_dead(record: ConsumerRecord) -> DeadRecord:
    """Read the headers of a record of `events.dead`."""
    # Anybody may write to a topic: a header's value can be null, or no text.
    headers = {key: (value or b"").decode("utf-8", "replace") for key, value in record.headers}
    return DeadRecord(
        record.partition,
        record.offset,
        headers.get(why.REASON_HEADER, "unknown"),
        headers.get(why.DETAIL_HEADER, ""),
        headers.get(why.SOURCE_HEADER, ""),
        record.key,
        record.value,
        why.OMITTED_HEADER in headers,
    )


async def read_dead(settings: Settings, *, reason: str | None = None) -> AsyncIterator[DeadRecord]:
    """Yield the dead letters that are kept, oldest first in each partition."""
    async with reader(settings.kafka, [settings.topics.dead.name]) as consumer:
        async for records in read_until_quiet(consumer, quiet_s=_QUIET_S):
            for record in records:
                dead = parse_dead(record)
                if reason is None or dead.reason == reason:
                    yield dead


class Redriven(NamedTuple):
    """How many dead letters were acknowledged, and how many the topic is too small for."""

    fed: int
    too_large: int


async def redrive(settings: Settings, chosen: list[DeadRecord]) -> Redriven:
    """Produce dead letters again, key and value untouched.

    Those whose value their topic did not take are passed over: they stand at their source.
    The dead letters themselves stay; whoever redrives twice has the events twice, and repeats of a
    user's recent event ids are passed over by the worker.
    """
    # What is too large is the topic's to say: it may take more than the client would by itself.
    producer = AIOKafkaProducer(**settings.kafka.client_kwargs(), acks="all", max_request_size=_MOST_BYTES)
    fed = too_large = 0
    await producer.start()
    try:
        whole = [dead for dead in chosen if not dead.omitted]
        for first in range(0, len(whole), _AT_ONCE):
            pending = [
                await producer.send(settings.topics.events.name, key=dead.key, value=dead.value)
                for dead in whole[first : first + _AT_ONCE]
            ]
            for sent in await asyncio.gather(*pending, return_exceptions=True):
                if isinstance(sent, MessageSizeTooLargeError):
                    too_large += 1
                elif isinstance(sent, BaseException):
                    raise sent
                else:
                    fed += 1
        return Redriven(fed, too_large)
    finally:
        await producer.stop()
