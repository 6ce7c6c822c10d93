"""Topics: created with what the configuration declares."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import TopicAlreadyExistsError, for_code

from online_models.features.durations import parse_duration_ms
from streams.sections import TopicSettings
from streams.settings import Settings


class TopicReport(NamedTuple):
    """What became of one topic."""

    name: str
    partitions: int
    created: bool


def topic_configs(topic: TopicSettings, settings: Settings) -> dict[str, str]:
    """Return the broker-side configuration of a topic."""
    configs: dict[str, str] = {}
    if topic.name == settings.topics.campaigns.name:
        configs["cleanup.policy"] = "compact"
        # A partition that nobody had meanwhile must still hear that a campaign was taken away.
        configs["delete.retention.ms"] = str(30 * 86_400_000)
    if topic.name == settings.topics.models.name:
        configs["cleanup.policy"] = "compact"
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
                reports.append(TopicReport(topic.name, existing[topic.name], created=False))
                continue
            created = await _create(client, topic, topic_configs(topic, settings))
            reports.append(TopicReport(topic.name, topic.partitions, created))
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
