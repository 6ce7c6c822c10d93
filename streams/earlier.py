"""The scores that an earlier life of a partition has published, beyond what it could store.

Between publishing and storing lies a moment. Whoever was cut off there leaves scores in the log that the stored
state does not know of, and the next one comes to the same events with a newer model. What was published stands: those
scores are read back and put into the state as they are, and are not published again. So the state is the one that the
published scores belong to, and a reader seldom meets a score twice. A store that was lost altogether is rebuilt in the
same way, from the first score that is kept.

A partition's scores lie in the order of their events: whoever takes it up begins where the state was stored, and all
before that was acknowledged. Only the first copy of a score counts, so reading forward is enough.
"""

from __future__ import annotations

from collections.abc import Iterator

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from schemas.codec import BadRecord, decode_score
from schemas.scores import Score
from streams.settings import Settings
from streams.stores import PartitionId, Unavailable

_POLL_MS = 50


class EarlierScores:
    """Reads what was published of a partition's events, in their order.

    Parameters
    ----------
    start
        Offset on the topic of scores behind the last score that the stored state reflects; 0: it reflects none.
    """

    def __init__(self, settings: Settings, partition: PartitionId, where: TopicPartition, *, start: int) -> None:
        self._settings = settings
        self._partition = partition
        self._where = where
        self._start = start
        self._consumer: AIOKafkaConsumer | None = None
        self._target: int | None = None
        self._ahead: dict[str, Score] = {}
        self._reached = -1
        self._end: int | None = None

    @property
    def end(self) -> int | None:
        """Offset behind what was there when the partition was taken up, once all of it was returned; None before."""
        return None if self._ahead else self._end

    async def before(self, next_offset: int) -> dict[str, Score]:
        """Return, by score_id, the published scores of events below `next_offset` that were not returned yet.

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
            raise Unavailable(f"Kafka: scores cannot be read back: {error}") from None
        due = {score_id: score for score_id, score in self._ahead.items() if score.offset < next_offset}
        for score_id in due:
            del self._ahead[score_id]
        return due

    async def _read(self) -> None:
        consumer = self._consumer or await self._open()
        batches = await consumer.getmany(self._where, timeout_ms=_POLL_MS)
        for score in self._of_ours(batches.get(self._where, ())):
            if score.offset >= self._reached:
                self._ahead.setdefault(score.score_id, score)
                self._reached = score.offset
        if self._target is None:  # known with the first answer; what the embedded broker says of ends is too small
            self._target = consumer.highwater(self._where)
        position = await consumer.position(self._where)
        if self._target is not None and position >= self._target:
            self._end = position
            await self.close()

    def _of_ours(self, records: object) -> Iterator[Score]:
        for record in records:  # type: ignore[attr-defined]  # aiokafka is untyped
            try:
                score = decode_score(record.value or b"")
            except BadRecord:
                continue
            if (score.topic, score.partition) == self._partition:
                yield score

    async def _open(self) -> AIOKafkaConsumer:
        # Aborted scores were never published; and where nobody uses transactions this makes no difference.
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
        except BaseException:
            await consumer.stop()
            raise
        consumer.assign([self._where])
        if self._start > 0:
            consumer.seek(self._where, self._start)
        self._ahead.clear()
        self._reached = -1
        self._consumer = consumer
        return consumer

    async def close(self) -> None:
        """Let go of the connection."""
        consumer, self._consumer = self._consumer, None
        if consumer is not None:
            await consumer.stop()
