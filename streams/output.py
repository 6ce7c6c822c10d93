"""Publishes records in batches, each to a partition named by the caller.

`await producer.send` costs 24 us a record, a filled batch 10. Whoever publishes has grouped its
records by partition already, so nothing has to be routed here. Records of one partition keep their
order. A step that failed half-way is repeated whole: what had arrived is then there twice, with the
same ids, of which readers keep the first.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import NamedTuple

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaConnectionError, KafkaError, KafkaTimeoutError, MessageSizeTooLargeError

from streams.partitioning import partition_of
from streams.settings import Settings
from streams.stores import Unavailable

logger = logging.getLogger("streamscore.output")

_BATCH_BYTES = 1_000_000  # the broker refuses batches above 1 MiB by default
_REQUEST_BYTES = 1_048_576


class OutRecord(NamedTuple):
    """A record on its way out."""

    key: bytes | None
    value: bytes | None
    headers: list[tuple[str, bytes]] = []  # shared and never changed


@lru_cache(maxsize=65_536)
def partition_for_key(key: bytes, partitions: int) -> int:
    """Return the partition of a key, remembering the last 65,536 answers."""
    return partition_of(key, partitions)


class KafkaOutput:
    """A producer of whole batches; what is published has been acknowledged by all in-sync replicas."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._producer: AIOKafkaProducer | None = None

    async def start(self) -> None:
        """Connect; raises Unavailable."""
        kafka = self._settings.kafka
        producer = AIOKafkaProducer(
            **kafka.client_kwargs(),
            acks="all",
            linger_ms=0,
            max_batch_size=_BATCH_BYTES,
            max_request_size=_REQUEST_BYTES,
            compression_type=None if kafka.compression == "none" else kafka.compression,
        )
        try:
            await producer.start()
        except (KafkaConnectionError, KafkaTimeoutError, OSError) as error:
            await producer.stop()
            raise Unavailable(f"Kafka: {type(error).__name__}: {error}") from None
        self._producer = producer

    @property
    def producer(self) -> AIOKafkaProducer:
        """The started producer."""
        if self._producer is None:
            raise RuntimeError("KafkaOutput.start() comes first")
        return self._producer

    async def partitions(self, topic: str) -> int:
        """Return the number of partitions of a topic; raises Unavailable while it does not exist."""
        try:
            return len(await self.producer.partitions_for(topic))
        except KafkaError as error:
            raise Unavailable(f"topic {topic}: {type(error).__name__}; was `streamscore topics create` run?") from None

    async def publish(self, batches: Mapping[tuple[str, int], Sequence[OutRecord]]) -> None:
        """Publish records by (topic, partition) and wait for every acknowledgement.

        Raises
        ------
        Unavailable
            The broker is away, or did not answer in time; some of it may have arrived. Repeat it.
        """
        try:
            pending = []
            for (topic, partition), records in batches.items():
                pending += await self._send(topic, partition, records)
            results = await asyncio.gather(*pending, return_exceptions=True)
        except KafkaError as error:
            raise self._away(error) from None
        for result in results:
            if isinstance(result, KafkaError):
                raise self._away(result)
            if isinstance(result, BaseException):
                raise result

    async def _send(self, topic: str, partition: int, records: Sequence[OutRecord]) -> list[asyncio.Future[object]]:
        producer = self.producer
        pending: list[asyncio.Future[object]] = []
        batch, empty = producer.create_batch(), True
        for record in records:
            fits = batch.append(timestamp=None, key=record.key, value=record.value, headers=record.headers)
            if fits is None and not empty:
                pending.append(await producer.send_batch(batch, topic, partition=partition))
                batch = producer.create_batch()
                fits = batch.append(timestamp=None, key=record.key, value=record.value, headers=record.headers)
            empty = False
            if fits is None:
                raise MessageSizeTooLargeError(f"a record of {len(record.value or b'')} bytes does not fit {topic}")
        if not empty:
            pending.append(await producer.send_batch(batch, topic, partition=partition))
        return pending

    def _away(self, error: KafkaError) -> Exception:
        if isinstance(error, MessageSizeTooLargeError):
            return error
        return Unavailable(f"Kafka: {type(error).__name__}: {error}")

    async def stop(self) -> None:
        """Send what waits, and disconnect."""
        if self._producer is not None:
            await self._producer.stop()
            self._producer = None
