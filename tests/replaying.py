"""Replays of a file under test, and what they write."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from schemas.report import Report
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


class Views:
    """Page views as CSV files, replayed as a user would: will the visitor look at something again within ten seconds?

    Attributes
    ----------
    config, mapping
        Files that a test may write anew.
    """

    MAPPING = "type: page_view\nfields: {user_id: user, ts: ts_ms, item_id: item}\n"
    CONFIG = (
        "app: views\nfeatures: {item: {field: item_id}, views: {count: page_view}}\n"
        "objectives:\n"
        "  again: {trigger: page_view, outcome: page_view, match: user, window: 10s, model: {name: ftrl}}\n"
    )
    T0 = 1_506_826_800_000

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.config, self.mapping = folder / "scoring.yaml", folder / "views.yaml"
        self.config.write_text(self.CONFIG)
        self.mapping.write_text(self.MAPPING)

    def plan(self, file: Path, folder: Path | None, *labels: str, **options: Any) -> Plan:
        """Return a plan for the configuration, as often as there are labels."""
        specs = tuple(CandidateSpec(label, self.config) for label in labels or ("views",))
        return Plan(
            sources=(parse_spec(str(file)),),
            candidates=specs,
            mapping=str(self.mapping),
            chunk=100,
            folder=folder,
            **options,
        )

    def rows(self, count: int, *, start_ms: int = T0) -> list[str]:
        """Return a row for each second, of seven visitors in turn."""
        return [f"v{n % 7},{start_ms + 1000 * n},i{n % 5}" for n in range(count)]

    def file(self, name: str, rows: Sequence[str]) -> Path:
        """Write a file with a header."""
        path = self.folder / name
        path.write_text("\n".join(["user,ts_ms,item", *rows]) + "\n")
        return path

    def replay(self, *words: str | Path, stdin: str = "") -> subprocess.CompletedProcess[str]:
        """Run the command, with the configuration unless the words name one."""
        config = [] if "-c" in words else ["-c", self.config]
        command = [sys.executable, "-m", "streams.cli.main", "replay", *words, "-m", self.mapping, *config]
        return subprocess.run(
            [str(one) for one in command], input=stdin, capture_output=True, text=True, timeout=120, check=False
        )

    def report(self, *words: str | Path, stdin: str = "") -> tuple[Report, str]:
        """Run the command; return the report and what was said on standard error, without the progress."""
        done = self.replay(*words, "--json", "-", stdin=stdin)
        assert done.returncode == 0, done.stderr
        return msgspec.json.decode(done.stdout, type=Report), done.stderr
