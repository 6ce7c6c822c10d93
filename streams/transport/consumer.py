"""The consumer: hands out chunks, keeps a ledger for each partition, commits what was acknowledged.

What Faust's consumer does per message (acknowledgement lists, gaps, read offsets) is not used at all: messages are
born acknowledged, so neither an agent that raises nor Faust's own bookkeeping can move an offset.

A partition's life here::

    assigned --> the application names its start --> open: polled while its ledger has room --> revoked
                                                       ^ |
                                                       +-+ rewind: close, seek, open

Closing a ledger raises its epoch. Chunks of an older epoch that are still on their way, in a stream's buffer or in
an agent's hands are dropped, refused or recognizable as stale.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import suppress
from time import monotonic
from typing import TYPE_CHECKING, Any

from aiokafka.errors import KafkaError
from faust.exceptions import ImproperlyConfigured
from faust.transport.drivers import aiokafka as driver
from faust.types import TP, ConsumerMessage, Message, ServiceT
from mode import Service

from streams.cancelling import cancel_until_done
from streams.offsets import OffsetLedger, StallClock
from streams.transport.chunk import RecordChunk, RecordSchema
from streams.transport.group import Place
from streams.transport.reader import Fetched, RebalanceListener, RecordReader
from streams.transport.status import PartitionStatus

if TYPE_CHECKING:
    from streams.transport.driver import Transport

POLL_TIMEOUT_S = 1.0  # only bounds how late a stop is noticed; records and room end the wait at once


class RecordConsumer(driver.Consumer):
    """Faust's consumer with ledgers instead of acknowledgement lists."""

    RebalanceListener = RebalanceListener
    transport: Transport
    _thread: RecordReader  # as Faust calls it

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._ledgers: dict[TP, OffsetLedger] = {}
        self._clocks: dict[TP, StallClock] = {}
        self._held: frozenset[TP] = frozenset()
        self._opening: asyncio.Task[None] | None = None
        self._room = asyncio.Event()
        self._polled: frozenset[tuple[TP, int]] = frozenset()
        self._commit_lock = asyncio.Lock()
        self._commits_fail = False
        self._commit_from: dict[TP, int] = {}

    def _new_consumer_thread(self) -> RecordReader:
        return RecordReader(self, loop=self.loop, thread_loop=self.loop, beacon=self.beacon)

    # -- assignment

    async def subscribe(self, topics: Iterable[str]) -> None:
        if self.app.tables:
            raise ImproperlyConfigured("Record chunks and Faust tables do not go together: keep offsets with the state")
        for topic in self.app.topics:
            if not topic.internal and not isinstance(topic.schema, RecordSchema):
                raise ImproperlyConfigured(
                    f"Topic {topic.get_topic_name()!r} is read through the record-batch transport: "
                    "give it schema=record_schema(), and an agent that takes chunks"
                )
        await super().subscribe(topics)

    async def on_partitions_assigned(self, assigned: set[TP], generation_id: int = 0) -> None:
        topics = {name for topic in self.app.topics if not topic.internal for name in topic.topics}
        self._held = frozenset(tp for tp in assigned if tp.topic in topics)
        for tp in self._held:
            self._ledgers.setdefault(tp, OffsetLedger(max_open=self.transport.options.open_chunks))
        await super().on_partitions_assigned(assigned, generation_id)
        if self._held and not self.should_stop:
            # In a task: the group's heartbeats wait for this method to return.
            self._opening = asyncio.ensure_future(self._open_all(self._held))
            self.add_future(self._opening)

    async def _open_all(self, tps: frozenset[TP]) -> None:
        epochs = {tp: self._ledgers[tp].epoch for tp in tps}
        hook = self.transport.start_offsets
        starts = {} if hook is None else dict(await hook(tps))
        for tp in tps:
            self._clocks[tp] = StallClock(now_s=monotonic())
        await asyncio.gather(*(self._open(tp, starts.get(tp), epochs[tp]) for tp in tps))

    async def _open(self, tp: TP, start: int | None, epoch: int) -> None:
        ledger = self._ledgers[tp]
        if start is None:
            position = await self._thread.locate(tp, epoch)
            committed = position
        else:
            position = start if await self._thread.seek_to(tp, start, epoch) else None
            committed = None
        if position is not None and ledger.epoch == epoch and not ledger.is_open:
            ledger.open(position, committed=committed)
            self._wake(tp)

    async def rewind(self, tp: TP, offset: int) -> bool:
        """See `Transport.rewind`."""
        if tp not in self._held:
            return False
        ledger = self._ledgers[tp]
        epoch = ledger.close()
        self._discard_buffered(tp)
        sought = await self._thread.seek_to(tp, offset, epoch)
        if not sought or ledger.epoch != epoch:
            return False
        ledger.open(offset)
        self._clocks[tp] = StallClock(now_s=monotonic())
        self._wake(tp)
        return True

    def commit_from(self, tp: TP, offset: int) -> None:
        """See `Transport.commit_from`."""
        self._commit_from[tp] = offset

    def _discard_buffered(self, tp: TP) -> None:
        """Take the partition's chunks out of the streams' buffers, so that no agent begins a stale one."""
        for topic in self.app.topics:
            buffered = topic.queue._queue  # type: ignore[attr-defined]  # of asyncio.Queue: a deque
            kept = [event for event in buffered if getattr(event, "message", None) is None or event.message.tp != tp]
            if len(kept) < len(buffered):
                buffered.clear()
                buffered.extend(kept)

    async def on_partitions_revoked(self, revoked: set[TP]) -> None:
        await self.release()
        await super().on_partitions_revoked(revoked)

    async def wait_empty(self) -> None:
        """Let go of the partitions; Faust calls this when it stops, with the agents still alive."""
        await self.release()

    async def on_stop(self) -> None:
        await self.release()
        self.transport._topic_waiters.clear()

    async def release(self) -> None:
        """Give up every partition: let the application finish, commit what it acknowledged, drop the rest.

        All of them, because the group protocol takes them all from every member at each rebalance.
        """
        held, self._held = self._held, frozenset()
        if not held:
            return
        self.stop_flow()
        self.app.flow_control.suspend()
        self.app.flow_control.clear()
        if self._opening is not None:
            await cancel_until_done([self._opening])
        await self._tell_application(held)
        await self.commit()
        for tp in held:
            self._ledgers[tp].close()
            self._clocks.pop(tp, None)
        self._commit_from.clear()

    async def _tell_application(self, held: frozenset[TP]) -> None:
        hook = self.transport.on_revoked
        if hook is None:
            return
        limit_s = self.transport.options.revoke_timeout_s
        try:
            async with asyncio.timeout(limit_s) as limit:
                await hook(held)
        except Exception as error:
            why = f"took longer than {limit_s} s" if limit.expired() else f"failed with {error!r}"
            self.log.warning("on_revoked %s; the partitions are given up all the same", why, exc_info=error)

    # -- records

    def _wake(self, tp: TP) -> None:
        """Have ``tp`` polled, which was closed, full or elsewhere until now."""
        self._room.set()
        if self._polled and (tp, self._ledgers[tp].epoch) not in self._polled:
            self._thread.wake()

    def resume_flow(self) -> None:
        super().resume_flow()
        self._room.set()

    async def _drain_messages(self, fetcher: ServiceT) -> None:
        try:
            while not (self.should_stop or fetcher.should_stop):
                await self._drain_once()
        except self.consumer_stopped_errors:
            if not self.transport.app.should_stop:
                raise
        except asyncio.CancelledError:
            if not self.transport.app.should_stop:
                raise

    async def _drain_once(self) -> None:
        self._room.clear()
        wanted = [(tp, self._ledgers[tp].epoch) for tp in self._held if self._ledgers[tp].has_room]
        if not wanted or not self.flow_active:
            with suppress(TimeoutError):
                async with asyncio.timeout(POLL_TIMEOUT_S):
                    await self._room.wait()
            return
        self._polled = frozenset(wanted)
        try:
            batches = await self._thread.poll(wanted, timeout_s=POLL_TIMEOUT_S)
        finally:
            self._polled = frozenset()
        for fetched in batches:
            await self._deliver(fetched)

    async def _deliver(self, fetched: Fetched) -> None:
        ledger = self._ledgers[fetched.tp]
        if ledger.epoch != fetched.epoch or ledger.position is None:
            return  # revoked or rewound since the poll was sent
        first_offset = fetched.records[0].offset if fetched.records else fetched.next_offset
        if first_offset < ledger.position:
            await self._turn_back(fetched.tp, ledger.position, first_offset)
            return
        if not fetched.records:
            ledger.skip(fetched.next_offset)
            return
        delivery = ledger.deliver(first_offset, fetched.next_offset, records=len(fetched.records))
        chunk = RecordChunk(fetched.tp, fetched.records, delivery, ledger, self._wake)
        await self.callback(self._message(chunk))

    async def _turn_back(self, tp: TP, position: int, begins: int) -> None:
        """Read a log that has become shorter from its beginning, unless the application does not want that."""
        self.log.warning(
            "%s-%d was read up to offset %d and now begins at %d: the topic was truncated or created anew",
            *tp,
            position,
            begins,
        )
        epoch = self._ledgers[tp].close()
        self._discard_buffered(tp)
        hook = self.transport.on_truncated
        if (hook is None or await hook(tp, position, begins)) and self._ledgers[tp].epoch == epoch:
            await self.rewind(tp, begins)

    def _message(self, chunk: RecordChunk) -> Message:
        first = chunk.records[0]
        message = ConsumerMessage(
            chunk.topic,
            chunk.partition,
            chunk.first_offset,
            first.timestamp / 1000,
            first.timestamp_type,
            None,
            None,
            chunk,  # type: ignore[arg-type]  # RecordSchema hands it through
            None,
            tp=chunk.tp,
            generation_id=self.app.consumer_generation_id,
        )
        message.acked = message.tracked = True  # nothing that Faust does with it may count as an acknowledgement
        return message

    async def getmany(self, timeout: float) -> AsyncIterator[tuple[TP, Message]]:
        raise NotImplementedError("The record-batch transport hands out chunks, to agents only")
        yield  # pragma: no cover

    async def perform_seek(self) -> None:
        """Do nothing: Faust's recovery asks for committed positions, but `_open_all` decides where to read."""

    # -- commits

    async def commit(self, topics: Any = None, start_new_transaction: bool = True) -> bool:
        """Commit what is acknowledged. Whatever the broker answers, the worker goes on; it is tried again."""
        async with self._commit_lock:
            due = {
                tp: (ledger.epoch, offset)
                for tp, ledger in self._ledgers.items()
                if (offset := ledger.committable()) is not None
            }
            if not due:
                return False
            elsewhere = self.transport.options.committed_elsewhere
            try:
                ours = {
                    tp: offset
                    for tp, (_, offset) in due.items()
                    if tp.topic not in elsewhere and offset >= self._commit_from.get(tp, 0)
                }
                if ours:
                    await self._thread.commit_offsets(ours)
            except (KafkaError, TimeoutError) as error:
                self._note_commit(error)
                return False
            for tp, (epoch, offset) in due.items():
                self._ledgers[tp].confirm(epoch, offset)
            self._note_commit(None)
            return True

    def _note_commit(self, error: Exception | None) -> None:
        if error is not None and not self._commits_fail:
            self.log.warning("Committing offsets fails (%s), trying on", type(error).__name__)
        elif error is None and self._commits_fail:
            self.log.info("Committing offsets works again")
        self._commits_fail = error is not None

    async def force_commit(self, topics: Any = None, start_new_transaction: bool = True) -> bool:
        return await self.commit(topics)

    @Service.task
    async def _commit_handler(self) -> None:
        while not self.should_stop:
            await self.sleep(self.commit_interval)
            await self.commit()

    @Service.task
    async def _commit_livelock_detector(self) -> None:
        """Do nothing: Faust's detector looks at its own bookkeeping; `stalled` replaces it."""

    # -- observation

    async def is_member(self) -> bool | None:
        """See `Transport.is_member`."""
        return await self._thread.is_member()

    def check_group(self) -> None:
        """See `Transport.check_group`."""
        self._thread.check_group()

    def place_in_group(self) -> Place | None:
        """See `Transport.place_in_group`."""
        return self._thread.place_in_group()

    def look_at_ends(self) -> None:
        """See `Transport.look_at_ends`."""
        self._thread.look_at_ends()

    def status(self) -> dict[TP, PartitionStatus]:
        """See `Transport.status`."""
        statuses = {}
        for tp in sorted(self._held):
            ledger, log_end = self._ledgers[tp], self._thread.log_end(tp)
            statuses[tp] = PartitionStatus(
                epoch=ledger.epoch,
                position=ledger.position,
                acknowledged=ledger.acknowledged,
                committed=ledger.start if ledger.committed is None else ledger.committed,
                end=log_end.end,
                fetched_at_ms=log_end.fetched_at_ms,
                open_chunks=ledger.open_chunks,
                open_records=ledger.open_records,
                unstable_records=log_end.unstable,
            )
        return statuses

    def stalled(self, now_s: float, limit_s: float) -> list[TP]:
        """See `Transport.stalled`."""
        return [
            tp
            for tp, one in self.status().items()
            if (clock := self._clocks.get(tp)) is not None
            and clock.stuck_s(now_s=now_s, committed=one.committed, end=one.end) >= limit_s
        ]
