"""Replays of a file under test, and what they write."""

from __future__ import annotations

import asyncio
from pathlib import Path

from streams.replay.measures import Results
from streams.replay.plan import CandidateSpec, Plan
from streams.replay.run import run
from streams.replay.spec import parse_spec


def plan(events: Path, config: Path, folder: Path | None, *candidates: str | None) -> Plan:
    specs = tuple(CandidateSpec(one or "shop", config, candidate=one) for one in candidates or (None,))
    return Plan(sources=(parse_spec(str(events)),), candidates=specs, chunk=500, folder=folder)


async def replayed(plan: Plan, *, stop_at: int | None = None) -> list[Results]:
    stop = asyncio.Event()

    def on_progress(share: float | None, records: int) -> None:
        assert share is None or 0 <= share <= 1
        if stop_at is not None and records >= stop_at:
            stop.set()

    return await run(plan, on_progress=on_progress, stop=stop)


def written(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(folder.rglob("*.jsonl"))}
