"""What one batch leads to, as records for its topics.

Scores and accounting of a partition keep its order. Scores and dead letters go to the partition
that has the number of their event's: the events are spread by user already, so a user's scores stay
in order, and no key has to be hashed again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from aiokafka.errors import MessageSizeTooLargeError

from online_models.contest import Decision
from online_models.learning import Publication
from online_models.records import DecodedBatch
from schemas.codec import encode_json
from schemas.dead_letters import OMITTED_HEADER
from schemas.metrics import Contest as ContestMetric
from schemas.metrics import Progress
from streams.freshness import Freshness
from streams.lease import Lease
from streams.messages import Messages
from streams.out_records import OutRecord
from streams.output import Consumed, RecordOutput, partition_for_key
from streams.runner import Ends
from streams.sections import Topics
from streams.stores import PartitionId

# Well below the megabyte that every broker takes.
_KEPT_BYTES = 500_000

Batches = dict[tuple[str, int], list[OutRecord]]


def _without_value(record: OutRecord) -> OutRecord:
    """Keep what says where a dead letter came from; the record itself still stands there."""
    if len(record.value or b"") < _KEPT_BYTES:
        return record
    return OutRecord(record.key, b"", [*record.headers, (OMITTED_HEADER, str(len(record.value or b"")).encode())])


class Publisher:
    """Publishes batches; the `Output` of live scoring.

    Parameters
    ----------
    partitions
        Number of partitions of each topic, by name.
    lease
        Unless it is confirmed nothing is published: every method raises Fenced or Unavailable.
    """

    def __init__(
        self,
        output: RecordOutput,
        topics: Topics,
        partitions: Mapping[str, int],
        freshness: Freshness,
        lease: Lease | None = None,
    ) -> None:
        self._output = output
        self._lease = lease
        self._term = lease.term if lease else 0
        self._freshness = freshness
        self._topics = topics
        self._partitions = partitions

    async def publish(self, batch: DecodedBatch, messages: Messages, *, partition: PartitionId) -> Ends:
        """Publish what a batch of `partition` led to, and wait until the broker has all of it.

        Returns
        -------
        Ends
            Of the partition's scores and bids.
        """
        await self._check_lease()
        batches = self._batches(batch, messages, partition.partition)
        consumed = Consumed(batch.first_offset, batch.next_offset)
        scores = self._at(self._topics.scores.name, partition.partition)
        # They must be there before their examples: whoever is cut off in between leaves examples of scores that nobody
        # has seen, and the next owner scores those triggers with another model.
        first = scores if messages.labels_its_own else None
        try:
            ends = await self._output.publish(batches, consumed=consumed, first=first)
        except MessageSizeTooLargeError:  # the dead letters' topic takes less than that of the events
            where = self._at(self._topics.dead.name, partition.partition)
            if where not in batches:
                raise
            batches[where] = [_without_value(record) for record in batches[where]]
            ends = await self._output.publish(batches, consumed=consumed, first=first)
        for objective in messages.examples:
            end = ends.get(self._examples_of(objective))
            if end is not None:
                self._freshness.examples_published(objective, end)
        bids = ends.get(self._at(self._topics.bids.name, partition.partition)) if messages.bids else None
        return Ends(ends.get(scores), bids)

    async def _check_lease(self) -> None:
        if self._lease is not None:
            await self._lease.check(self._term)

    def _examples_of(self, objective: str) -> tuple[str, int]:
        name = self._topics.examples.name
        return name, self._keyed(name, objective.encode())

    def _batches(self, batch: DecodedBatch, messages: Messages, number: int) -> Batches:
        batches: Batches = {}
        topics = self._topics
        if messages.bids:
            batches[self._at(topics.bids.name, number)] = messages.bids
        if messages.scores:
            batches[self._at(topics.scores.name, number)] = messages.scores
        for objective, examples in messages.examples.items():
            batches.setdefault(self._examples_of(objective), []).extend(examples)
        if batch.dead_letters:
            batches[self._at(topics.dead.name, number)] = [
                OutRecord(dead.key, dead.value, headers=dead.headers) for dead in batch.dead_letters
            ]
        accounting = OutRecord(f"{self._topics.events.name}-{number}".encode(), messages.accounting)
        batches.setdefault(self._at(topics.metrics.name, number), []).append(accounting)
        return batches

    def _at(self, topic: str, number: int) -> tuple[str, int]:
        return topic, number % self._partitions[topic]

    def _keyed(self, topic: str, key: bytes) -> int:
        return partition_for_key(key, self._partitions[topic])

    async def publish_models(
        self, publications: Sequence[Publication], told: Sequence[Progress | ContestMetric]
    ) -> None:
        """Publish model versions in order, and how good the scores were so far."""
        await self._check_lease()
        batches: Batches = {}
        models, metrics = self._topics.models.name, self._topics.metrics.name
        for publication in publications:
            for key, value in publication.records:
                # All records of an objective share a partition, or their order would be lost.
                where = (models, self._keyed(models, key.partition(b"/")[0]))
                batches.setdefault(where, []).append(OutRecord(key, value))
        for one in told:
            key = one.objective.encode()
            batches.setdefault((metrics, self._keyed(metrics, key)), []).append(OutRecord(key, encode_json(one)))
        if batches:
            await self._output.publish(batches)

    async def publish_decision(self, made: Decision) -> None:
        """Tell the scorers what is served from here on, and everybody else why."""
        await self._check_lease()
        await self._output.publish(batches_of_decision(made, self._topics, self._partitions))


def batches_of_decision(made: Decision, topics: Topics, partitions: Mapping[str, int]) -> Batches:
    """Return the records of a change of what is served."""
    key = made.serving.objective.encode()
    models, metrics = topics.models.name, topics.metrics.name
    return {
        (models, partition_for_key(key, partitions[models])): [OutRecord(key + b"/serving", encode_json(made.serving))],
        (metrics, partition_for_key(key, partitions[metrics])): [OutRecord(key, encode_json(made.promotion))],
    }
