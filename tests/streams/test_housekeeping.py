"""What a worker does by its clock."""

from __future__ import annotations

import asyncio
import json
from types import SimpleNamespace
from typing import Any

import pytest
from faust.types import TP

from online_models.replica import ReplicaSet
from schemas.codec import encode_json
from schemas.samples import MODELS
from streams import housekeeping
from streams.housekeeping import Housekeeping
from streams.settings import parse_settings
from streams.telemetry import Telemetry

SETTINGS = parse_settings(
    """
features: {item: {field: item_id}}
objectives: {click: {trigger: impression, outcome: click, match: item, window: 30m, prior: 0.2}}
""",
    {},
)


@pytest.mark.parametrize("consumes", [True, False])
async def test_who_only_serves_looks_after_garbage_by_the_clock(
    consumes: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked_after: list[None] = []
    monkeypatch.setattr("streams.garbage.look_when_quiet", lambda: looked_after.append(None))
    monkeypatch.setattr(housekeeping, "_GARBAGE_S", 0.001)

    async def renew() -> None:
        pass

    worker: Any = SimpleNamespace(
        settings=SETTINGS, consumes=consumes, clerk=None, campaign_watch=None, lease=SimpleNamespace(renew=renew)
    )
    kept = Housekeeping(worker)
    kept.start()
    await asyncio.sleep(0.05)
    await kept.stop()

    assert bool(looked_after) is not consumes


@pytest.mark.parametrize(
    ("consumes", "now", "ends"), [(True, 2, True), (True, 1, False), (True, None, False), (False, 2, False)]
)
def test_a_worker_ends_when_the_topic_of_examples_has_other_partitions_than_it_knows(
    consumes: bool, now: int | None, ends: bool
) -> None:
    failures: list[BaseException] = []
    worker: Any = SimpleNamespace(
        settings=SETTINGS,
        consumes=consumes,
        partitions={"examples": 1},
        output=SimpleNamespace(partitions_now=lambda topic: now),
        fail=failures.append,
    )

    Housekeeping(worker)._look_at_partitions()

    assert [str(one) for one in failures] == ends * [
        "The topic examples has 2 partitions and had 1 when this worker started, so it would read and write examples "
        "in the wrong place. It ends; start it again, and all other workers with it"
    ]


async def test_what_replicas_passed_over_is_shown() -> None:
    telemetry, replicas = Telemetry(), ReplicaSet({})
    worker: Any = SimpleNamespace(
        settings=SETTINGS,
        app=SimpleNamespace(should_stop=False),
        transport=SimpleNamespace(lag=dict, status=dict, stalled=lambda now, stall_s: [], look_at_ends=lambda: None),
        group=SimpleNamespace(look=lambda now_s: None),
        telemetry=telemetry,
        sessions={},
        learners={},
        replicas=replicas,
        consumes=False,
        partitions={"examples": 1},
        output=SimpleNamespace(partitions_now=lambda topic: None),
        taking_since=None,
    )
    kept = Housekeeping(worker)

    for value in (b"garbage", *(encode_json(one) for one in MODELS[:3])):
        replicas.apply(value)
    await kept._watch()

    shown = telemetry.exposition().decode().splitlines()
    assert "streamscore_unreadable_model_records 1.0" in shown
    assert "streamscore_foreign_model_records 3.0" in shown


class Idling:
    """What of a worker is asked about its partitions; it has one, and looks after it every 2.5 s."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.settings = SETTINGS
        self.session = SimpleNamespace(
            next_offset=100, core=SimpleNamespace(open_count=1, stream_time_ms=1_750_000_000_000)
        )
        self.sessions = {0: self.session}
        self.standing = SimpleNamespace(open_chunks=0)
        self.transport = SimpleNamespace(status=lambda: {TP("events", 0): self.standing})
        self.output = SimpleNamespace(publish=self._publish)
        self.ticks: list[int] = []
        self._now_s = 1000.0
        self._kept = Housekeeping(self)  # type: ignore[arg-type]
        monkeypatch.setattr(housekeeping.time, "monotonic", lambda: self._now_s)

    async def attempt(self, step: Any, name: str) -> Any:
        return await step()

    async def _publish(self, batches: Any) -> None:
        [(where, [record])] = batches.items()
        assert where == ("events", 0)
        self.ticks.append(json.loads(record.value)["ts"])

    async def look(self, times: int) -> None:
        for _ in range(times):
            self._now_s += 2.5
            await self._kept._tick_idle_partitions()


async def test_an_idle_partition_is_ticked_by_the_time_that_has_passed(monkeypatch: pytest.MonkeyPatch) -> None:
    worker = Idling(monkeypatch)
    await worker.look(times=4)
    assert worker.ticks == []
    await worker.look(times=1)
    assert worker.ticks == [1_750_000_010_000]


@pytest.mark.parametrize("bids_wait", [True, False])
async def test_a_partition_on_which_only_bids_wait_for_notices_is_ticked_like_any_other(
    bids_wait: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker = Idling(monkeypatch)
    worker.session.core.open_count, worker.session.core.bids_wait = 0, bids_wait
    await worker.look(times=5)
    assert worker.ticks == bids_wait * [1_750_000_010_000]


async def test_a_partition_whose_batch_waits_for_the_store_is_not_idle(monkeypatch: pytest.MonkeyPatch) -> None:
    worker = Idling(monkeypatch)
    await worker.look(times=2)
    worker.standing.open_chunks = 1
    worker.session.core.stream_time_ms += 5_000  # the step is done, and its offset comes with the write
    await worker.look(times=20)
    worker.standing.open_chunks = 0
    worker.session.next_offset = 140
    await worker.look(times=4)
    assert worker.ticks == []
    await worker.look(times=1)
    assert worker.ticks == [1_750_000_015_000]


async def test_a_partition_that_is_being_taken_up_is_not_ticked(monkeypatch: pytest.MonkeyPatch) -> None:
    worker = Idling(monkeypatch)
    worker.transport.status = dict
    await worker.look(times=20)
    assert worker.ticks == []
