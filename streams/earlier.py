"""The scores and bids that an earlier life of a partition has published, beyond what it could store.

Between publishing and storing lies a moment. Whoever was cut off there leaves scores in the log that the stored
state does not know of, and the next one comes to the same events with a newer model. What was published stands: those
scores are read back and put into the state as they are, and are not published again. So the state is the one that the
published scores belong to, and a reader seldom meets a score twice. A store that was lost altogether is rebuilt in the
same way, from the first score that is kept. The same holds for bids, which are promises of money.

A partition's scores lie in the order of their events: whoever takes it up begins where the state was stored, and all
before that was acknowledged. Only the first copy of a score counts, so reading forward is enough.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Generic, Protocol, TypeVar

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from online_models.published import NEVER
from schemas.bids import Bid
from schemas.codec import BadRecord, decode_bid, decode_score
from schemas.scores import Score
from streams.header_names import replace_unreadable_names
from streams.settings import Settings
from streams.stores import PartitionId, Unavailable

_POLL_MS = 50


class _Published(Protocol):
    """A score or a bid: which event it is of."""

    @property
    def topic(self) -> str: ...
    @property
    def partition(self) -> int: ...
    @property
    def offset(self) -> int: ...


P = TypeVar("P", bound=_Published)


class EarlierOutput(Generic[P]):
    """Reads what was published of a partition's events, in their order.

    Parameters
    ----------
    where
        The partition on which they lie.
    decode, id_of
        How a record is read, and what names it.
    start
        Offset on that topic behind the last one that the stored state reflects; 0: it reflects none.

    Attributes
    ----------
    known_from
        From which event on all that was published is still there, once some of it was returned: what retention has
        taken from the topic was of events before.
    """

    def __init__(
        self,
        settings: Settings,
        partition: PartitionId,
        where: TopicPartition,
        *,
        decode: Callable[[bytes], P],
        id_of: Callable[[P], str],
        start: int,
    ) -> None:
        self._decode = decode
        self._id_of = id_of
        self._settings = settings
        self._partition = partition
        self._where = where
        self._start = start
        self._consumer: AIOKafkaConsumer | None = None
        self._target: int | None = None
        self._ahead: dict[str, P] = {}
        self._reached = -1
        self._end: int | None = None
        self.known_from = NEVER

    @property
    def end(self) -> int | None:
        """Offset behind what was there when the partition was taken up, once all of it was returned; None before."""
        return None if self._ahead else self._end

    async def before(self, next_offset: int) -> dict[str, P]:
        """Return, by id, what was published of events below `next_offset` and not returned yet.

        Raises
        ------
        Unavailable
            Repeat it.
        """
        try:
            while self._end is None and self._reached < next_offset:
                await self._read()
        except (KafkaError, OSError) as error:
            await self.close()
            raise Unavailable(f"Kafka: {self._where.topic} cannot be read back: {error}") from None
        due = {name: one for name, one in self._ahead.items() if one.offset < next_offset}
        for name in due:
            del self._ahead[name]
        return due

    async def _read(self) -> None:
        consumer = self._consumer or await self._open()
        if consumer is None:
            self._end = self._start
            return
        batches = await consumer.getmany(self._where, timeout_ms=_POLL_MS)
        for one in self._of_ours(batches.get(self._where, ())):
            self.known_from = min(self.known_from, one.offset + 1)  # of this event a part may have been taken
            if one.offset >= self._reached:
                self._ahead.setdefault(self._id_of(one), one)
                self._reached = one.offset
        if self._target is None:  # known with the first answer; what the embedded broker says of ends is too small
            self._target = consumer.highwater(self._where)
        position = await consumer.position(self._where)
        if self._target is not None and position >= self._target:
            self._end = position
            await self.close()

    def _of_ours(self, records: object) -> Iterator[P]:
        for record in records:  # type: ignore[attr-defined]  # aiokafka is untyped
            try:
                one = self._decode(record.value or b"")
            except BadRecord:
                continue
            if (one.topic, one.partition) == self._partition:
                yield one

    async def _find(self, consumer: AIOKafkaConsumer) -> TopicPartition | None:
        """Return where to read; None: there is nothing any more."""
        return self._where

    async def _open(self) -> AIOKafkaConsumer | None:
        # What was aborted was never published; and where nobody uses transactions this makes no difference.
        consumer = AIOKafkaConsumer(
            **self._settings.kafka.client_kwargs(),
            group_id=None,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            isolation_level="read_committed",
            fetch_max_wait_ms=_POLL_MS,
        )
        try:
            await consumer.start()
            where = await self._find(consumer)
        except BaseException:
            await consumer.stop()
            raise
        if where is None:
            await consumer.stop()
            return None
        self._where = where
        replace_unreadable_names(consumer._fetcher)
        consumer.assign([self._where])
        if self._start > 0:
            consumer.seek(self._where, self._start)
        self._ahead.clear()
        self._reached = -1
        self._consumer = consumer
        begins: int = (await consumer.beginning_offsets([self._where]))[self._where]
        self.known_from = 0 if begins <= self._start else NEVER
        return consumer

    async def close(self) -> None:
        """Let go of the connection."""
        consumer, self._consumer = self._consumer, None
        if consumer is not None:
            await consumer.stop()


class EarlierScores(EarlierOutput[Score]):
    """Scores by score_id."""

    def __init__(self, settings: Settings, partition: PartitionId, where: TopicPartition, *, start: int) -> None:
        super().__init__(
            settings, partition, where, decode=decode_score, id_of=lambda score: score.score_id, start=start
        )


class EarlierBids(EarlierOutput[Bid]):
    """Bids by bid_id."""

    def __init__(self, settings: Settings, partition: PartitionId, where: TopicPartition, *, start: int) -> None:
        super().__init__(settings, partition, where, decode=decode_bid, id_of=lambda bid: bid.bid_id, start=start)


class LeftBids(EarlierBids):
    """Bids by bid_id, where bidding was taken out of the configuration since.

    Nothing else asks for their topic then, so its partitions are counted here; it may be gone, and with it the bids.
    """

    def __init__(self, settings: Settings, partition: PartitionId, *, start: int) -> None:
        where = TopicPartition(settings.topics.bids.name, partition.partition)
        super().__init__(settings, partition, where, start=start)

    async def _find(self, consumer: AIOKafkaConsumer) -> TopicPartition | None:
        topic = self._where.topic
        # Asking for all topics, as asking for one that is gone would wait for it.
        count = len((await consumer._client.fetch_all_metadata()).partitions_for_topic(topic) or ())
        return TopicPartition(topic, self._partition.partition % count) if count else None
