"""Records that cannot be read yet, because a transaction of somebody else is open."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import pytest
from transport_bench import P0, P1

from streams.telemetry import Telemetry
from streams.transport.status import PartitionStatus
from streams.unstable import UnstableWatch


def standing(end: int, unstable: int) -> PartitionStatus:
    return PartitionStatus(
        epoch=0,
        position=end,
        acknowledged=end,
        committed=end,
        end=end,
        fetched_at_ms=1000,
        open_chunks=0,
        open_records=0,
        unstable_records=unstable,
    )


class Looked:
    """A watch that looks every 2 s at P0."""

    def __init__(self, caplog: pytest.LogCaptureFixture) -> None:
        caplog.set_level(logging.INFO, logger="streamscore.worker")
        self.telemetry, self.watch, self.now_s = Telemetry(), UnstableWatch(), 1000.0
        self._caplog = caplog

    def look(self, seconds: float, status: Callable[[], PartitionStatus]) -> list[tuple[str, dict[str, Any]]]:
        for _ in range(round(seconds / 2)):
            self.now_s += 2.0
            self.watch.look({P0: status()}, self.telemetry.unstable, self.now_s)
        told = [(record.message, record.fields) for record in self._caplog.records]
        self._caplog.clear()
        return told

    def exposed(self, partition: int) -> float | None:
        labels = {"topic": "events", "partition": str(partition)}
        return self.telemetry.registry.get_sample_value("streamscore_unstable_records", labels)


def test_a_transaction_that_stays_open_is_exposed_at_once_and_logged_once_after_a_minute(
    caplog: pytest.LogCaptureFixture,
) -> None:
    looked = Looked(caplog)

    assert looked.look(60, lambda: standing(43, 600)) == []
    assert looked.exposed(0) == 600
    assert looked.look(2, lambda: standing(43, 601)) == [
        (
            "a transaction of another producer stays open, nothing behind its beginning can be read",
            {"topic": "events", "partition": 0, "offset": 43, "records": 601},
        )
    ]
    assert looked.look(600, lambda: standing(43, 700)) == []
    assert looked.look(4, lambda: standing(700, 0)) == [
        ("the open transaction is over", {"topic": "events", "partition": 0})
    ]
    assert looked.exposed(0) == 0


def test_transactions_that_end_one_after_another_are_nothing_to_tell(caplog: pytest.LogCaptureFixture) -> None:
    looked = Looked(caplog)
    ends = iter(range(100))

    assert looked.look(200, lambda: standing(next(ends) // 10, 5)) == []


def test_where_transactions_come_to_their_ends_some_are_open_whenever_one_looks_and_none_is_shown(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """So it is under `delivery: exactly_once`, and would ring the alarm."""
    looked = Looked(caplog)
    shown = []
    for end in range(100):
        looked.look(2, lambda end=end: standing(end, 5))  # type: ignore[misc]
        shown.append(looked.exposed(0))

    assert shown == [0] * 100


def test_of_a_partition_that_is_no_longer_ours_nothing_is_shown(caplog: pytest.LogCaptureFixture) -> None:
    looked = Looked(caplog)
    looked.look(2, lambda: standing(43, 600))

    looked.watch.look({P1: standing(7, 0)}, looked.telemetry.unstable, 1004.0)

    assert (looked.exposed(0), looked.exposed(1)) == (None, 0)
