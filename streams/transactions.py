"""Exactly-once outputs: what a batch leads to, and the batch's end, in one Kafka transaction.

A partition of events has a transactional id of its own. Whoever takes the partition up starts a producer under that id,
which ends the transaction of the owner before, and from then on that one's producer is refused: a zombie can write
nothing that a `read_committed` reader will see. The state is stored after the commit; who was cut off in between leaves
a committed offset that is ahead of the store's, and the next owner makes the state up to there anew, in silence and
with the scores that were published (`streams.earlier`).

Whether a commit whose answer was lost has been carried out is asked of the broker: a new producer under the id waits
until the transaction is over, and then the group's committed offset tells.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka import errors as kafka_errors
from aiokafka.errors import KafkaError, MessageSizeTooLargeError
from aiokafka.structs import OffsetAndMetadata

from online_models.features.durations import parse_duration_ms
from streams.failpoints import failpoint
from streams.out_records import OutRecord, Place, RecordTooLarge, check_size
from streams.output import Consumed, OutputRefused, end_producer, told
from streams.producer import BATCH_BYTES
from streams.rebuild import committed_offset
from streams.settings import Settings
from streams.stores import Fenced, PartitionId, Unavailable

T = TypeVar("T")

_LIMIT_TIMEOUTS = 3
_FENCED = (kafka_errors.ProducerFenced, kafka_errors.InvalidProducerEpoch)


class TransactionsRefused(OutputRefused):
    """The broker has no transactions, or none for us."""


def make_transactional_producer(settings: Settings, transactional_id: str) -> AIOKafkaProducer:
    """Make aiokafka's producer for transactions under an id, to be started; who wrote under it before is fenced."""
    kafka = settings.kafka
    return AIOKafkaProducer(
        **kafka.client_kwargs(),
        acks="all",
        max_batch_size=BATCH_BYTES,
        compression_type=None if kafka.compression == "none" else kafka.compression,
        enable_idempotence=True,
        transactional_id=transactional_id,
    )


async def _publish_to(producer: Any, topic: str, partition: int, records: Sequence[OutRecord]) -> int:
    """Publish to one partition, in order; return the offset behind the last record."""
    end = 0
    for batch in _filled(producer, topic, records):
        try:
            acknowledged = await producer.send_batch(batch, topic, partition=partition)
            end = (await acknowledged).offset + batch.record_count()
        except MessageSizeTooLargeError:
            raise RecordTooLarge(
                f"{topic} does not take {batch.size()} bytes, {batch.record_count()} records"
            ) from None
    return end


def _filled(producer: Any, topic: str, records: Sequence[OutRecord]) -> Iterator[Any]:
    """Fill as few batches as the records fit in; one that is larger than a batch goes alone."""
    batch = producer.create_batch()
    for record in records:
        check_size(record, topic)
        if not _append(batch, record):
            yield batch
            batch = producer.create_batch()
            _append(batch, record)
    yield batch


def _append(batch: Any, record: OutRecord) -> bool:
    key, value, headers = record.key, record.value, record.headers
    return batch.append(timestamp=record.timestamp_ms, key=key, value=value, headers=headers) is not None


async def _start(producer: Any) -> None:
    try:
        await producer.start()
    except (kafka_errors.UnknownError, kafka_errors.IncompatibleBrokerVersion) as error:
        raise TransactionsRefused(
            "`delivery: exactly_once` needs Kafka's transactions, which this broker does not offer (the embedded one "
            f"does not): {error!r}. Use Apache Kafka, or `delivery: at_least_once`"
        ) from None


async def try_transactions(settings: Settings) -> None:
    """Find out, before any partition is taken, whether the broker has transactions for us.

    Raises
    ------
    Unavailable
        Repeat it.
    TransactionsRefused
        It has none.
    """
    output = TransactionalOutput(settings, PartitionId("trial", os.getpid()), committed=_nothing_committed)
    await output.start()
    await output.stop()


async def _nothing_committed() -> None:
    return None


class TransactionalOutput:
    """The outputs of one partition of events; published as a whole or not at all.

    Parameters
    ----------
    new_producer, committed
        Makes a producer under the partition's transactional id; returns the group's offset of the partition.
    """

    def __init__(
        self,
        settings: Settings,
        partition: PartitionId,
        *,
        new_producer: Callable[[], Any] | None = None,
        committed: Callable[[], Awaitable[int | None]] | None = None,
    ) -> None:
        where = TopicPartition(*partition)
        self._group = settings.app
        self._partition = partition
        self._new_producer = new_producer or (
            lambda: make_transactional_producer(settings, f"{settings.app}-{partition}")
        )
        self._committed = committed or (lambda: committed_offset(settings, where))
        self._limit_s = _LIMIT_TIMEOUTS * parse_duration_ms(settings.kafka.request_timeout) / 1000
        self._producer: Any = None

    async def start(self) -> int | None:
        """Fence whoever wrote for the partition before; return the offset that is committed, None if none is.

        Raises
        ------
        Unavailable
            Repeat it.
        TransactionsRefused
            The broker has no transactions, or does not allow them.
        """
        await self.stop()
        producer = self._new_producer()
        try:
            await self._within(_start(producer))
            committed = await self._within(self._committed())
        except BaseException as error:
            await end_producer(producer)
            if isinstance(error, Exception):
                raise self._told(error) from error
            raise
        self._producer = producer
        return committed

    async def publish(
        self,
        batches: Mapping[Place, Sequence[OutRecord]],
        *,
        consumed: Consumed | None = None,
        first: Place | None = None,
    ) -> dict[Place, int]:
        """Publish records and commit where their events end; all at once, so `first` makes no difference.

        Returns
        -------
        dict
            The offset behind the last record published, by (topic, partition); empty if an earlier attempt turns out
            to have succeeded.

        Raises
        ------
        Fenced
            The partition has another owner; nothing was published.
        Unavailable, RecordTooLarge, TransactionsRefused
            Nothing was published, or (Unavailable) it is not known; repeat it.
        """
        if consumed is None:
            raise ValueError("Expected what was consumed: a transaction holds outputs and the end of their events")
        if self._producer is None:  # the attempt before went wrong
            committed = await self.start() or 0
            if committed >= consumed.next_offset:
                return {}
            if committed > consumed.first_offset:
                raise Fenced(str(self._partition), expected=consumed.first_offset, found=committed)
        try:
            return await self._within(self._transaction(self._producer, batches, consumed))
        except BaseException as error:
            await self.stop()
            if isinstance(error, Exception):
                raise self._told(error) from error
            raise

    async def _transaction(
        self, producer: Any, batches: Mapping[Place, Sequence[OutRecord]], consumed: Consumed
    ) -> dict[Place, int]:
        await producer.begin_transaction()
        places = [where for where, records in batches.items() if records]
        offsets = {TopicPartition(*self._partition): OffsetAndMetadata(consumed.next_offset, "")}
        sent = [asyncio.ensure_future(_publish_to(producer, *where, batches[where])) for where in places]
        sent.append(asyncio.ensure_future(producer.send_offsets_to_transaction(offsets, self._group)))
        try:
            *ends, _ = await asyncio.gather(*sent)
        finally:
            for one in sent:
                one.cancel()
            await asyncio.gather(*sent, return_exceptions=True)
        failpoint("in_transaction")
        await producer.commit_transaction()
        failpoint("committed")
        return dict(zip(places, ends, strict=True))

    async def _within(self, step: Awaitable[T]) -> T:
        async with asyncio.timeout(self._limit_s):
            return await step

    def _told(self, error: Exception) -> BaseException:
        if isinstance(error, _FENCED):
            return Fenced(str(self._partition), expected="its only producer", found="a later one")
        if isinstance(error, Fenced | Unavailable | RecordTooLarge):
            return error
        if isinstance(error, kafka_errors.TransactionalIdAuthorizationFailed):
            return TransactionsRefused(
                f"Kafka does not allow transactions of {self._group}-{self._partition}; grant Write and Describe on "
                f"transactional ids that begin with {self._group!r}, or set `delivery: at_least_once`"
            )
        if isinstance(error, TimeoutError):
            return Unavailable(f"Kafka: no answer within {self._limit_s:g} s")
        if isinstance(error, KafkaError | AssertionError):  # aiokafka asserts on a state that another fault has left
            return Unavailable(f"Kafka: {error!r}")
        return told(error)

    async def stop(self) -> None:
        """Disconnect; a transaction at hand is not committed."""
        producer, self._producer = self._producer, None
        if producer is not None:
            await end_producer(producer)
