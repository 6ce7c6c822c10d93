"""The transport as Faust and the application see it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import faust
from faust.exceptions import ImproperlyConfigured
from faust.transport.drivers import aiokafka as driver
from faust.types import TP
from faust.types.enums import ProcessingGuarantee
from faust.types.transports import ConsumerCallback

from streams.transport.chunk import RecordChunk
from streams.transport.consumer import RecordConsumer
from streams.transport.group import Place
from streams.transport.options import TransportOptions
from streams.transport.status import PartitionStatus

StartOffsets = Callable[[frozenset[TP]], Awaitable[Mapping[TP, int]]]
OnRevoked = Callable[[frozenset[TP]], Awaitable[None]]
OnTruncated = Callable[[TP, int, int], Awaitable[bool]]


class Transport(driver.Transport):
    """Hands agents one `RecordChunk` per partition and run of records, instead of a message per record.

    Faust makes it for ``broker="streamscore://host:port;host2:port"``; `use_record_chunks` puts it into any app.
    Set the attributes before the app is started.

    Attributes
    ----------
    options
        Sizes and times.
    start_offsets
        Asked once for each assignment, with all partitions now ours, before any of their records is handed out.
        Partitions it does not name are read from their committed offset, or from where
        ``consumer_auto_offset_reset`` says if they have none. May take its time, the group's heartbeats go on; it is
        cancelled when the partitions are taken away meanwhile. If it raises, the worker crashes.
    on_revoked
        Awaited, for at most ``options.revoke_timeout_s``, before partitions are given up, at a rebalance and at the
        stop. Nothing is handed out meanwhile; what is acknowledged until it returns is committed.
    on_truncated
        Awaited with (partition, offset that was to be read next, offset at which its log begins) when the log ends
        below the former: the topic was truncated or created anew. False: nothing is read of the partition any more.
        True, and without it: it is read from where it begins.
    """

    Consumer = RecordConsumer

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.options = TransportOptions()
        self.start_offsets: StartOffsets | None = None
        self.on_revoked: OnRevoked | None = None
        self.on_truncated: OnTruncated | None = None
        self._consumer: RecordConsumer | None = None

    def create_consumer(self, callback: ConsumerCallback, **kwargs: Any) -> RecordConsumer:
        guarantee: Any = self.app.conf.processing_guarantee
        if guarantee is not ProcessingGuarantee.AT_LEAST_ONCE:
            raise ImproperlyConfigured("Record chunks are committed from a ledger: leave processing_guarantee alone")
        self._consumer = RecordConsumer(self, callback=callback, loop=self.loop, **kwargs)
        return self._consumer

    def acknowledge(self, chunk: RecordChunk) -> bool:
        """The same as ``chunk.acknowledge()``."""
        return chunk.acknowledge()

    async def rewind(self, tp: TP, offset: int) -> bool:
        """Read a partition again from ``offset`` on, under a new epoch.

        What was fetched or buffered is dropped. A chunk that an agent already holds is refused when it is
        acknowledged. ``offset`` is committed, even if it lies behind the last commit.

        Returns
        -------
        bool
            False when the partition is not ours, or is taken away meanwhile: there is nothing to read again.
        """
        return self._consumer is not None and await self._consumer.rewind(tp, offset)

    def commit_from(self, tp: TP, offset: int) -> None:
        """Let the group's offset of a partition be while what is acknowledged lies below ``offset``.

        For an application that does again what was done, and must find afterwards how far that was. Counts until the
        partition is given up; call it from `start_offsets`, or before a `rewind`. 0: commit as usual.
        """
        if self._consumer is not None:
            self._consumer.commit_from(tp, offset)

    async def is_member(self) -> bool | None:
        """Ask the group's coordinator whether we are a member of its present generation.

        Returns
        -------
        bool or None
            False: what was ours may be others' by now, and is about to be taken away. None: no answer.
        """
        return None if self._consumer is None else await self._consumer.is_member()

    def check_group(self) -> None:
        """Raise what keeps us out of the group for good. Call it every few seconds: without partitions, only this does.

        Raises
        ------
        GroupRefused
            Says what to do.
        KafkaError
            Any other fault that aiokafka does not get over by itself.
        """
        if self._consumer is not None:
            self._consumer.check_group()

    def place_in_group(self) -> Place | None:
        """Tell, without asking anybody, whether the group has taken us in; None: not started, or stopping."""
        return None if self._consumer is None else self._consumer.place_in_group()

    def look_at_ends(self) -> None:
        """Keep `lag` and `status` true of partitions that are full, so not fetched. Call it every few seconds.

        Asks, in the background, for the ends of those for which no fetch was answered since the last call.
        """
        if self._consumer is not None:
            self._consumer.look_at_ends()

    def status(self) -> dict[TP, PartitionStatus]:
        """Return how each of our partitions stands; empty without an assignment."""
        return {} if self._consumer is None else self._consumer.status()

    def lag(self) -> dict[TP, int]:
        """Return how many records of each of our partitions are not acknowledged; not known yet, not named."""
        return {tp: lag for tp, one in self.status().items() if (lag := one.lag_records) is not None}

    def stalled(self, now_s: float, limit_s: float) -> list[TP]:
        """Return the partitions with records to commit whose committed offset has not moved for ``limit_s``.

        Call it regularly, at least every few seconds: how long a partition is stuck is counted from the last call
        that found it moving or caught up. The time `start_offsets` takes does not count.

        Parameters
        ----------
        now_s
            ``time.monotonic()``.
        """
        return [] if self._consumer is None else self._consumer.stalled(now_s, limit_s)


def use_record_chunks(
    app: faust.App,
    *,
    options: TransportOptions | None = None,
    start_offsets: StartOffsets | None = None,
    on_revoked: OnRevoked | None = None,
    on_truncated: OnTruncated | None = None,
) -> Transport:
    """Make ``app`` read its topics in chunks, whatever the scheme of its broker URL. Before its first agent."""
    transport = Transport(app.conf.broker_consumer, app)
    transport.options = options or TransportOptions()
    transport.start_offsets = start_offsets
    transport.on_revoked = on_revoked
    transport.on_truncated = on_truncated
    app.transport = transport
    # Faust makes a folder for tables wherever it is started; tables are refused here.
    app._create_directories = lambda: None  # type: ignore[method-assign]
    return transport
