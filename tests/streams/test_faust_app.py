"""What a worker's Faust app is told of its role."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from faust.types import TP

from streams.configs import shipped_config
from streams.faust_app import make_faust_app
from streams.settings import load_settings


async def start(tps: frozenset[TP]) -> Mapping[TP, int]:
    return {}


async def revoked(tps: frozenset[TP]) -> None:
    return None


@pytest.mark.parametrize(
    ("role", "expected"),
    [("scoring", (20, 1)), ("all", (20, 1)), ("learning", (100, 65_536))],
)
def test_only_who_does_nothing_but_learn_lets_records_gather(role: str, expected: tuple[int, int]) -> None:
    settings = load_settings(shipped_config("shop"), {"STREAMSCORE_WORKER_ROLE": role})

    _, transport = make_faust_app(settings, start_offsets=start, on_revoked=revoked)

    assert (transport.options.fetch_max_wait_ms, transport.options.fetch_min_bytes) == expected


@pytest.mark.parametrize("role", ["scoring", "learning"])
def test_what_is_declared_may_let_more_gather(role: str) -> None:
    declared = {
        "STREAMSCORE_WORKER_ROLE": role,
        "STREAMSCORE_KAFKA_FETCH_MAX_WAIT": "200ms",
        "STREAMSCORE_KAFKA_FETCH_MIN_BYTES": "100000",
    }

    _, transport = make_faust_app(
        load_settings(shipped_config("shop"), declared), start_offsets=start, on_revoked=revoked
    )

    assert (transport.options.fetch_max_wait_ms, transport.options.fetch_min_bytes) == (200, 100_000)


@pytest.mark.parametrize(("compression", "min_bytes"), [("none", 20_000), ("gzip", 2_000)])
def test_a_scorer_that_waits_for_a_version_does_not_wait_for_more_than_it_is_made_of(
    compression: str, min_bytes: int
) -> None:
    declared = {
        "STREAMSCORE_WORKER_ROLE": "learning",
        "STREAMSCORE_KAFKA_COMPRESSION": compression,
        "STREAMSCORE_LEARNING_PUBLISH_EXAMPLES": "100",
        "STREAMSCORE_LEARNING_PUBLISH_INTERVAL": "300ms",
    }

    _, transport = make_faust_app(
        load_settings(shipped_config("shop"), declared), start_offsets=start, on_revoked=revoked
    )

    assert (transport.options.fetch_max_wait_ms, transport.options.fetch_min_bytes) == (30, min_bytes)
