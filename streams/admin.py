"""Topics: created with what the configuration declares."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import KafkaError, TopicAlreadyExistsError, for_code

from online_models.features.durations import parse_duration_ms
from streams.sections import TopicSettings
from streams.settings import Settings

_STAMP, _POLICY = "message.timestamp.type", "cleanup.policy"
# Before Kafka 3.6 there is only the latter, since 4.0 only the former.
_MOST_AHEAD = ("message.timestamp.after.max.ms", "message.timestamp.difference.max.ms")
# What Kafka 4 lets producers by default. It can close windows early, but makes no visitor late, which takes a day.
_HARMLESS_MS = 3_600_000
_ASK_S = 10.0


class TopicReport(NamedTuple):
    """What became of one topic.

    Attributes
    ----------
    trusts_producers
        It was there, and takes from producers' clocks what event times are held against.
    forgets
        It was there, and is not compacted, as it must be: what is old is lost.
    declared
        Number of partitions that the configuration says.
    """

    name: str
    partitions: int
    created: bool
    trusts_producers: bool = False
    forgets: bool = False
    declared: int = 0


def topic_configs(topic: TopicSettings, settings: Settings) -> dict[str, str]:
    """Return the broker-side configuration of a topic."""
    configs: dict[str, str] = {}
    if topic.name == settings.topics.events.name:
        # Event times are held against the record's. By the broker's clock, no producer's wrong one closes all windows.
        configs[_STAMP] = "LogAppendTime"
    if topic.name == settings.topics.campaigns.name:
        configs[_POLICY] = "compact"
        # A partition that nobody had meanwhile must still hear that a campaign was taken away.
        configs["delete.retention.ms"] = str(30 * 86_400_000)
    if topic.name == settings.topics.models.name:
        configs[_POLICY] = "compact"
        # Scorers that start read the whole topic; a small segment lets compaction keep it short.
        configs["segment.bytes"] = str(64 * 1024 * 1024)
    if topic.name == settings.topics.dead.name:
        configs["max.message.bytes"] = str(32 * 1024 * 1024)  # whatever an events topic may have taken
    if topic.retention is not None:
        configs["retention.ms"] = str(parse_duration_ms(topic.retention))
    return configs


async def create_topics(settings: Settings, topics: Sequence[TopicSettings] | None = None) -> list[TopicReport]:
    """Create the topics that are missing, by default all of ours; those that exist are left as they are."""
    topics = settings.used_topics if topics is None else topics
    client = AIOKafkaAdminClient(**settings.kafka.client_kwargs())
    await client.start()
    try:
        existing = await _partitions(client, [topic.name for topic in topics])
        reports = []
        for topic in topics:
            if topic.name in existing:
                reports.append(await _report(client, topic, existing[topic.name], settings))
                continue
            created = await _create(client, topic, topic_configs(topic, settings))
            reports.append(TopicReport(topic.name, topic.partitions, created, declared=topic.partitions))
        return reports
    finally:
        await client.close()


async def _create(client: AIOKafkaAdminClient, topic: TopicSettings, configs: dict[str, str]) -> bool:
    new = NewTopic(topic.name, topic.partitions, topic.replication, topic_configs=configs)
    response = await client.create_topics([new])
    for _, code, *message in response.topic_errors:
        if code and for_code(code) is not TopicAlreadyExistsError:
            raise for_code(code)(f"topic {topic.name}: {' '.join(str(part) for part in message if part)}")
        if code:
            return False
    return True


async def _partitions(client: AIOKafkaAdminClient, names: Sequence[str]) -> dict[str, int]:
    found = await client.list_topics()
    wanted = [name for name in names if name in found]
    if not wanted:
        return {}
    described = await client.describe_topics(wanted)
    return {topic["topic"]: len(topic["partitions"]) for topic in described}


async def _report(
    client: AIOKafkaAdminClient, topic: TopicSettings, partitions: int, settings: Settings
) -> TopicReport:
    """Tell how a topic stands that was there."""
    wanted = topic_configs(topic, settings)
    said = await _configs(client, topic.name) if {_STAMP, _POLICY} & wanted.keys() else {}
    return TopicReport(
        topic.name,
        partitions,
        False,
        trusts_producers=_STAMP in wanted and _trusts_producers(said),
        forgets=_POLICY in wanted and "compact" not in said.get(_POLICY, "compact"),
        declared=topic.partitions,
    )


async def _configs(client: AIOKafkaAdminClient, topic: str) -> dict[str, str]:
    """Return how the broker keeps a topic; empty where it does not say."""
    try:
        async with asyncio.timeout(_ASK_S):
            responses = await client.describe_configs([ConfigResource(ConfigResourceType.TOPIC, topic)])
    except (KafkaError, OSError):  # not allowed, or the embedded broker, which cannot
        return {}
    return {name: value for one in responses for *_, entries in one.resources for name, value, *_ in entries}


def _trusts_producers(said: Mapping[str, str]) -> bool:
    """Tell whether a producer's clock can be far ahead on a topic."""
    bounds = [int(said[name]) for name in _MOST_AHEAD if said.get(name)]
    return said.get(_STAMP) == "CreateTime" and min(bounds, default=_HARMLESS_MS + 1) > _HARMLESS_MS
