"""What a worker does by its clock."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from streams import housekeeping
from streams.housekeeping import Housekeeping
from streams.settings import parse_settings

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
