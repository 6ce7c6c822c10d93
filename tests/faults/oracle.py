"""Compares what a battered deployment has left behind with cores that nobody disturbed, event by event.

The log is the truth: `events` as it stands is run once through a scoring core in memory, each event with the model
version that its published score names (rebuilt from `examples`), and `examples` once through a learner. What the
topics and the store hold must be that, bit for bit.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

from aiokafka import TopicPartition
from aiokafka.structs import ConsumerRecord
from msgspec import Struct

from online_models.crowd import CrowdCounts
from online_models.crowd_distribution import CrowdReplica
from online_models.learning import LearningCore
from online_models.records import DecodedBatch, decode_batch
from online_models.scoring import ScoringCore
from online_models.step import Collected
from schemas.codec import (
    decode_example,
    decode_partition_meta,
    decode_score,
    decode_user_state,
    encode_json,
    encode_partition_meta,
    encode_user_state,
)
from schemas.examples import Example
from streams.dead import parse_dead
from streams.learner import checkpoint_name, objectives_of
from streams.new_models import new_cores, new_replicas
from streams.reading import read_to_end, reader
from streams.replay.as_live import AsLive, open_as_live
from streams.settings import Settings
from streams.stores import PartitionId, StateStore, open_store

_TRIED_EXAMPLES = 200


class Verdict(Struct):
    """What was found.

    Attributes
    ----------
    events
        Records in the log.
    lost
        Events that were fed and are not in the log, or that have not got a score, an example or a dead letter
        that they should have.
    duplicates
        Scores beyond the first of their id.
    state_equal
        Published scores, user features, open attributions and timers are those of the undisturbed core.
    model_equal
        Examples, the learners' models and counts, and the models that a new scorer would read are those of the
        undisturbed learner.
    remarks
        What differed, in words.
    """

    events: int = 0
    lost: int = 0
    duplicates: int = 0
    state_equal: bool = True
    model_equal: bool = True
    remarks: list[str] = []

    def state_differs(self, why: str) -> None:
        self.state_equal = False
        self.remarks.append(why)

    def model_differs(self, why: str) -> None:
        self.model_equal = False
        self.remarks.append(why)


Records = dict[int, list[ConsumerRecord]]


async def read_topic(settings: Settings, topic: str) -> Records:
    """Return all that committed readers find on a topic, by partition."""
    found: Records = {}
    async with reader(settings.kafka, [topic]) as consumer:
        async for records in read_to_end(consumer):
            for record in records:
                found.setdefault(record.partition, []).append(record)
    return found


async def judge(settings: Settings, fed_ids: Iterable[str]) -> Verdict:
    """Compare what is there with what should be.

    Parameters
    ----------
    fed_ids
        Ids of the events that the feed was told are in the log.
    """
    verdict = Verdict()
    topics = settings.topics
    # Nobody writes any more. At its end each reader waits a moment for more: all of them the same moment.
    as_live, events, scored, examples, refused_ones, models = await asyncio.gather(
        open_as_live(topics.events.name, settings),
        *(
            read_topic(settings, one.name)
            for one in (topics.events, topics.scores, topics.examples, topics.dead, topics.models)
        ),
    )
    verdict.events = sum(map(len, events.values()))
    scores = _first_scores(scored, verdict)
    dead = {parse_dead(one).source_place for some in refused_ones.values() for one in some}
    store = open_store(settings)
    released: dict[tuple[str, int, int, int], bytes] = {}
    try:
        missing = set(fed_ids)
        for number, records in events.items():
            batch = decode_batch(
                records, topic=topics.events.name, partition=number, max_bytes=settings.worker.max_event_bytes
            )
            missing -= {event.event_id for _, _, event in batch.events if hasattr(event, "event_id")}
            place = PartitionId(topics.events.name, number)
            refused = set(_dead_offsets(batch, records))
            verdict.lost += sum((number, offset) not in dead for offset in refused)
            await _judge_partition(place, batch, as_live, settings, store, scores, released, verdict)
        verdict.lost += len(missing)
        for score_id in scores:
            verdict.state_differs(f"score {score_id} was published and should not have been")
        _judge_examples(examples, released, verdict)
        await _judge_models(settings, examples, models, store, verdict)
    finally:
        as_live.close()
        await store.close()
    return verdict


def _dead_offsets(batch: DecodedBatch, records: list[ConsumerRecord]) -> Iterable[int]:
    events = {offset for offset, _, _ in batch.events}
    return (one.offset for one in records if one.offset not in events and one.value is not None)


def _first_scores(records: Records, verdict: Verdict) -> dict[str, bytes]:
    first: dict[str, bytes] = {}
    for some in records.values():
        for record in some:
            score_id = decode_score(record.value).score_id
            if score_id in first:
                verdict.duplicates += 1
            else:
                first[score_id] = record.value
    return first


async def _judge_partition(
    place: PartitionId,
    batch: DecodedBatch,
    as_live: AsLive,
    settings: Settings,
    store: StateStore,
    scores: dict[str, bytes],
    released: dict[tuple[str, int, int, int], bytes],
    verdict: Verdict,
) -> None:
    core = ScoringCore(
        topic=place.topic,
        partition=place.partition,
        features=settings.features,
        objectives=settings.objectives,
        rankings=settings.rankings,
        replicas=as_live.replicas,
        served=as_live.served,
        n_reasons=settings.worker.n_reasons,
    )
    out = Collected({})
    arrivals = ((place.partition, *one) for one in batch.events)
    for _, offset, source_ts, event in as_live.moving(arrivals):
        core.process(offset, source_ts, event, out)
    lost = set()
    for score in out.scores:
        published = scores.pop(score.score_id, None)
        if published is None:
            lost.add(score.offset)
        elif published != encode_json(score):
            verdict.state_differs(f"score {score.score_id}: {published!r}, the core says {encode_json(score)!r}")
    verdict.lost += len(lost)
    if lost:
        verdict.remarks.append(f"{place}: no score for {len(lost)} events, such as {min(lost)}")
    for example in out.examples:
        released[_released_by(example)] = encode_json(example)
    record = await store.load_partition(place)
    if record is None:
        verdict.state_differs(f"{place}: the store holds nothing")
        return
    if record.next_offset < batch.next_offset:
        verdict.state_differs(f"{place}: stored up to {record.next_offset}, the log ends at {batch.next_offset}")
    timers = {user_id: due for user_id, due in core.take_timers().items() if due is not None}
    if timers != record.timers:
        verdict.state_differs(f"{place}: timers differ")
    stored, meta = decode_partition_meta(record.meta), core.meta()
    stored.scores_end = meta.scores_end = stored.bids_end = meta.bids_end = -1  # of the store only
    if encode_partition_meta(stored) != encode_partition_meta(meta):
        verdict.state_differs(f"{place}: {stored} is stored, the core says {meta}")
    users = sorted(out.changed)
    states = await store.load_users(place, users)
    wrong = [
        user_id
        for user_id, state in zip(users, states, strict=True)
        if state is None
        or encode_user_state(core.adopt(decode_user_state(state))) != encode_user_state(out.users[user_id])
    ]
    if wrong:
        verdict.state_differs(f"{place}: {len(wrong)} of {len(users)} users differ")


def _released_by(example: Example) -> tuple[str, int, int, int]:
    return example.topic, example.partition, example.offset, example.seq


def _judge_examples(examples: Records, released: dict[tuple[str, int, int, int], bytes], verdict: Verdict) -> None:
    seen = set()
    for some in examples.values():
        for record in some:
            key = _released_by(decode_example(record.value))
            if key not in seen and released.get(key) != record.value:
                verdict.model_differs(f"example {record.value!r}, the core says {released.get(key)!r}")
            seen.add(key)
    missing = {(topic, partition, offset) for topic, partition, offset, seq in set(released) - seen}
    verdict.lost += len(missing)
    if missing:
        verdict.remarks.append(f"no example for {len(missing)} events, such as {min(missing)}")


async def _judge_models(
    settings: Settings, examples: Records, models: Records, store: StateStore, verdict: Verdict
) -> None:
    partitions = await _partitions_of_examples(settings)
    replicas = new_replicas(settings)
    for records in models.values():
        for record in records:
            replicas.apply(record.value)
    for number in range(partitions):
        read = [(one.offset, decode_example(one.value)) for one in examples.get(number, ())]
        objectives = objectives_of(number, partitions, settings.learned)
        for core, saved in zip(new_cores(objectives, settings), new_cores(objectives, settings), strict=True):
            own = [(offset, one) for offset, one in read if one.objective == core.objective]
            core.step(own)
            found = await store.load_blob(checkpoint_name(settings, core.objective))
            if found is None or not saved.restore(found[0]):
                if own:
                    verdict.model_differs(f"{core.objective}: no checkpoint of it")
                continue
            if _learned(core) != _learned(saved):
                verdict.model_differs(f"{core.objective}: the learner has come to another model or place")
            replica = replicas[core.objective]
            if isinstance(replica, CrowdReplica):
                if replica.weights != _counts(core):
                    verdict.model_differs(f"{core.objective}: a new scorer would read other counts")
                continue
            for _, one in own[-_TRIED_EXAMPLES:]:
                if one.features and replica.score_one(one.features, 0)[0] != _says(core, one):
                    verdict.model_differs(f"{core.objective}: a new scorer would read another model")
                    break


async def _partitions_of_examples(settings: Settings) -> int:
    async with reader(settings.kafka, [settings.topics.examples.name]) as consumer:
        found: set[TopicPartition] = consumer.assignment()
        return len(found)


def _learned(core: LearningCore) -> tuple[Any, ...]:
    return (
        core._estimator.to_bytes(),
        core.next_offset,
        core.learned,
        core.refused,
        core._sources,
        core._metrics.state(),
    )


def _counts(core: LearningCore) -> dict[str, float]:
    assert isinstance(core._estimator, CrowdCounts)
    return core._estimator.weights


def _says(core: LearningCore, example: Example) -> float:
    return float(core._estimator.predict_proba_one(example.features)[True])
