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
