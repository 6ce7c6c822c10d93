"""Workers that only score and workers that only learn; and that what is fast comes to what the core comes to alone."""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

from aiokafka import AIOKafkaProducer
from conftest import Broker
from site_under_test import Site, fed_and_accounted, shop_events

from benchmarks.deployment import Servers, all_records, create, create_ours, fill, our_workers, watched
from benchmarks.peers.workload import PARTITIONS, SCORING_YAML, by_partition
from online_models import sums, timers
from online_models.records import decode_batch
from online_models.scoring import ScoringCore
from schemas.codec import decode_example, decode_model_record, decode_score, encode_json
from schemas.models import ModelManifest
from streams.admin import create_topics
from streams.new_models import new_cores, new_replicas
from streams.settings import parse_settings

EVENTS = 3_000
WITHIN_S = 60
SETTINGS = parse_settings(SCORING_YAML.replace("window: 10s", "window: 1s"), {})


def cores(topic: str, replicas: Any) -> list[ScoringCore]:
    return [
        ScoringCore(
            topic=topic,
            partition=number,
            features=SETTINGS.features,
            objectives=SETTINGS.objectives,
            replicas=replicas,
        )
        for number in range(PARTITIONS)
    ]


def scored_alone(topic: str, records: list[Any], replicas: Any) -> tuple[list[bytes], list[bytes]]:
    """Return scores and examples of a core that is given all records of a partition at once."""
    scores, examples = [], []
    for core in cores(topic, replicas):
        own = [one for one in records if one.partition == core.partition]
        result = core.step(decode_batch(own, topic=topic, partition=core.partition), {})
        scores += map(encode_json, result.scores)
        examples += map(encode_json, result.examples)
    return scores, examples


async def servers_of(broker: Broker, valkey_url: str, app: str) -> Servers:
    """Create the topics of an app; its events are on ``<app>.events``."""
    servers = Servers(broker.bootstrap_servers, valkey_url, broker.kind)
    await create(servers, (f"{app}.events", PARTITIONS))
    await create_ours(servers, app)
    return servers


async def test_live_scores_are_those_of_the_core_alone_bit_for_bit(
    broker: Broker, valkey_url: str, unique: Callable[[str], str]
) -> None:
    app = unique("alone")
    source = f"{app}.events"
    servers = await servers_of(broker, valkey_url, app)
    await fill(servers, source, by_partition(EVENTS))
    events = await all_records(servers, source, PARTITIONS)
    (learner,) = new_cores(SETTINGS.objectives, SETTINGS)
    _, examples = scored_alone(source, events, new_replicas(SETTINGS))
    learned = learner.step([(number, decode_example(value)) for number, value in enumerate(examples)])
    model = [record for one in learned for record in one.records]
    async with AIOKafkaProducer(bootstrap_servers=servers.kafka) as producer:
        for key, value in model:
            await producer.send(f"{app}.models", key=key, value=value, partition=0)
    replicas = new_replicas(SETTINGS)
    for _, value in model:
        replicas.apply(value)
    expected, expected_examples = scored_alone(source, events, replicas)

    with our_workers(servers, source, app, ["scoring"], window="1s") as processes:
        await watched(processes, servers, f"{app}.scores", EVENTS)
        async with asyncio.timeout(WITHIN_S):
            while len(live_examples := await all_records(servers, f"{app}.examples", 1)) < len(expected_examples):
                assert not processes[0].ended, processes[0].last_words

    live = await all_records(servers, f"{app}.scores", PARTITIONS)
    assert replicas["click"].version >= 1000
    assert sorted(one.value for one in live) == sorted(expected)
    assert sorted(one.value for one in live_examples) == sorted(expected_examples)
    for number in range(PARTITIONS):
        offsets = [decode_score(one.value).offset for one in live if one.partition == number]
        assert offsets == sorted(offsets)


async def test_one_process_scores_with_what_another_learns(
    kafka_broker: Broker, valkey_url: str, unique: Callable[[str], str]
) -> None:
    app = unique("roles")
    source = f"{app}.events"
    servers = await servers_of(kafka_broker, valkey_url, app)
    events = by_partition(2 * EVENTS)
    with our_workers(servers, source, app, ["scoring", "learning"], window="1s") as processes:
        await fill(servers, source, {number: those[: len(those) // 2] for number, those in events.items()})
        await watched(processes, servers, f"{app}.scores", EVENTS - PARTITIONS)
        async with asyncio.timeout(WITHIN_S):
            while not await manifests(servers, app):
                assert not any(one.ended for one in processes), processes[1].last_words
        await fill(servers, source, {number: those[len(those) // 2 :] for number, those in events.items()})
        await watched(processes, servers, f"{app}.scores", 2 * EVENTS)

    scores = [decode_score(one.value) for one in await all_records(servers, f"{app}.scores", PARTITIONS)]
    informed = [one for one in scores if one.model_version]
    assert len(scores) == len({one.score_id for one in scores}) == 2 * EVENTS
    assert informed
    assert all(one.reasons for one in informed)


async def manifests(servers: Servers, app: str) -> list[ModelManifest]:
    records = [decode_model_record(one.value) for one in await all_records(servers, f"{app}.models", 1) if one.value]
    return [one for one in records if isinstance(one, ModelManifest)]


async def test_a_process_of_its_own_answers_over_http_and_takes_no_partition(
    broker: Broker, valkey_url: str, unique: Callable[[str], str], tmp_path: Path
) -> None:
    site = Site(tmp_path, "shop", broker.bootstrap_servers, valkey_url, unique("serving"))
    await create_topics(site.settings)
    try:
        worker = site.start_worker()
        site.environment["STREAMSCORE_WORKER_ROLE"] = "serving"
        serving = site.start_worker()
        assert (await fed_and_accounted(site, shop_events(EVENTS)))["unaccounted"] == 0
        async with asyncio.timeout(WITHIN_S):
            while not any(one["model_version"] for one in json.loads(site.get("/v1/models")[1])["models"]):
                await asyncio.sleep(0.1)

        answer = json.loads(site.post("/v1/rank", {"user_id": "u-1", "candidates": ["a", "b"]}))
        status = json.loads(site.get("/status")[1])
        worker.send_signal(signal.SIGSTOP)  # whoever scores is held up, and the answer does not wait for it
        held_up = json.loads(site.post("/v1/rank", {"user_id": "u-1", "candidates": ["a", "b"]}))
        worker.send_signal(signal.SIGCONT)
        serving.send_signal(signal.SIGTERM)

        assert sorted(one["item_id"] for one in answer["ranked"]) == ["a", "b"]
        assert len(held_up["ranked"]) == 2
        assert (status["ready"], status["partitions"]) == (True, [])
        assert serving.wait(15) == 0, site.logs()
        told = [path.read_text() for path in site.folder.glob("worker-*.log")]
        assert len(told) == 2
        assert all(f'"compiled":{json.dumps(sums.COMPILED and timers.COMPILED)}' in log for log in told)
        async with asyncio.timeout(WITHIN_S):
            while {answer["event_id"], held_up["event_id"]} - {
                decode_score(one.value).event_id
                for one in await all_records(
                    Servers(broker.bootstrap_servers, valkey_url, broker.kind), site.settings.topics.scores.name, 4
                )
            }:
                await asyncio.sleep(0.2)
    finally:
        site.end()
