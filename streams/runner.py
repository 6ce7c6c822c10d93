"""run_batch: the way of a chunk through one partition, shared by live, replay and recovery.

    records -> decode -> load states -> step -> publish -> save -> the offset that may be acknowledged

Live passes Redis and Kafka, replay a dict and a file, recovery an output that publishes nothing;
nothing else differs. The order is what keeps the promises: what is published is acknowledged by the
broker before the offset moves, and the offset moves in the same write as the state. After a crash in
between, the batch is done again with the scores that were published (`streams.earlier`).

The next batch need not wait for that write: it is packed when the scores are out, and one write may be under way
while the next batch is scored and published. Writes follow each other, so at most two batches are to be done again.

The pure step is done once. When the store or the broker is away, only that I/O is repeated.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from itertools import islice
from typing import Generic, NamedTuple, Protocol, TypeVar

from aiokafka import TopicPartition
from msgspec.structs import replace

from online_models.parts import in_parts, result_of
from online_models.published import NEVER
from online_models.records import DecodedBatch, Record, decode_batch
from online_models.replica import ReplicaSet
from online_models.scoring import ScoringCore
from online_models.step import Collected, StepResult
from schemas.bids import Bid
from schemas.codec import (
    decode_partition_meta,
    decode_user_state,
    encode_partition_meta,
    encode_user_state,
)
from schemas.scores import Score
from schemas.user_state import BiddingMeta, UserState
from streams.budgets.books import Books
from streams.cores import scoring_core
from streams.earlier import EarlierBids, EarlierScores, LeftBids
from streams.failpoints import failpoint
from streams.messages import Messages, not_published
from streams.settings import Settings
from streams.stores import PartitionId, StateStore
from streams.summary import Summary

T = TypeVar("T")
P = TypeVar("P")

# What else the loop has to do, such as to tell the group that we are alive, waits no longer for a batch.
_BREATHE_S = 0.1


class Attempt(Protocol):
    """Runs one I/O step, and repeats it, and only it, while it raises Unavailable."""

    async def __call__(self, step: Callable[[], Awaitable[T]], name: str) -> T: ...


class Ends(NamedTuple):
    """Offsets behind the last score and the last bid that were published; None: there were none."""

    scores: int | None = None
    bids: int | None = None


class _Unsaved(NamedTuple):
    """What a batch leaves to be stored, packed: the next one changes the states."""

    next_offset: int
    meta: bytes
    users: dict[str, bytes]
    timers: Mapping[str, int | None]
    needed: Collection[str]
    books: Callable[[], None] | None


class Output(Protocol):
    """Where a batch's results go."""

    async def publish(self, batch: DecodedBatch, messages: Messages, *, partition: PartitionId) -> Ends:
        """Publish and wait until it is safe; raises Unavailable: repeat it."""


class Earlier(Protocol[P]):
    """What an earlier life of the partition has published beyond what it stored; see `streams.earlier`."""

    @property
    def known_from(self) -> int:
        """From which event on it is known what was published, and what was not, once some of it was returned."""

    @property
    def end(self) -> int | None:
        """Offset behind all of it on its topic, once all was returned; None before."""

    async def before(self, next_offset: int) -> dict[str, P]:
        """Return, by id, what was published of events below an offset; raises Unavailable."""

    async def close(self) -> None:
        """Let go of the connection."""


class Published(Generic[P]):
    """What stands in the log of one kind of output: how far the state reflects it, and what is beyond.

    Attributes
    ----------
    end
        Offset behind what the state reflects; -1: not known.
    known_from
        From which event on it is known what was published, and what was not.
    """

    def __init__(self, end: int, earlier: Earlier[P] | None) -> None:
        self.end = end
        self.known_from = NEVER
        self._earlier = earlier

    @property
    def is_read(self) -> bool:
        """Whether nothing is left of an earlier life."""
        return self._earlier is None

    async def before(self, next_offset: int, attempt: Attempt, name: str) -> dict[str, P]:
        """Return what an earlier life has published of events below an offset."""
        earlier = self._earlier
        if earlier is None:
            return {}
        published = await attempt(lambda: earlier.before(next_offset), name)
        self.known_from = earlier.known_from
        if earlier.end is not None:
            self.end, self._earlier = earlier.end, None
        return published

    def reach(self, end: int | None) -> None:
        """Take in what was published just now."""
        if end is not None and self._earlier is None:
            self.end = max(end, self.end)

    async def close(self) -> None:
        """Let go of what is open for reading."""
        if self._earlier is not None:
            await self._earlier.close()


class Session:
    """One partition while this process owns it: its core, the states at hand, its place in the log.

    Attributes
    ----------
    next_offset
        The offset behind the last batch: where to read on.
    stored_offset
        What the store holds, to compare and set; None while it holds nothing.
    saving
        The write of the last batch that was published, under way or done; None before the first.
    publish_from
        Records below this offset were published by an earlier life of the partition; while they
        are replayed to rebuild a lost store, nothing is published. It is stored with the state until it is passed.
    books
        What is stored of its bidding; None: it does not bid.
    """

    def __init__(
        self,
        partition: PartitionId,
        core: ScoringCore,
        store: StateStore,
        *,
        stored_offset: int | None,
        publish_from: int = 0,
        cache_users: int,
        max_event_bytes: int,
        scores: Published[Score] | None = None,
        bids: Published[Bid] | None = None,
    ) -> None:
        self.partition = partition
        self.core = core
        self.store = store
        self.stored_offset = stored_offset
        self.next_offset = stored_offset or 0
        self.publish_from = publish_from
        self._scores = scores or Published[Score](-1, None)
        self._bids = bids or Published[Bid](-1, None)
        self._cache_users = cache_users
        self._max_event_bytes = max_event_bytes
        self._users: dict[str, UserState] = {}
        self._needed: Collection[str] = ()  # by the batch in work, and not stored yet
        self.saving: asyncio.Task[None] | None = None
        bidding = core.meta().bidding if core.desk is not None else None
        self.books = Books(bidding.epoch, bidding.allowances) if bidding else None

    def parts(self, records: Sequence[Record]) -> list[Sequence[Record]]:
        """Cut a chunk where publishing begins, so that no batch is half published before."""
        if records[0].offset >= self.publish_from or records[-1].offset < self.publish_from:
            return [records]
        silent = [record for record in records if record.offset < self.publish_from]
        return [silent, records[len(silent) :]]

    async def run_batch(self, records: Sequence[Record], output: Output, attempt: Attempt) -> Summary | None:
        """Score a chunk, publish, and begin to store its effects: `saving` tells when they are.

        Parameters
        ----------
        records
            Consecutive records of the partition; those below `next_offset` are passed over.

        Returns
        -------
        Summary or None
            None if every record had been processed before.

        Raises
        ------
        Fenced
            Another process owns the partition, as the write before has found; drop this session. From `saving` as well.
        """
        if records[0].offset < self.next_offset:
            records = [record for record in records if record.offset >= self.next_offset]
            if not records:
                return None
        batch = decode_batch(
            records,
            topic=self.partition.topic,
            partition=self.partition.partition,
            max_bytes=self._max_event_bytes,
        )
        user_ids = self.core.users_of(batch.events)
        self._needed = user_ids
        await self._load(user_ids, attempt)
        published = self.core.published = await self._scores.before(batch.next_offset, attempt, "read scores")
        last = max((one.offset for one in published.values()), default=-1)
        publishing = batch.next_offset > self.publish_from
        self.core.published_from = max(self.core.published_from, self._scores.known_from)
        self.core.published_to = last if self._scores.is_read and publishing else batch.next_offset
        promised = await self._bids.before(batch.next_offset, attempt, "read bids")
        if self.core.settling is not None:
            self.core.settling.published = promised
        out, messages, summary = Collected(self._users), Messages(), Summary()
        breathed_s = time.perf_counter()
        for part in in_parts(self.core, batch, out):
            summary.take(part)
            if publishing:
                messages.take(not_published(part, published, promised))
            if time.perf_counter() - breathed_s > _BREATHE_S:
                await asyncio.sleep(0)
                breathed_s = time.perf_counter()
        result = result_of(self.core, batch, out)
        summary.end(result)
        self._check_written()
        if publishing:
            messages.end(result)
            ends = await attempt(lambda: output.publish(batch, messages, partition=self.partition), "publish")
            self._scores.reach(ends.scores)
            self._bids.reach(ends.bids)
            failpoint("published")
        unsaved = self._packed(batch.next_offset, result, user_ids)
        self.next_offset = batch.next_offset
        if self.saving is not None:
            await self.saving
        self.saving = asyncio.create_task(self._save(unsaved, attempt), name=f"save {self.partition}")
        return summary

    def _check_written(self) -> None:
        """Raise what the write before has ended with: nothing more is made of states that could not be stored."""
        if self.saving is not None and self.saving.done():
            self.saving.result()

    def campaign_version(self, name: str) -> int:
        """Return the version of a campaign that the partition's log has told of; 0: none."""
        return self.core.desk.version_of(name) if self.core.desk else 0

    @property
    def stream_time_ms(self) -> int:
        """The highest event time seen, epoch ms."""
        return self.core.stream_time_ms

    async def close(self) -> None:
        """Let go of what is open for reading."""
        await self._scores.close()
        await self._bids.close()

    async def _load(self, user_ids: list[str], attempt: Attempt) -> None:
        users = self._users
        missing = [user_id for user_id in user_ids if user_id not in users]
        if missing and self.stored_offset is not None:
            blobs = await attempt(lambda: self.store.load_users(self.partition, missing), "load")
            for user_id, blob in zip(missing, blobs, strict=True):
                if blob is not None:
                    users[user_id] = self.core.adopt(decode_user_state(blob), user_id)
        keep_in_use(users, user_ids, self._cache_users)

    def _packed(self, next_offset: int, result: StepResult, needed: Collection[str]) -> _Unsaved:
        changed = {user_id: encode_user_state(user) for user_id, user in result.changed_users.items()}
        meta = self.core.meta()
        meta.scores_end, meta.bids_end = self._scores.end, self._bids.end
        meta.publish_from = self.publish_from if next_offset < self.publish_from else 0
        return _Unsaved(
            next_offset,
            encode_partition_meta(meta),
            changed,
            result.changed_timers,
            needed,
            self._booking(result, meta.bidding) if meta.bidding is not None else None,
        )

    def _booking(self, result: StepResult, bidding: BiddingMeta) -> Callable[[], None] | None:
        """Return what notes a batch's bidding in the books, once it is stored."""
        books = self.books
        if books is None:
            return None
        allowances, open_ = [replace(one) for one in result.books], list(bidding.allowances)

        def note() -> None:
            books.saved(bidding.epoch, allowances, result.wants)
            books.close(open_)

        return note

    async def _save(self, unsaved: _Unsaved, attempt: Attempt) -> None:
        failpoint("saving")
        await attempt(
            lambda: self.store.save(
                self.partition,
                expected_offset=self.stored_offset,
                next_offset=unsaved.next_offset,
                meta=unsaved.meta,
                users=unsaved.users,
                timers=unsaved.timers,
            ),
            "save",
        )
        failpoint("saved")
        self.stored_offset = unsaved.next_offset
        if unsaved.books is not None:
            unsaved.books()
        if self._needed is unsaved.needed:
            self._needed = ()
        self._let_go()

    def _let_go(self) -> None:
        """Drop the states that were in use longest ago, beyond what the cache may hold."""
        users = self._users
        beyond = len(users) - self._cache_users
        if beyond > 0:
            needed = frozenset(self._needed)
            first = islice(users, beyond + len(needed))
            for user_id in [one for one in first if one not in needed][:beyond]:
                del users[user_id]


def keep_in_use(users: dict[str, UserState], in_use: Iterable[str], most: int) -> None:
    """Move those in use to the end of a cache, from the front of which states are let go beyond `most`."""
    if 2 * len(users) <= most:
        return  # for now it does not matter who is first to go
    for user_id in in_use:
        user = users.pop(user_id, None)
        if user is not None:
            users[user_id] = user


async def open_session(
    partition: PartitionId,
    settings: Settings,
    store: StateStore,
    replicas: ReplicaSet,
    attempt: Attempt,
    *,
    scores: TopicPartition,
    bids: TopicPartition | None,
) -> Session:
    """Take up a partition where the store says that it was left.

    Parameters
    ----------
    scores, bids
        Where its outputs go; without bidding no bids are published, but those of before are read back.
    """
    record = await attempt(lambda: store.load_partition(partition), "load")
    meta = decode_partition_meta(record.meta) if record else None
    scores_end, bids_end = (meta.scores_end, meta.bids_end) if meta else (0, 0)
    earlier = EarlierScores(settings, partition, scores, start=scores_end) if scores_end >= 0 else None
    promised: EarlierBids | None = None
    if bids is not None:
        bids_end = max(bids_end, 0)  # a partition that did not bid before has nothing to be passed over
        promised = EarlierBids(settings, partition, bids, start=bids_end)
    elif meta is not None and meta.bidding is not None and bids_end >= 0:
        # Bidding was taken out. What was bid before is still owed; and put back, it goes on from where it stood.
        promised = LeftBids(settings, partition, start=bids_end)
    else:
        bids_end = -1
    core = scoring_core(
        settings,
        topic=partition.topic,
        partition=partition.partition,
        replicas=replicas,
        served=replicas.served,
        meta=meta,
        timers=record.timers if record else None,
        asking_rules=True,
    )
    return Session(
        partition,
        core,
        store,
        stored_offset=record.next_offset if record else None,
        publish_from=meta.publish_from if meta else 0,
        cache_users=settings.worker.cache_users,
        max_event_bytes=settings.worker.max_event_bytes,
        scores=Published(scores_end, earlier),
        bids=Published(bids_end, promised),
    )
