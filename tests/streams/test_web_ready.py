"""What a worker says while it is not ready, and what it exposes before anything has happened."""

from __future__ import annotations

from typing import Any

import pytest
from faust.types import TP

from streams import logs
from streams.app import Worker
from streams.configs import shipped_config
from streams.settings import load_settings
from streams.stores import Unavailable
from streams.transport.group import Place


@pytest.fixture
async def worker(monkeypatch: pytest.MonkeyPatch) -> Worker:
    monkeypatch.setattr(logs._kafka_client, "said", "")
    return a_worker("all")


def a_worker(role: str) -> Worker:
    return Worker(load_settings(shipped_config("shop"), {"STREAMSCORE_WORKER_ROLE": role}))


async def test_who_is_not_in_its_group_says_why_and_who_is_and_has_nothing_to_do_does_not(
    worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker._ready.set()
    said: Any = logs._kafka_client
    place = Place.JOINING
    monkeypatch.setattr(worker.transport, "place_in_group", lambda: place)
    assert worker.web.not_ready() == "no partitions are assigned: the group shop has not taken it in yet"

    said.said = "Heartbeat failed"
    assert worker.web.not_ready() == "no partitions are assigned: the group shop has not taken it in yet", (
        "whoever reaches the port may ask, and Kafka's client names addresses"
    )

    place = Place.MEMBER
    assert worker.web.not_ready() == "no partitions are assigned"


@pytest.mark.parametrize(
    ("role", "starting"), [("all", "the worker is starting"), ("serving", "the models are being read")]
)
async def test_a_start_that_waits_says_for_what(role: str, starting: str) -> None:
    worker = a_worker(role)
    assert worker.web.not_ready() == starting

    tries = 0

    async def ping() -> None:
        nonlocal tries
        tries += 1
        if tries == 1:
            raise Unavailable("the store is away")
        during.append(worker.web.not_ready())

    during: list[str | None] = []
    await worker.attempt(ping, "reach the store")

    assert during == ["the worker is starting; it waits to reach the store"]
    assert worker.web.not_ready() == starting


async def test_partitions_that_cannot_be_taken_up_and_do_not_move_say_what_they_wait_for(
    worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker._ready.set()
    worker.telemetry.waits.began(object(), "load", 1.0)
    worker.telemetry.waits.began(object(), "follow models", 1.0)
    worker.taking_since = 1.0
    assert worker.web.not_ready() == "partitions are being taken up; it waits to follow models, load"

    worker.taking_since = None
    monkeypatch.setattr(worker, "sessions", {0: "a session"})
    monkeypatch.setattr(worker.transport, "stalled", lambda now_s, limit_s: [TP("events", 0)])
    assert worker.web.not_ready() == "no progress on events[0]; it waits to follow models, load"

    monkeypatch.setattr(worker.transport, "stalled", lambda now_s, limit_s: [])
    assert worker.web.not_ready() is None


async def test_a_worker_has_no_partitions_before_it_is_given_any(worker: Worker) -> None:
    assigned = [
        worker.telemetry.registry.get_sample_value("streamscore_assigned_partitions", {"topic": topic})
        for topic in ("events", "examples")
    ]

    assert assigned == [0, 0]
