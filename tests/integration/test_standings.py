"""What is told of challengers, on a topic that holds the accounting of all batches as well."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer
from conftest import Broker

from online_models.contest import decision
from schemas.codec import encode_json
from schemas.metrics import Accounting, Contest, Standing
from streams import promotion
from streams.admin import create_topics
from streams.promotion import read_standings
from streams.settings import parse_settings

ACCOUNTING = Accounting(
    topic="events", partition=0, first_offset=0, next_offset=1, events=1, scored=1, dead=0, ignored={}, scores=1,
    examples=0, stream_time_ms=0,
)  # fmt: skip


async def test_the_last_change_and_standings_are_found_behind_the_accounting(
    embedded_broker: Broker, unique: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(promotion, "_LOOK_BACK", (50, 400, 1_000_000))
    app = unique("standings")
    topics = {one: f"{app}.{one}" for one in ("events", "scores", "examples", "models", "metrics")}
    settings = parse_settings(
        f"""
app: {app}
topics: {topics | {"dead": f"{app}.dead"}}
features: {{price: {{field: price}}}}
objectives:
  click: {{trigger: impression, outcome: click, match: item, window: 30m, challengers: {{deep: {{without: [price]}}}}}}
  sale: {{trigger: click, outcome: purchase, match: item, window: 30m, challengers: {{lean: {{without: [price]}}}}}}
""",
        {"STREAMSCORE_KAFKA_BOOTSTRAP_SERVERS": embedded_broker.bootstrap_servers},
    )
    await create_topics(settings)
    change = decision("click", "deep", before="", number=1, cause="test", version=7)
    told: dict[str, Any] = {
        name: Contest(
            objective=name,
            version=9,
            champion="",
            needed=20.0,
            standings={"deep": Standing(judged=judged, advantage=0.1, evidence=2.0)},
        )
        for name, judged in (("click", 30), ("sale", 4))
    }
    async with AIOKafkaProducer(**settings.kafka.client_kwargs()) as producer:

        async def put(topic: str, *values: Any) -> None:
            for value in values:
                await producer.send_and_wait(topics[topic], encode_json(value), key=b"click/serving", partition=0)

        await put("models", change.serving)
        await put("metrics", change.promotion, told["sale"], *[ACCOUNTING] * 100, told["click"], *[ACCOUNTING] * 100)
        found = await read_standings(settings)
        assert [one.contest for one in found.values()] == [told["click"], told["sale"]]
        assert found["click"].changes == [change.promotion]
        assert found["sale"].changes == []

        monkeypatch.setattr(promotion, "_LOOK_BACK", (50, 110))
        found = await read_standings(settings)
        assert [one.contest for one in found.values()] == [told["click"], None]
        assert found["click"].changes == [change.serving]
