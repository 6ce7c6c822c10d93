"""What a worker does by its clock: publish, save, tick, watch. None of it decides a result.

The wall clock enters the data in one place only: a partition on which nobody comes any more gets a
`tick` record that moves its stream time on by the time that has passed. It goes into the log, so a
replay closes the same windows at the same place.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from faust.types import TP

from online_models.features.durations import parse_duration_ms
from schemas.codec import encode_json
from schemas.events import Tick
from streams import garbage
from streams.campaign_watch import LOOK_S
from streams.cancelling import cancel_until_done
from streams.dashboard import POINT_S
from streams.learner import LearnerSession
from streams.learner_place import PartitionsChanged
from streams.logs import log_event
from streams.out_records import OutRecord
from streams.stores import Fenced
from streams.unstable import UnstableWatch

if TYPE_CHECKING:
    from streams.app import Worker

logger = logging.getLogger("streamscore.worker")

_WATCH_S = 2.0
_BUDGETS_S = 0.1
_REFILL_S = 0.5
_GARBAGE_S = 0.5


class Housekeeping:
    """The periodic tasks of a worker."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        settings = worker.settings
        self._publish_s = parse_duration_ms(settings.learning.publish_interval) / 1000
        self._checkpoint_s = parse_duration_ms(settings.learning.checkpoint_interval) / 1000
        self._renew_s = parse_duration_ms(settings.kafka.heartbeat) / 1000
        self._idle_s = parse_duration_ms(settings.worker.idle_tick) / 1000
        self._stall_s = parse_duration_ms(settings.worker.stall_timeout) / 1000
        self._tasks: list[asyncio.Task[None]] = []
        self._moved_at: dict[int, tuple[int, float]] = {}
        self._looked_at = 0.0
        self._unstable = UnstableWatch()

    def start(self) -> None:
        """Start the tasks; each failure of theirs ends the worker."""
        rounds: list[tuple[float, Callable[[], Awaitable[None]], str]] = [
            (self._publish_s, self._publish_models, "publish models"),
            (self._checkpoint_s, self._save_checkpoints, "save checkpoints"),
            (_WATCH_S, self._watch, "watch"),
            (POINT_S, self._note_point, "note a point for the dashboard"),
            (self._renew_s, self._worker.lease.renew, "renew the lease"),
        ]
        clerk = self._worker.clerk
        if clerk is not None:
            rounds.append((_BUDGETS_S, clerk.round, "budgets"))
            rounds.append((_REFILL_S, self._worker.web.api.refill, "refill the purse"))
        watch = self._worker.campaign_watch
        if watch is not None:
            rounds.append((LOOK_S, watch.look, "look after the campaigns"))
        if not self._worker.consumes:  # it has no partition that has nothing to do
            rounds.append((_GARBAGE_S, self._look_after_garbage, "look after garbage"))
        if self._idle_s > 0:
            rounds.append((self._idle_s / 4, self._tick_idle_partitions, "idle ticks"))
        self._tasks = [asyncio.create_task(self._every(*one), name=one[2]) for one in rounds]

    async def stop(self) -> None:
        """Stop the tasks and keep what the learners have learned."""
        await cancel_until_done(self._tasks)

    async def _every(self, seconds: float, step: Callable[[], Awaitable[None]], name: str) -> None:
        while True:
            await asyncio.sleep(seconds)
            try:
                await step()
            except Exception as error:  # our own fault: the worker must not go on half alive
                logger.exception("%s failed", name)
                self._worker.fail(error)
                return

    async def _publish_models(self) -> None:
        await self._each_learner(LearnerSession.publish_pending)

    async def _save_checkpoints(self) -> None:
        await self._each_learner(LearnerSession.save)

    async def _each_learner(self, step: Callable[[LearnerSession], Awaitable[None]]) -> None:
        for partition, learner in list(self._worker.learners.items()):
            try:
                await step(learner)
            except Fenced as fenced:
                log_event(logger, logging.WARNING, "another learner has taken over", why=str(fenced))
                self._worker.take_again(TP(self._worker.settings.topics.examples.name, partition))

    async def _tick_idle_partitions(self) -> None:
        """Move the stream time of partitions on which triggers or bids wait and nobody comes."""
        now = time.monotonic()
        if now - self._looked_at > self._idle_s:  # held up: partitions are not idle because we did not look
            self._moved_at = {}
        self._looked_at = now
        topic, standing = self._worker.settings.topics.events.name, self._worker.transport.status()
        for number, session in list(self._worker.sessions.items()):
            offset, since = self._moved_at.get(number, (-1, now))
            status = standing.get(TP(topic, number))
            # What is in work has moved stream time and not the offset, and may wait for the store for long.
            if status is None or status.open_chunks or session.next_offset != offset:
                self._moved_at[number] = (session.next_offset, now)
            elif now - since >= self._idle_s and (session.core.open_count > 0 or session.core.bids_wait):
                self._moved_at[number] = (offset, now)
                await self._tick(number, session.core.stream_time_ms + round((now - since) * 1000))

    async def _tick(self, number: int, ts: int) -> None:
        worker = self._worker
        topic = worker.settings.topics.events.name
        tick = OutRecord(None, encode_json(Tick(ts=ts)))
        await worker.attempt(lambda: worker.output.publish({(topic, number): [tick]}), "publish tick")

    async def _note_point(self) -> None:
        self._worker.dashboard.point(time.time(), time.monotonic(), lag=self._worker.lag_of_events())

    async def _look_after_garbage(self) -> None:
        garbage.look_when_quiet()

    def _look_at_partitions(self) -> None:
        """End a worker whose examples would go to partitions where no learner looks for them."""
        worker, name = self._worker, self._worker.settings.topics.examples.name
        now, before = worker.output.partitions_now(name), worker.partitions[name]
        if worker.consumes and now is not None and now != before:
            worker.fail(PartitionsChanged(name, now, before))

    async def _watch(self) -> None:
        """Show the lag, and end a worker that is stuck: a supervisor can only restart what has ended."""
        worker = self._worker
        if worker.app.should_stop and not worker.ended.is_set():
            worker.fail(worker.app.crash_reason or RuntimeError("Faust has stopped"))
        if worker.consumes:
            worker.group.look(time.monotonic())
        worker.transport.look_at_ends()
        for tp, lag in worker.transport.lag().items():
            worker.telemetry.lag.labels(tp.topic, str(tp.partition)).set(lag)
        self._unstable.look(worker.transport.status(), worker.telemetry.unstable, time.monotonic())
        topics = worker.settings.topics
        worker.telemetry.assigned.labels(topics.events.name).set(len(worker.sessions))
        worker.telemetry.assigned.labels(topics.examples.name).set(len(worker.learners))
        for objective, replica in worker.replicas.items():
            worker.telemetry.version.labels(objective).set(replica.version)
            worker.telemetry.behind.labels(objective).set(worker.freshness.behind(objective))
            worker.telemetry.incomplete.labels(objective).set(replica.incomplete)
        worker.telemetry.unreadable.set(worker.replicas.unreadable)
        worker.telemetry.foreign.set(worker.replicas.foreign)
        self._look_at_partitions()
        if worker.taking_since is not None and time.monotonic() - worker.taking_since > self._stall_s:
            worker.fail(RuntimeError(f"partitions could not be taken up for {self._stall_s:.0f} s"))
        stuck = worker.transport.stalled(time.monotonic(), self._stall_s)
        if stuck:
            where = ", ".join(f"{tp.topic}[{tp.partition}]" for tp in stuck)
            worker.fail(RuntimeError(f"no progress for {self._stall_s:.0f} s with records waiting on {where}"))
