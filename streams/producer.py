"""A producer of whole batches: one request at a time to each broker, and in it all that waits for that broker.

aiokafka's producer collects single records, partition by partition, for a task of its own that sends them. Whoever
publishes here has whole batches and waits for their acknowledgements, so what remains to be done is to fill them, to
write a request, and to tell each caller his part of the answer. That takes less CPU time where few records go at once,
and fewer turns of the event loop, each of which waits behind what else the loop has to do.

Connections, metadata and the protocol are aiokafka's.
"""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any

from aiokafka import TopicPartition, codec
from aiokafka import errors as kafka_errors
from aiokafka.errors import KafkaError, MessageSizeTooLargeError
from aiokafka.protocol.produce import ProduceRequest
from aiokafka.record.default_records import DefaultRecordBatch, DefaultRecordBatchBuilder

from streams import no_made_topics
from streams.group_commit import GroupCommit
from streams.out_records import Batches, Outcomes, OutRecord, Place, RecordTooLarge, Written, check_size

no_made_topics.forbid()

_ALL_IN_SYNC = -1
BATCH_BYTES = 1_000_000  # the broker refuses batches above 1 MiB by default
_GROUP_BYTES = BATCH_BYTES // 2  # leaves room for what a record needs beside its key and value
_BACKOFF_S = 0.1

_CODECS = {
    "none": (lambda: True, 0),
    "gzip": (codec.has_gzip, DefaultRecordBatch.CODEC_GZIP),
    "snappy": (codec.has_snappy, DefaultRecordBatch.CODEC_SNAPPY),
    "lz4": (codec.has_lz4, DefaultRecordBatch.CODEC_LZ4),
    "zstd": (codec.has_zstd, DefaultRecordBatch.CODEC_ZSTD),
}


class MayNotWrite(KafkaError):  # type: ignore[misc]  # aiokafka is untyped
    """Our place in the group was not confirmed when something was about to be sent."""


class BatchProducer:
    """Publishes records by (topic, partition).

    Parameters
    ----------
    client
        An ``AIOKafkaClient``, not started.
    compression
        none, gzip, snappy, lz4 or zstd.
    request_timeout_ms
        For so long a request is waited for, and what may pass is tried again.
    may_write
        Asked right before a request leaves the process; see `KafkaOutput`.
    batch_bytes
        What a batch holds at most, unless it is a single record.

    Raises
    ------
    ValueError
        What the compression needs is not installed.
    """

    def __init__(
        self,
        client: Any,
        *,
        compression: str,
        request_timeout_ms: int,
        may_write: Callable[[], bool] | None = None,
        batch_bytes: int = BATCH_BYTES,
    ) -> None:
        is_there, self._codec = _CODECS[compression]
        if not is_there():
            raise ValueError(f"kafka.compression: {compression} needs `pip install aiokafka[{compression}]`")
        self._client = client
        self._batch_bytes = batch_bytes
        self._timeout_ms = request_timeout_ms
        self._may_write = may_write
        self._lines: dict[int, GroupCommit] = {}
        self._publishing = 0
        self._at_rest = asyncio.Event()
        self._at_rest.set()
        self._closed = False

    async def start(self) -> None:
        """Connect; raises KafkaError and OSError."""
        await self._client.bootstrap()

    async def stop(self) -> None:
        """Send what waits, and disconnect."""
        self._closed = True
        await self._at_rest.wait()
        await self._client.close()

    async def partitions_for(self, topic: str, *, within_s: float | None = None) -> set[int]:
        """Return the partitions of a topic.

        Parameters
        ----------
        within_s
            How long to wait for a topic that is not there; by default the request timeout.

        Raises
        ------
        UnknownTopicOrPartitionError
            It is still not there.
        TopicAuthorizationFailedError
            We may not see it.
        """
        client = self._client
        until = self._deadline() if within_s is None else time.monotonic() + within_s
        if client.cluster.partitions_for_topic(topic) is None:
            await client.add_topic(topic)
        while (found := client.cluster.partitions_for_topic(topic)) is None:
            if topic in client.cluster.unauthorized_topics:
                raise kafka_errors.TopicAuthorizationFailedError(topic)
            if time.monotonic() >= until:
                raise kafka_errors.UnknownTopicOrPartitionError
            await asyncio.sleep(_BACKOFF_S)
            await client.force_metadata_update()
        return set(found)

    def count_of_partitions(self, topic: str) -> int:
        """Return what the metadata at hand say; 0: nothing."""
        return len(self._client.cluster.partitions_for_topic(topic) or ())

    def _deadline(self) -> float:
        return time.monotonic() + self._timeout_ms / 1000

    async def publish(self, batches: Batches) -> dict[Place, int | Exception]:
        """Publish records, those of a place in their order; what may pass is tried again until the request timeout.

        Returns
        -------
        dict
            By place the offset behind the last record, or the fault: a beginning may then be there.
        """
        self._publishing += 1
        self._at_rest.clear()
        try:
            return await self._publish(batches)
        finally:
            self._publishing -= 1
            if not self._publishing:
                self._at_rest.set()

    async def _publish(self, batches: Batches) -> dict[Place, int | Exception]:
        ends: dict[Place, int | Exception] = {}
        left, until = dict(batches), self._deadline()
        while left:
            if self._closed:
                return ends | dict.fromkeys(left, kafka_errors.ProducerClosed())
            again = False
            for where, outcome in (await self._through_the_lines(left)).items():
                if isinstance(outcome, Written):
                    if outcome.records < len(left[where]):
                        left[where] = left[where][outcome.records :]
                        until = self._deadline()
                        continue
                    ends[where] = outcome.end
                elif getattr(outcome, "retriable", False) and time.monotonic() < until:
                    again = True
                    continue
                else:
                    ends[where] = outcome
                del left[where]
            if again and not self._closed:
                await asyncio.sleep(_BACKOFF_S)
                await self._client.force_metadata_update()
        return ends

    async def _through_the_lines(self, batches: Batches) -> Outcomes:
        outcomes: Outcomes = {}
        by_leader: dict[int, dict[Place, Sequence[OutRecord]]] = {}
        for where, records in batches.items():
            try:
                leader = await self._leader(where)
            except KafkaError as fault:
                outcomes[where] = fault
            else:
                by_leader.setdefault(leader, {})[where] = records
        if len(by_leader) == 1:
            [(leader, some)] = by_leader.items()
            found = await self._line(leader).publish(some)
            return outcomes | found if outcomes else found
        for found in await asyncio.gather(*(self._line(leader).publish(some) for leader, some in by_leader.items())):
            outcomes |= found
        return outcomes

    async def _leader(self, where: Place) -> int:
        cluster = self._client.cluster
        leader = cluster.leader_for_partition(TopicPartition(*where))
        if leader is None:
            if where[1] not in await self.partitions_for(where[0]):
                raise kafka_errors.UnknownTopicOrPartitionError
            leader = cluster.leader_for_partition(TopicPartition(*where))
        if leader is None or leader < 0:
            raise kafka_errors.LeaderNotAvailableError
        return int(leader)

    def _line(self, leader: int) -> GroupCommit:
        line = self._lines.get(leader)
        if line is None:
            line = self._lines[leader] = GroupCommit(
                lambda batches: self._exchange(leader, batches), most_bytes=_GROUP_BYTES
            )
        return line

    async def _exchange(self, leader: int, batches: Batches) -> Outcomes:
        """Send a request with a batch for each place, and return what the broker says to it."""
        outcomes: Outcomes = {}
        counts: dict[Place, int] = {}
        topics: dict[str, list[tuple[int, bytearray]]] = defaultdict(list)
        for where, records in batches.items():
            try:
                batch, counts[where] = self._filled(where[0], records)
            except RecordTooLarge as fault:
                outcomes[where] = fault
            else:
                topics[where[0]].append((where[1], batch))
        if not topics:
            return outcomes
        request = ProduceRequest(None, _ALL_IN_SYNC, self._timeout_ms, list(topics.items()))
        try:
            response = await self._answer(leader, request)
        except (KafkaError, OSError) as fault:
            return outcomes | dict.fromkeys(counts, fault)
        outcomes |= dict.fromkeys(counts, kafka_errors.UnknownError("the broker did not say"))
        for topic, answers in response.topics:
            for number, code, offset, *_ in answers:
                error, where = kafka_errors.for_code(code), (topic, number)
                if error is kafka_errors.NoError:
                    outcomes[where] = Written(offset + counts[where], counts[where])
                elif issubclass(error, MessageSizeTooLargeError):
                    size = sum(len(one.value or b"") for one in batches[where][: counts[where]])
                    outcomes[where] = RecordTooLarge(
                        f"{topic} does not take {size} bytes in {counts[where]} records at once"
                    )
                else:
                    outcomes[where] = error(topic)
        return outcomes

    async def _answer(self, leader: int, request: ProduceRequest) -> Any:
        if not await self._client.ready(leader):
            raise kafka_errors.NodeNotReadyError(f"broker {leader} cannot be reached")
        if self._may_write is not None and not self._may_write():
            raise MayNotWrite("our place in the group is not confirmed")
        return await self._client.send(leader, request)

    def _filled(self, topic: str, records: Sequence[OutRecord]) -> tuple[bytearray, int]:
        """Return a batch with as many records as fit, and their number; one that is larger than a batch goes alone."""
        builder = DefaultRecordBatchBuilder(
            magic=2,
            compression_type=self._codec,
            is_transactional=False,
            producer_id=-1,
            producer_epoch=-1,
            base_sequence=0,
            batch_size=self._batch_bytes,
        )
        now_ms = time.time_ns() // 1_000_000
        number, append = 0, builder.append
        for record in records:
            if number == 0:  # the only one that may be larger than a batch
                check_size(record, topic)
            ts = record.timestamp_ms
            if append(number, now_ms if ts is None else ts, record.key, record.value, record.headers) is None:
                break
            number += 1
        return builder.build(), number
