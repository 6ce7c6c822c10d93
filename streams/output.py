"""Publishes records in batches, each to a partition named by the caller, and tells what a fault means.

A partition's batches go out one after another, each when the one before was acknowledged (`streams.producer`). So what
stands in the log is always a beginning of what was to be published, in its order. A step that
failed half-way is repeated whole: its beginning is then there twice, with the same ids, of which
readers keep the first, and no later record was ever there before an earlier one.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple, Protocol

from aiokafka import errors as kafka_errors
from aiokafka.client import AIOKafkaClient
from aiokafka.errors import KafkaError

from online_models.features.durations import parse_duration_ms
from streams.logs import log_event
from streams.out_records import OutRecord, Place
from streams.partitioning import partition_of
from streams.producer import BatchProducer, MayNotWrite
from streams.settings import Settings
from streams.stores import Unavailable

logger = logging.getLogger("streamscore.output")

_REFUSED = (
    kafka_errors.TopicAuthorizationFailedError,
    kafka_errors.ClusterAuthorizationFailedError,
    kafka_errors.SaslAuthenticationFailed,
    kafka_errors.AuthenticationFailedError,
    kafka_errors.AuthenticationMethodNotSupported,
)
# After these a producer answers nothing else any more.
_PRODUCER_ENDED = (
    kafka_errors.ProducerClosed,
    kafka_errors.ProducerFenced,
    kafka_errors.OutOfOrderSequenceNumber,
    kafka_errors.UnknownProducerId,
)

# What may pass is tried again for one request timeout, and a request that was under way then takes another. A producer
# that is silent for longer has lost one of its client's tasks; it may be silent for ever.
_LIMIT_TIMEOUTS = 3
_END_S = 10.0


class Consumed(NamedTuple):
    """The events that a batch of outputs comes from: offsets from ``first_offset`` up to, not including, the next."""

    first_offset: int
    next_offset: int


class _Silent(KafkaError):  # type: ignore[misc]  # aiokafka is untyped
    """A producer that said nothing, not even that it gave up."""


class OutputRefused(RuntimeError):
    """The broker does not let us write, and will not by itself: credentials or permissions."""


class RecordOutput(Protocol):
    """Where records go; `KafkaOutput`, or `ListOutput` in tests."""

    async def publish(
        self,
        batches: Mapping[Place, Sequence[OutRecord]],
        *,
        consumed: Consumed | None = None,
        first: Place | None = None,
    ) -> dict[Place, int]:
        """Publish records by (topic, partition); see `KafkaOutput.publish`."""


@lru_cache(maxsize=65_536)
def partition_for_key(key: bytes, partitions: int) -> int:
    """Return the partition of a key, remembering the last 65,536 answers."""
    return partition_of(key, partitions)


def make_producer(settings: Settings, *, may_write: Callable[[], bool] | None = None) -> BatchProducer:
    """Make a producer, to be started."""
    kafka = settings.kafka
    options = kafka.client_kwargs()
    return BatchProducer(
        AIOKafkaClient(client_id=f"{settings.app}-producer", **options),
        compression=kafka.compression,
        request_timeout_ms=options["request_timeout_ms"],
        may_write=may_write,
    )


class KafkaOutput:
    """A producer of whole batches; what is published has been acknowledged by all in-sync replicas.

    Parameters
    ----------
    new_producer
        Makes a producer, at the start and in place of one that has come to its end.
    may_write
        Asked right before records leave the process, where what was asked before can be out of date: the process can
        have been stopped since, or the client repeats what had failed.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        new_producer: Callable[[], Any] | None = None,
        may_write: Callable[[], bool] | None = None,
    ) -> None:
        self._new_producer = new_producer or (lambda: make_producer(settings, may_write=may_write))
        self._limit_s = _LIMIT_TIMEOUTS * parse_duration_ms(settings.kafka.request_timeout) / 1000
        self._producer: Any = None
        self._started = False
        self._starting = asyncio.Lock()
        self._ending: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Connect; raises Unavailable or OutputRefused."""
        async with self._starting:
            if self._producer is not None:
                return
            producer = self._new_producer()
            try:
                await producer.start()
            except (KafkaError, OSError) as error:
                await producer.stop()
                raise told(error) from error
            except BaseException:
                await producer.stop()
                raise
            self._producer = producer
            self._started = True

    @property
    def producer(self) -> Any:
        """The started producer."""
        if self._producer is None:
            raise RuntimeError("KafkaOutput.start() comes first")
        return self._producer

    async def _ready(self) -> Any:
        if self._producer is None and self._started:
            await self.start()
        return self.producer

    async def partitions(self, topic: str, *, within_s: float | None = None) -> int:
        """Return the number of partitions of a topic.

        Parameters
        ----------
        within_s
            How long to wait for a topic that is not there; by default the request timeout.

        Raises
        ------
        Unavailable
            It does not exist, or the broker is away.
        OutputRefused
            Credentials or permissions are wrong.
        """
        try:
            return len(await (await self._ready()).partitions_for(topic, within_s=within_s))
        except kafka_errors.UnknownTopicOrPartitionError:
            raise Unavailable(f"topic {topic} does not exist; was `streamscore topics create` run?") from None
        except (KafkaError, OSError) as error:
            raise told(error) from error

    def partitions_now(self, topic: str) -> int | None:
        """Return the number of partitions by the metadata at hand, which is minutes old at most; None: not known."""
        return (self._producer and self._producer.count_of_partitions(topic)) or None

    async def publish(
        self,
        batches: Mapping[Place, Sequence[OutRecord]],
        *,
        consumed: Consumed | None = None,
        first: Place | None = None,
    ) -> dict[Place, int]:
        """Publish records by (topic, partition) and wait for every acknowledgement.

        Parameters
        ----------
        consumed
            Of no use here: the offset goes with the state. `streams.transactions` commits it.
        first
            Nothing goes anywhere else before what goes here was acknowledged.

        Returns
        -------
        dict
            The offset behind the last record published, by (topic, partition).

        Raises
        ------
        Unavailable
            The broker is away, or did not answer in time; of each partition a beginning may have
            arrived. Repeat it.
        RecordTooLarge
            A topic does not take one of the records. Those of other partitions may have arrived.
        OutputRefused
            Credentials or permissions are wrong.
        """
        places = [where for where, records in batches.items() if records]
        if first is None or first not in places:
            return await self._publish_at_once(batches, places)
        ends = await self._publish_at_once(batches, [first])
        return ends | await self._publish_at_once(batches, [where for where in places if where != first])

    async def _publish_at_once(
        self, batches: Mapping[Place, Sequence[OutRecord]], places: Sequence[Place]
    ) -> dict[Place, int]:
        producer = await self._ready()
        try:
            async with asyncio.timeout(self._limit_s):
                outcomes = await producer.publish({where: batches[where] for where in places})
        except TimeoutError:
            outcomes = dict.fromkeys(places, _Silent(f"no answer within {self._limit_s:g} s"))
        faults = [outcome for outcome in outcomes.values() if isinstance(outcome, Exception)]
        if faults:
            if any(_has_ended(fault) for fault in faults):
                self._replace(producer)
            meant = [told(fault) for fault in faults]
            raise next((one for one in meant if not isinstance(one, Unavailable)), meant[0])
        return outcomes  # type: ignore[no-any-return]

    def _replace(self, producer: Any) -> None:
        """Let the next publish begin with a new producer."""
        if producer is not self._producer:
            return
        log_event(logger, logging.WARNING, "the producer has come to its end and is replaced")
        self._producer = None
        task = asyncio.create_task(end_producer(producer))
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)

    async def stop(self) -> None:
        """Send what waits, and disconnect."""
        self._started = False
        producer, self._producer = self._producer, None
        if producer is not None:
            await producer.stop()
        if self._ending:
            await asyncio.wait(self._ending)


def _has_ended(fault: Exception) -> bool:
    """Tell whether the producer that raised this is of no more use."""
    # A plain KafkaError is what aiokafka raises when a task of its own has failed.
    return isinstance(fault, (*_PRODUCER_ENDED, _Silent)) or type(fault) is KafkaError


def told(fault: Exception) -> Exception:
    """Tell what a fault means: Unavailable, OutputRefused, or itself, if it is our own."""
    if isinstance(fault, _REFUSED):
        return OutputRefused(f"Kafka refuses us ({fault}); check user, password and permissions")
    may_pass = (kafka_errors.KafkaTimeoutError, kafka_errors.KafkaConnectionError, MayNotWrite, OSError)
    if isinstance(fault, may_pass) or _has_ended(fault) or getattr(fault, "retriable", False):
        return Unavailable(f"Kafka: {fault}" if isinstance(fault, KafkaError) else f"Kafka: {fault!r}")
    return fault


async def end_producer(producer: Any) -> None:
    with contextlib.suppress(Exception):  # it is of no more use, whatever it says
        async with asyncio.timeout(_END_S):
            await producer.stop()


class ListOutput:
    """Keeps records in lists instead of a broker, by (topic, partition)."""

    def __init__(self) -> None:
        self.records: dict[Place, list[OutRecord]] = {}

    async def publish(
        self,
        batches: Mapping[Place, Sequence[OutRecord]],
        *,
        consumed: Consumed | None = None,
        first: Place | None = None,
    ) -> dict[Place, int]:
        """Keep records; return the offset behind the last one, by (topic, partition)."""
        ends = {}
        for where, records in batches.items():
            if records:
                self.records.setdefault(where, []).extend(records)
                ends[where] = len(self.records[where])
        return ends
