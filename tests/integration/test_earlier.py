"""What an earlier owner of a partition has published is read back, on both brokers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.records_to_delete import RecordsToDelete
from msgspec import structs
from site_under_test import Site

from online_models.published import NEVER
from schemas.codec import encode_json
from schemas.scores import Score
from streams.admin import create_topics
from streams.earlier import EarlierScores
from streams.out_records import OutRecord
from streams.output import KafkaOutput
from streams.settings import Settings
from streams.stores import PartitionId
from streams.transactions import make_transactional_producer

SCORE = Score(
    score_id="",
    event_id="e",
    user_id="u",
    ts=1,
    objective="click",
    score=0.25,
    model="ftrl",
    model_version=7,
    reasons=[],
    topic="",
    partition=1,
    offset=0,
    source_ts=1,
)


def a_score(settings: Settings, offset: int, *, partition: int = 1, version: int = 7) -> OutRecord:
    topic = settings.topics.events.name
    score_id = f"{topic}-{partition}-{offset}:click"
    one = structs.replace(
        SCORE, score_id=score_id, topic=topic, partition=partition, offset=offset, model_version=version
    )
    return OutRecord(b"u", encode_json(one))


async def a_site(tmp_path: Path, bootstrap_servers: str, name: str) -> Settings:
    settings = Site(tmp_path, "shop", bootstrap_servers, "redis://127.0.0.1:1", name).settings
    await create_topics(settings)
    return settings


def earlier(settings: Settings, *, start: int) -> EarlierScores:
    where = TopicPartition(settings.topics.scores.name, 1)
    return EarlierScores(settings, PartitionId(settings.topics.events.name, 1), where, start=start)


async def test_the_first_copy_of_each_score_is_handed_out_once_and_with_its_batch(
    tmp_path: Path, broker: Any, unique: Any
) -> None:
    settings = await a_site(tmp_path, broker.bootstrap_servers, unique("earlier"))
    output = KafkaOutput(settings)
    await output.start()
    where = (settings.topics.scores.name, 1)
    stored = await output.publish({where: [a_score(settings, offset) for offset in range(3)]})
    # Cut off: a part of the next batch, then all of it by a later owner, and another partition's between them.
    await output.publish({where: [a_score(settings, 3), a_score(settings, 5), a_score(settings, 4, partition=5)]})
    ends = await output.publish({where: [a_score(settings, offset, version=9) for offset in (3, 5, 6, 9)]})
    await output.stop()

    scores = earlier(settings, start=stored[where])
    first, second = await scores.before(5), await scores.before(6)
    between = scores.end
    rest = await scores.before(100)

    assert [(one.offset, one.model_version) for one in first.values()] == [(3, 7)]
    assert [(one.offset, one.model_version) for one in second.values()] == [(5, 7)]
    assert between is None
    assert [(one.offset, one.model_version) for one in rest.values()] == [(6, 9), (9, 9)]
    assert scores.end == ends[where]


async def test_nothing_behind_the_stored_place_is_known_at_once(tmp_path: Path, broker: Any, unique: Any) -> None:
    settings = await a_site(tmp_path, broker.bootstrap_servers, unique("earlier"))

    scores = earlier(settings, start=0)

    assert await scores.before(10) == {}
    assert scores.end == 0
    assert scores.known_from == 0, "nothing was taken"


async def test_what_retention_has_taken_was_of_events_before_the_first_that_is_left(
    tmp_path: Path, kafka_broker: Any, unique: Any
) -> None:
    settings = await a_site(tmp_path, kafka_broker.bootstrap_servers, unique("earlier"))
    output, admin = KafkaOutput(settings), AIOKafkaAdminClient(**settings.kafka.client_kwargs())
    await output.start()
    await admin.start()
    where = TopicPartition(settings.topics.scores.name, 1)

    async def known_from(start: int) -> int:
        scores = earlier(settings, start=start)
        await scores.before(10)
        await scores.close()
        return scores.known_from

    await output.publish({where: [a_score(settings, offset) for offset in (3, 5, 5, 8)]})
    whole = await known_from(0)
    await admin.delete_records({where: RecordsToDelete(2)})
    left = [await known_from(start) for start in (0, 1, 2, 3)]
    await admin.delete_records({where: RecordsToDelete(4)})
    nothing = [await known_from(start) for start in (0, 4)]
    await admin.close()
    await output.stop()

    assert whole == 0
    assert left == [6, 6, 0, 0]
    assert nothing == [NEVER, 0]


async def test_what_a_transaction_has_aborted_was_never_published(
    tmp_path: Path, kafka_broker: Any, unique: Any
) -> None:
    settings = await a_site(tmp_path, kafka_broker.bootstrap_servers, unique("earlier"))
    producer = make_transactional_producer(settings, unique("aborted"))
    await producer.start()
    topic = settings.topics.scores.name
    for offset in (1, 2):
        await producer.begin_transaction()
        await producer.send_and_wait(topic, a_score(settings, offset).value, key=b"u", partition=1)
        await (producer.abort_transaction() if offset == 1 else producer.commit_transaction())
    await producer.stop()

    scores = earlier(settings, start=0)
    found = await scores.before(10)

    assert [one.offset for one in found.values()] == [2]
    assert scores.end == 4, "two records and two markers"
