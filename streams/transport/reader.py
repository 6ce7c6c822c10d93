"""The reader: takes fetched records out of aiokafka, chunk by chunk and partition by partition.

It decides whether a partition may be read. A partition is *readable* under an epoch, and for one assignment: both are
noted in the same step as the seek, and checked in the same step in which records are taken. So records that were read
before a seek or a rebalance can never be mistaken for those read after it, whatever was under way meanwhile.

Faust gives aiokafka a thread, and a loop, of its own. Here it runs in the worker's: two threads of one interpreter wait
for each other at every call that lets go of its lock, and for the processor while they hold it. Heartbeats are sent
between batches, which take some 20 ms; what holds up the loop for longer than the session timeout loses the group.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine, Iterable, Mapping, Sequence
from math import inf
from time import monotonic
from typing import TYPE_CHECKING, Any, NamedTuple

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.consumer.fetcher import Fetcher
from aiokafka.consumer.group_coordinator import GroupCoordinator
from aiokafka.consumer.subscription_state import Assignment
from aiokafka.errors import (
    ConsumerStoppedError,
    IllegalGenerationError,
    IllegalStateError,
    KafkaError,
    NoError,
    RebalanceInProgressError,
    UnknownMemberIdError,
    for_code,
)
from aiokafka.protocol.group import HeartbeatRequest, LeaveGroupRequest
from aiokafka.structs import OffsetAndMetadata
from faust.exceptions import ConsumerNotStarted, ImproperlyConfigured
from faust.transport.drivers import aiokafka as driver
from faust.types import TP

from schemas.dead_letters import locator
from streams import no_made_topics
from streams.header_names import is_unreadable_name, replace_unreadable_names
from streams.transport.group import Place, check_group, place_of
from streams.transport.log_ends import LogEnds
from streams.transport.options import TransportOptions

if TYPE_CHECKING:
    from streams.transport.driver import Transport

no_made_topics.forbid()

logger = logging.getLogger(__name__)

UNKNOWN_MEMBER_ID = ""
_NO_MEMBER = (UnknownMemberIdError, IllegalGenerationError)
POLL_CHUNKS = 4  # chunks one poll may return in all, so that the loop stays free for heartbeats


class Fetched(NamedTuple):
    """Records of one partition, or none when only the position moved (transaction markers, compaction, retention).

    Without records and with a `next_offset` below what was asked for, the log ends below that.
    """

    tp: TP
    epoch: int
    records: list[ConsumerRecord[bytes | None, bytes | None]]
    next_offset: int


class UnreadableRecord(RuntimeError):
    """A record stands in the way of all behind it; says which, and what to do."""


class LogEnd(NamedTuple):
    """What the latest fetch response said about a partition; None before the first one. `end` can be newer.

    `unstable` are the offsets from `end` up to the high watermark, which wait for transactions to be over.
    """

    end: int | None
    fetched_at_ms: int | None
    unstable: int = 0


class RebalanceListener(driver.ConsumerRebalanceListener):
    """Makes every partition unreadable before Faust, or the application, hears of a rebalance."""

    _thread: RecordReader

    def on_partitions_revoked(self, revoked: Iterable[TopicPartition]) -> Any:
        self._thread.forget_positions()
        return super().on_partitions_revoked(revoked)


class InLoop:
    """In the place of a thread, as Faust's services start it: serves in a task of the worker's loop."""

    def __init__(self, service: RecordReader) -> None:
        self.service = service
        self._serving: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._serving = asyncio.get_running_loop().create_task(self.service._serve())
        self._serving.add_done_callback(lambda done: done.cancelled() or done.exception())  # `crash` has told it

    def stop(self) -> None:
        """Do nothing: whoever stops the service has awaited its end, and there is no thread to join."""


class RecordReader(driver.AIOKafkaConsumerThread):
    """aiokafka's consumer, where Faust expects it in a thread; in the loop of the worker."""

    Worker = InLoop  # type: ignore[assignment]  # Faust expects a thread
    transport: Transport
    options: TransportOptions
    _consumer: AIOKafkaConsumer | None

    def __post_init__(self) -> None:
        super().__post_init__()
        self.options = self.transport.options
        self._readable: dict[TP, tuple[int, Assignment]] = {}
        self._positions: dict[TP, int] = {}  # where we left them, to see when aiokafka has turned elsewhere
        self._waiter: asyncio.Future[None] | None = None
        self._waited_for: Sequence[tuple[TP, int]] = ()
        self._taken: list[Fetched] = []
        self._fetcher: Fetcher | None = None
        self._woken = False
        self._turn = 0
        self._leaving = False
        self._committing: asyncio.Future[None] | None = None
        self._ends = LogEnds()

    # -- lifecycle

    def _create_worker_consumer(self, transport: driver.Transport) -> AIOKafkaConsumer:
        consumer = super()._create_worker_consumer(transport)
        # Faust fixes these in a long call that also holds the credentials and group settings, which we want.
        consumer._fetch_max_wait_ms = self.options.fetch_max_wait_ms
        consumer._fetch_min_bytes = self.options.fetch_min_bytes
        consumer._isolation_level = self.options.isolation_level
        # Never: aiokafka takes who has asked for no records so long out of the group, and not in again. Without
        # partitions nobody asks, nor while all are full; `stalled` finds who stands still.
        consumer._max_poll_interval_ms = inf
        return consumer

    def _create_client_consumer(self, transport: driver.Transport) -> AIOKafkaConsumer:
        raise ImproperlyConfigured("Record chunks need a consumer group; client_only apps take the kafka:// transport")

    async def on_thread_stop(self) -> None:
        self._leaving = True
        if self._method_queue is not None:
            await self._method_queue.stop()
        await self._ends.stop()
        consumer, limit_s = self._consumer, self.options.stop_timeout_s
        if consumer is not None:
            # Each in a task of its own: a rebalance would keep us until all members have joined, and without a
            # broker aiokafka's cancelled fetches come out as a cancellation of whoever awaits its stop.
            for step in (_leave_group(consumer), consumer.stop(), consumer._client.close()):
                await _finish(step, limit_s)

    def close(self) -> None:
        """Do nothing: `on_thread_stop` closes all there is, in its order."""

    async def _gather_remaining_tasks(self) -> None:
        """Do nothing: the tasks that are left in the loop are the worker's."""

    def _reading(self) -> AIOKafkaConsumer:
        if self._leaving:
            raise ConsumerStoppedError
        return self._ensure_consumer()

    # -- positions

    def _assignment(self) -> Assignment | None:
        subscription = self._ensure_consumer()._subscription.subscription
        return None if subscription is None else subscription.assignment

    def _superseded(self, tp: TP, epoch: int, assignment: Assignment) -> bool:
        """Whether the partition has been taken away, or positioned under a later epoch, since ``epoch`` began."""
        known = self._readable.get(tp)
        return not assignment.active or (known is not None and known[1] is assignment and known[0] > epoch)

    def forget_positions(self) -> None:
        """Let nothing be read until it is positioned again, nor what was taken and not handed out."""
        self._readable.clear()
        self._taken = []

    async def seek_to(self, tp: TP, offset: int, epoch: int) -> bool:
        """Read ``tp`` from ``offset`` on, under ``epoch``. False when the partition is not ours."""
        consumer, assignment = self._reading(), self._assignment()
        if assignment is None or tp not in assignment.tps or self._superseded(tp, epoch, assignment):
            return False
        consumer.seek(_aiokafka_tp(tp), offset)
        self._readable[tp], self._positions[tp] = (epoch, assignment), offset
        return True

    async def locate(self, tp: TP, epoch: int) -> int | None:
        """Read ``tp`` from its committed offset on, else from where ``auto_offset_reset`` says; return that offset.

        None when the partition is not ours, or is taken away meanwhile.
        """
        consumer, assignment = self._reading(), self._assignment()
        if assignment is None or tp not in assignment.tps:
            return None
        try:
            await consumer.position(_aiokafka_tp(tp))
        except IllegalStateError:
            return None
        if self._superseded(tp, epoch, assignment):
            return None
        self._readable[tp] = (epoch, assignment)
        position = self._positions[tp] = int(assignment.state_value(tp).position)
        return position

    def look_at_ends(self) -> None:
        """Ask for the ends of logs that no fetch has told since the last call; see `streams.transport.log_ends`."""
        consumer = None if self._leaving else self._consumer
        assignment = None if consumer is None else self._assignment()
        if assignment is not None:
            self._ends.look(consumer, assignment)

    def log_end(self, tp: TP) -> LogEnd:
        """Return what the latest fetch response said, or was asked for since."""
        assignment = self._assignment()
        state = None if assignment is None else assignment.state_value(tp)
        if assignment is None or state is None:
            return LogEnd(None, None)
        end = state.highwater
        if self.options.isolation_level == "read_committed" and state.lso is not None and state.lso >= 0:
            end = state.lso  # records behind it cannot be read yet, so they are no lag
        asked = self._ends.asked(tp, assignment)
        if asked is not None:  # of the embedded broker it can be a little too small
            end = asked if end is None else max(end, asked)
        unstable = 0 if end is None or state.highwater is None else max(0, state.highwater - end)
        return LogEnd(end, state.timestamp, unstable)

    # -- membership

    def _coordinator(self) -> GroupCoordinator | None:
        return None if self._consumer is None or self._leaving else self._consumer._coordinator  # None until it starts

    def check_group(self) -> None:
        """See `Transport.check_group`."""
        coordinator = self._coordinator()
        if coordinator is not None:
            check_group(coordinator)

    def place_in_group(self) -> Place | None:
        """See `Transport.place_in_group`."""
        coordinator = self._coordinator()
        return None if coordinator is None else place_of(coordinator)

    async def is_member(self) -> bool | None:
        """Ask the coordinator with a heartbeat; None: no answer.

        A rebalance that has begun takes nothing away from a member before it joins again.
        """
        try:
            coordinator = self._reading()._coordinator
            if coordinator.member_id == UNKNOWN_MEMBER_ID:
                return False
            request = HeartbeatRequest(coordinator.group_id, coordinator.generation, coordinator.member_id)
            async with asyncio.timeout(self.options.commit_timeout_s):
                answer = await coordinator._send_req(request)
        except (KafkaError, ConsumerNotStarted, ConsumerStoppedError, TimeoutError):
            return None
        error = for_code(answer.error_code)
        if error in (NoError, RebalanceInProgressError):
            return True
        return False if error in _NO_MEMBER else None

    # -- records

    async def poll(self, wanted: Sequence[tuple[TP, int]], *, timeout_s: float) -> list[Fetched]:
        """Return at most one chunk of each wanted partition, as soon as there is any.

        Parameters
        ----------
        wanted
            Partitions with room, and the epoch the caller takes them to be in.
        timeout_s
            How long to wait for records. `wake` ends the wait early.
        """
        consumer = self._reading()
        fetcher = consumer._fetcher
        if fetcher is not self._fetcher:
            self._take_on_arrival(fetcher)
        deadline = monotonic() + timeout_s
        while True:
            if consumer._closed or fetcher._closed:
                raise ConsumerStoppedError
            check_group(consumer._coordinator)  # otherwise an authorization error would be waited on for ever
            fetched, self._taken = self._taken, []
            fetched = fetched or await self._take(fetcher, wanted)
            remaining = deadline - monotonic()
            if fetched or self._woken or remaining <= 0:
                self._woken = False
                return fetched
            self._waiter, self._waited_for = fetcher._create_fetch_waiter(), wanted
            try:
                await asyncio.wait([self._waiter], timeout=remaining)
            finally:
                self._waiter.cancel()  # from here on nothing is taken for this poll; no effect if it is done
            if not self._waiter.cancelled():
                self._waiter.result()

    def _take_on_arrival(self, fetcher: Fetcher) -> None:
        """Have what a poll waits for taken as it arrives, so that the next fetch leaves at once.

        aiokafka asks a broker for more when all that came from it was taken. Until the poll comes to that, several
        turns of the loop later and each behind the work on other partitions, what is appended lies there.
        """
        self._fetcher, arrive = fetcher, fetcher._proc_fetch_request

        async def take(*request: Any) -> bool:
            arrived = bool(await arrive(*request))
            waiter = self._waiter
            if arrived and waiter is not None and not waiter.done():
                try:
                    self._taken = await self._take(fetcher, self._waited_for)
                except Exception as error:  # such as a missing permission: the poll's to raise
                    waiter.set_exception(error)
                else:
                    waiter.set_result(None)
            return arrived

        fetcher._proc_fetch_request = take

    def wake(self) -> None:
        """Make a waiting `poll` return, because more partitions are wanted now."""
        self._woken = True
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def _take(self, fetcher: Fetcher, wanted: Sequence[tuple[TP, int]]) -> list[Fetched]:
        assignment = self._assignment()
        if assignment is None or fetcher._subscriptions.reassignment_in_progress:
            return []
        fetched: list[Fetched] = []
        room = POLL_CHUNKS * self.options.chunk_records
        self._turn += 1  # another partition is first each time, so that a full poll starves none
        start = self._turn % max(1, len(wanted))
        for tp, epoch in (*wanted[start:], *wanted[:start]):
            if self._readable.get(tp) != (epoch, assignment):
                continue
            state, left = assignment.state_value(tp), self._positions[tp]
            before = state.position if state.has_valid_position else left
            if tp not in fetcher._records and before == left:
                continue
            # With a timeout of 0 and no reassignment this never gives up control, so nothing can come between.
            try:
                taken = await fetcher.fetched_records([tp], timeout=0, max_records=self.options.chunk_records)
            except Exception as error:
                self._fetch_again(fetcher, tp, error)
                continue
            if not state.has_valid_position:
                continue
            records = taken.get(tp, [])
            self._positions[tp] = position = state.position
            if before < left:  # the log ends below what was read: that alone is told, and nothing of it handed out
                fetched.append(Fetched(tp, epoch, [], before))
                continue
            if before > left:
                missed = before - left
                logger.warning("%s-%d: %d offsets from %d on are no longer kept, and were not read", *tp, missed, left)
            if records or position != left:
                fetched.append(Fetched(tp, epoch, records, position))
                room -= len(records)
            if room <= 0:
                break
        return fetched

    def _fetch_again(self, fetcher: Fetcher, tp: TP, error: Exception) -> None:
        """Have what cannot be read because of a header's name fetched once more, and mended; raise all else."""
        if not is_unreadable_name(error):
            raise error
        # Nothing was taken of the batch, and the position is where it was: see aiokafka's `FetchResult.getall`.
        broken = fetcher._records.pop(tp)
        where = locator(tp.topic, tp.partition, broken._partition_records.next_fetch_offset)
        if not replace_unreadable_names(fetcher):
            raise UnreadableRecord(
                f"{where} has a header whose name is not UTF-8, and its batch cannot be mended; "
                "see docs/production.md, A record that stands in the way"
            ) from error
        logger.warning("%s has a header whose name is not UTF-8; it is read without that name", where)
        fetcher._notify(fetcher._wait_consume_future)

    # -- commits

    async def commit_offsets(self, offsets: Mapping[TP, int]) -> None:
        """Commit; raises KafkaError or TimeoutError when the broker did not say yes."""
        # One at a time, and without relying on aiokafka to let itself be cancelled: while its coordinator is away it
        # tries for ever, and a late success of an old commit must not undo a new one.
        if self._committing is not None:
            await _within(self._committing, self.options.commit_timeout_s)
        self._committing = asyncio.ensure_future(
            self._reading().commit({_aiokafka_tp(tp): OffsetAndMetadata(offset, "") for tp, offset in offsets.items()})
        )
        await _within(self._committing, self.options.commit_timeout_s)
        self._committing.result()


async def _within(task: asyncio.Future[None], limit_s: float) -> None:
    """Wait until ``task`` is done, whatever its outcome; cancel it and raise TimeoutError when that takes too long."""
    done, _ = await asyncio.wait([task], timeout=limit_s)
    if not done:
        task.add_done_callback(lambda late: late.cancelled() or late.exception())
        task.cancel()
        raise TimeoutError(f"No answer within {limit_s} s")


async def _finish(coroutine: Coroutine[Any, Any, None], timeout_s: float) -> None:
    """Run to the end, for a bounded time, whatever comes of it: we are leaving."""
    task = asyncio.ensure_future(coroutine)
    await asyncio.wait([task], timeout=timeout_s)
    task.cancel()
    await asyncio.wait([task], timeout=timeout_s)
    if task.done() and not task.cancelled() and (error := task.exception()) is not None:
        logger.warning("Leaving the consumer group: %r", error)


async def _leave_group(consumer: AIOKafkaConsumer) -> None:
    """Leave from generation 0 as well, where the embedded broker begins and aiokafka takes us for not having joined.

    Without this, the next worker waits for our session to time out.
    """
    coordinator = consumer._coordinator
    first_generation, member_id = coordinator.generation == 0, coordinator.member_id
    await coordinator.close()
    if first_generation and coordinator._group_instance_id is None:
        await coordinator._send_req(LeaveGroupRequest(coordinator.group_id, member_id))


def _aiokafka_tp(tp: TP) -> TopicPartition:
    return TopicPartition(tp.topic, tp.partition)
