"""What a worker says while it is not ready."""

from __future__ import annotations

from typing import Any

import pytest

from streams import logs
from streams.app import Worker
from streams.configs import shipped_config
from streams.settings import load_settings
from streams.transport.group import Place


@pytest.fixture
async def worker(monkeypatch: pytest.MonkeyPatch) -> Worker:
    monkeypatch.setattr(logs._kafka_client, "said", "")
    made = Worker(load_settings(shipped_config("shop"), {}))
    made._ready.set()
    return made


async def test_who_is_not_in_its_group_says_why_and_who_is_and_has_nothing_to_do_does_not(
    worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: Any = logs._kafka_client
    place = Place.JOINING
    monkeypatch.setattr(worker.transport, "place_in_group", lambda: place)
    assert worker.web.not_ready() == "no partitions are assigned: the group shop has not taken it in yet"

    said.said = "Heartbeat failed"
    assert worker.web.not_ready() == (
        "no partitions are assigned: the group shop has not taken it in yet; Kafka's client said last: Heartbeat failed"
    )

    place = Place.MEMBER
    assert worker.web.not_ready() == "no partitions are assigned"
