"""The composition root of the worker: settings in, a running Faust app out. Wiring only.

    agent `events`   -> an actor for each partition -> Session.run_batch -> scores, examples, state
    agent `examples` -> an actor for each partition -> LearnerSession    -> models, metrics, checkpoint
    model feed       -> replicas that the scoring cores read

The agents hand chunks over and return; what may be committed is decided by `chunk.acknowledge()`
alone, after the state is stored. See `streams.transport` for what Faust would do instead.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from importlib.metadata import version
from typing import TypeVar

import faust
from aiokafka import TopicPartition
from faust.types import TP

from online_models import sums, timers
from online_models.features.durations import parse_duration_ms
from streams import garbage
from streams.actors import Actor
from streams.budgets import Clerk, open_ledger
from streams.budgets.clerk import open_clerk
from streams.campaign_feed import CampaignFeed
from streams.campaign_watch import watch_campaigns
from streams.cancelling import cancel_until_done, end_together
from streams.dashboard import Dashboard
from streams.example_log import KafkaExampleLog
from streams.faust_app import make_faust_app
from streams.freshness import Freshness
from streams.group_watch import GroupWatch
from streams.housekeeping import Housekeeping
from streams.learner import LearnerSession, open_learner
from streams.lease import Lease, valid_s
from streams.logs import kafka_client_said, log_event
from streams.new_models import new_replicas
from streams.output import KafkaOutput, RecordOutput
from streams.publish import Publisher
from streams.rebuild import LogTruncated, begin_in_log, end_of_log
from streams.retry import retrying
from streams.runner import Session, open_session
from streams.settings import Settings
from streams.stores import Fenced, PartitionId, Unavailable, open_store
from streams.summary import Summary
from streams.telemetry import Telemetry
from streams.topic_feed import TopicFeed
from streams.transactions import TransactionalOutput, try_transactions
from streams.transport import RecordChunk, record_schema
from streams.web.server import WebServer

logger = logging.getLogger("streamscore.worker")
T = TypeVar("T")

_REOPEN_S = 1.0
# For a topic that was made just now; whoever starts before `topics create` is to say so soon, and tries again.
_FIND_S = 1.0
# Leaving the group and giving up the partitions takes some tenths of a second, at most the time of a batch.
_FAUST_STOP_S = 6.0


class Worker:
    """One worker process: scores the partitions it is given, learns where it is the learner, answers over HTTP.

    Attributes
    ----------
    sessions, learners
        What this worker owns at the moment, by partition.
    taking_since
        ``time.monotonic()`` at which the partitions at hand began to be taken up; None: all are.
    failure
        Why the worker has to end; None while all is well.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.telemetry = Telemetry(bidding=settings.bidding is not None)
        self.telemetry.begin_at_zero(
            (one.name for one in settings.objectives),
            (one.name for one in settings.variants),
            (settings.topics.events.name, settings.topics.examples.name),
        )
        self.dashboard = Dashboard(settings, self.telemetry)
        self.store = open_store(settings)
        self.lease = Lease(valid_s=valid_s(settings.kafka), ask=self._is_member)
        self.output = KafkaOutput(settings, may_write=lambda: self.lease.is_valid)
        self.replicas = new_replicas(settings)
        for variant in settings.variants:
            settings.new_model(variant)  # one of River's loads a second's worth of modules: now, while nobody waits
        # If it cannot be read at the start, that does not stop the scoring: scores then say `cold`.
        self.models = TopicFeed(
            settings.kafka,
            settings.topics.models.name,
            lambda record: self.replicas.apply(record.value),
            on_failure=self.fail,
            outages=self.telemetry.waits,
        )
        self.freshness = Freshness(
            self.replicas,
            most_behind=2 * settings.learning.publish_examples,
            patience_s=2 * parse_duration_ms(settings.learning.publish_interval) / 1000,
        )
        self.sessions: dict[int, Session] = {}
        self.learners: dict[int, LearnerSession] = {}
        self.failure: BaseException | None = None
        self.ended = asyncio.Event()
        self._transactions: dict[int, TransactionalOutput] = {}
        self._actors: dict[TP, Actor[RecordChunk]] = {}
        self._ready = asyncio.Event()
        self._reopening: dict[TP, asyncio.Task[None]] = {}
        self._stale_epochs: dict[TP, int] = {}
        self.partitions: Mapping[str, int] = {}
        self.taking_since: float | None = None
        self.app, self.transport = make_faust_app(
            settings,
            start_offsets=self._on_assigned,
            on_revoked=self._on_revoked,
            on_truncated=self._on_truncated,
        )
        self.group = GroupWatch(settings, self.transport, self.fail)
        role = settings.worker.role
        if role in ("all", "scoring"):
            self._agent(settings.topics.events.name)
        if role in ("all", "learning"):
            self._agent(settings.topics.examples.name)
        waits = self.telemetry.waits
        self.campaigns = CampaignFeed(settings, on_failure=self.fail, outages=waits) if settings.bidding else None
        self.ledger = open_ledger(settings) if settings.bidding else None
        self.clerk: Clerk | None = None
        self.housekeeping = Housekeeping(self)
        self.web = WebServer(self)
        self.campaign_watch = watch_campaigns(self.telemetry, self.web.api) if settings.bidding else None

    def _agent(self, topic: str) -> None:
        """Attach the agent of a topic: it hands chunks to the partitions' actors, nothing else."""

        async def hand_over(stream: faust.StreamT[RecordChunk]) -> None:
            async for chunk in stream:
                actor = self._actors.get(chunk.tp)
                if actor is not None and chunk.epoch > self._stale_epochs.get(chunk.tp, -1):
                    actor.put(chunk)

        self.app.agent(self.app.topic(topic, schema=record_schema()), name=f"streamscore.{topic}")(hand_over)

    async def attempt(self, step: Callable[[], Awaitable[T]], name: str) -> T:
        """Run one I/O step; repeat it, and only it, while what it needs is away."""
        return await retrying(step, name=name, outages=self.telemetry.waits)

    # ---------------------------------------------------------------- life

    async def start(self) -> None:
        """Start everything; events flow once the group has given us partitions."""
        await self.web.start()
        await self.attempt(self.store.ping, "reach the store")
        await self.attempt(self._reach_kafka, "reach Kafka")
        if self.consumes and self.settings.exactly_once:
            await self.attempt(lambda: try_transactions(self.settings), "try transactions")
        topics = [topic.name for topic in self.settings.used_topics]
        look = partial(self.output.partitions, within_s=_FIND_S)
        self.partitions = {name: await self.attempt(partial(look, name), "find the topics") for name in topics}
        await self.models.start()
        if self.campaigns is not None and self.ledger is not None:
            await self.campaigns.start()
            self.clerk = open_clerk(self, self.ledger, self.campaigns)
        self._ready.set()
        log_event(
            logger,
            logging.INFO,
            "worker started",
            version=version("streamscore"),
            compiled=sums.COMPILED and timers.COMPILED,
            **self.settings.masked(),
        )
        self.housekeeping.start()  # before Faust, which can have handed out records long before it has started
        if self.consumes:
            await self.app.start()

    def lag_of_events(self) -> int:
        """Records of `events` that wait on the partitions of this worker."""
        events = self.settings.topics.events.name
        return sum(lag for tp, lag in self.transport.lag().items() if tp.topic == events)

    @property
    def started(self) -> bool:
        """Whether store and broker were reached and the models read, so that it can answer."""
        return self._ready.is_set()

    @property
    def consumes(self) -> bool:
        """Whether it takes part in scoring or learning, and does not only answer over HTTP."""
        return self.settings.worker.role != "serving"

    async def _reach_kafka(self) -> None:
        try:
            await self.output.start()
        except Unavailable as error:
            raise Unavailable(f"{error} {kafka_client_said()}") from None

    async def stop(self) -> None:
        """End in order: no more records, finish what is at hand, keep what was learned."""
        await self.housekeeping.stop()
        if self.consumes:
            # Not longer: what comes after it saves what was learned.
            stopping = asyncio.ensure_future(self.app.stop())
            await asyncio.wait([stopping], timeout=_FAUST_STOP_S)
        else:
            await self.web.stop()  # requests that are under way still need the store
        await self._on_revoked(frozenset(self._actors))
        await self.models.stop()
        if self.campaigns is not None:
            await self.campaigns.stop()
        await self.output.stop()
        await self.store.close()
        if self.consumes:
            await self.web.stop()  # last: whoever asks after our health gets an answer until the end
        if self.ledger is not None:
            await self.ledger.close()

    def fail(self, error: BaseException) -> None:
        """End the worker with an error; a supervisor starts it again from what is stored."""
        self.failure = self.failure or error
        self.ended.set()

    # ---------------------------------------------------------------- partitions come and go

    async def _is_member(self) -> bool | None:
        return await self.transport.is_member()

    async def _on_assigned(self, assigned: frozenset[TP]) -> Mapping[TP, int]:
        """Take the partitions up where the store says; called before any of their records is handed out."""
        term = self.lease.begin()
        self.taking_since = time.monotonic()
        await self._ready.wait()
        while True:
            try:
                await self.attempt(lambda: self.lease.check(term), "confirm the assignment")
                return await self._take(assigned)
            except Fenced:  # we were held up since; the group is about to take them away, which ends this
                await asyncio.sleep(_REOPEN_S)

    async def _take(self, assigned: frozenset[TP]) -> Mapping[TP, int]:
        self.taking_since = time.monotonic()
        take = {
            self.settings.topics.events.name: self._take_events,
            self.settings.topics.examples.name: self._take_examples,
        }
        taken = sorted(assigned)
        tasks = [asyncio.ensure_future(take[tp.topic](tp)) for tp in taken]
        try:
            offsets = dict(zip(taken, await asyncio.gather(*tasks), strict=True))
        except BaseException:  # all of them or none: those that go on would come late, over what is taken up next
            await cancel_until_done(tasks)
            for tp in taken:
                await self._forget(tp)
            raise
        log_event(
            logger,
            logging.INFO,
            "partitions taken",
            **{f"{tp.topic}[{tp.partition}]": at for tp, at in offsets.items()},
        )
        self.taking_since = None
        return offsets

    async def _take_events(self, tp: TP) -> int:
        place = PartitionId(tp.topic, tp.partition)
        publisher, committed = await self._publisher_of(place)
        scores, bids = self.settings.topics.scores.name, self.settings.topics.bids.name
        session = await open_session(
            place,
            self.settings,
            self.store,
            self.replicas,
            self.attempt,
            scores=TopicPartition(scores, tp.partition % self.partitions[scores]),
            bids=TopicPartition(bids, tp.partition % self.partitions[bids]) if self.settings.bidding else None,
        )
        session.publish_from = max(session.publish_from, committed)
        await begin_in_log(session, self.settings, self.attempt)
        # A commit of what is done again would hide what was published, should this end before it is stored.
        self.transport.commit_from(tp, session.publish_from)
        self.sessions[tp.partition] = session

        async def admit(chunk: RecordChunk) -> None:
            if len(chunk) >= self.settings.worker.chunk_records:  # more is waiting: this is a backlog
                await self.freshness.wait()

        async def work(chunk: RecordChunk) -> asyncio.Task[None] | None:
            for number, records in enumerate(session.parts(chunk.records)):
                if number and session.saving is not None:
                    await session.saving  # the chunk is acknowledged with its last write
                started = time.perf_counter()
                summary = await session.run_batch(records, publisher, self.attempt)
                if summary is not None and session.saving is not None:
                    session.saving.add_done_callback(partial(self._stored, session, summary, started))
            return session.saving

        self._actors[tp] = Actor(
            str(session.partition),
            work,
            on_fenced=lambda: self.take_again(tp),
            on_failure=self.fail,
            join=self._join,
            admit=admit,
        )
        return session.next_offset

    def _stored(self, session: Session, summary: Summary, started: float, saving: asyncio.Task[None]) -> None:
        """Count a batch, if it was stored."""
        if not saving.cancelled() and saving.exception() is None:
            seconds = time.perf_counter() - started
            self.telemetry.batch_done(summary, seconds=seconds, open_count=session.core.open_count)
            self.dashboard.note(summary, time.time())

    async def _publisher_of(self, place: PartitionId) -> tuple[Publisher, int]:
        """Return what publishes for a partition, and the offset below which all is published for certain."""
        if not self.settings.exactly_once:
            return self._new_publisher(self.output), 0
        before = self._transactions.pop(place.partition, None)
        if before is not None:
            await before.stop()
        output = self._transactions[place.partition] = TransactionalOutput(self.settings, place)
        committed = await self.attempt(output.start, "begin transactions")
        return self._new_publisher(output), committed or 0

    def _new_publisher(self, output: RecordOutput) -> Publisher:
        return Publisher(output, self.settings.topics, self.partitions, self.freshness, self.lease)

    async def _take_examples(self, tp: TP) -> int:
        learner = await open_learner(
            tp.partition,
            self.partitions[tp.topic],
            settings=self.settings,
            store=self.store,
            publisher=self._new_publisher(self.output),
            telemetry=self.telemetry,
            attempt=self.attempt,
            served=self.replicas.served,
            knows_served=lambda: self.models.is_read,
            log=KafkaExampleLog(self.settings),
        )
        self.learners[tp.partition] = learner
        learner.catch_up(on_fenced=lambda: self.take_again(tp), on_failure=self.fail)

        async def work(chunk: RecordChunk) -> None:
            await learner.run_batch(chunk.records)

        self._actors[tp] = Actor(
            f"{tp.topic}-{tp.partition}",
            work,
            on_fenced=lambda: self.take_again(tp),
            on_failure=self.fail,
            join=self._join,
        )
        return learner.next_offset

    def _join(self, chunk: RecordChunk, later: RecordChunk) -> bool:
        return chunk.join(later, most_records=self.settings.worker.chunk_records)

    def take_again(self, tp: TP) -> None:
        """Drop what is held of a partition that another worker wrote to, and take it up from the store."""
        if tp not in self._reopening:
            task = self._reopening[tp] = asyncio.get_running_loop().create_task(self._reopen(tp))
            task.add_done_callback(lambda task: self._reopened(tp, task))

    def _reopened(self, tp: TP, task: asyncio.Task[None]) -> None:
        del self._reopening[tp]
        if not task.cancelled() and (error := task.exception()) is not None:
            self.fail(error)

    async def _reopen(self, tp: TP) -> None:
        term = self.lease.term
        await self._forget(tp)
        while True:
            await asyncio.sleep(_REOPEN_S)  # a group that is being rebalanced settles meanwhile
            try:
                await self.attempt(lambda: self.lease.check(term), "confirm the assignment")
            except Fenced:  # it is another's, or the group hands it to us anew
                return
            status = self.transport.status().get(tp)
            if status is None:
                return
            # Until the rewind, chunks from where we stood may still come: they would leave a gap.
            self._stale_epochs[tp] = status.epoch
            with contextlib.suppress(Fenced):  # somebody else has written just now, who has no right to it any more
                offsets = await self._take(frozenset({tp}))
                await self.transport.rewind(tp, offsets[tp])
                return

    async def _forget(self, tp: TP) -> None:
        """Keep nothing of a partition, even if ending something of it fails or is cancelled."""
        actor = self._actors.pop(tp, None)
        try:
            if actor is not None:
                await actor.stop()
        finally:
            await (self._forget_examples if tp.topic == self.settings.topics.examples.name else self._forget_events)(tp)

    async def _forget_examples(self, tp: TP) -> None:
        learner = self.learners.pop(tp.partition, None)
        try:
            if learner is not None:
                await learner.close()
        finally:
            self.telemetry.forget_examples(*tp, learner.names if learner else ())

    async def _forget_events(self, tp: TP) -> None:
        session, output = self.sessions.pop(tp.partition, None), self._transactions.pop(tp.partition, None)
        self.telemetry.forget_events(*tp)
        await end_together(session.close if session else None, output.stop if output else None)

    async def _on_truncated(self, tp: TP, position: int, begins: int) -> bool:
        """End the worker where events were read beyond the end of their log; see `streams.rebuild`."""
        if tp.topic != self.settings.topics.events.name:
            return True
        where = TopicPartition(*tp)
        end = await self.attempt(lambda: end_of_log(self.settings, where), "read the log's end")
        self.fail(LogTruncated(self.settings, where, reached=position, end=end))
        return False

    async def _on_revoked(self, revoked: frozenset[TP]) -> None:
        """Finish the chunks at hand and let go of the partitions, of all of them whatever one fails at."""
        self.taking_since = None
        ends = await asyncio.gather(*map(self._give_up, revoked), return_exceptions=True)  # at once: each has its time
        if revoked:
            log_event(logger, logging.INFO, "partitions given up", partitions=len(revoked))
            if not self.sessions and not self.ended.is_set():  # nobody is cached: a moment's work, in a pause
                garbage.collect_all()
        for error in filter(None, ends):
            raise error

    async def _give_up(self, tp: TP) -> None:
        actor = self._actors.get(tp)
        learner = self.learners.get(tp.partition) if tp.topic == self.settings.topics.examples.name else None
        try:
            await end_together(actor.stop if actor else None, learner.close if learner else None)
            if learner is not None:
                with contextlib.suppress(Fenced):  # then the new owner has begun, and needs nothing of ours
                    await learner.save()
        finally:
            await self._forget(tp)
