"""Taking partitions up: all of them or none, and again where somebody without a right to it has written in between."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from faust.types import TP

from streams import app
from streams.app import Worker
from streams.configs import shipped_config
from streams.settings import load_settings
from streams.stores import Fenced

EVENTS, EXAMPLES = TP("events", 0), TP("examples", 0)


class Taking:
    """What of a worker is asked while it takes partitions up."""

    def __init__(self, *, fenced: int = 0, ours: bool = True) -> None:
        self.settings = load_settings(shipped_config("shop"), {})
        self.taking_since: float | None = None
        self.lease = SimpleNamespace(term=1, check=self._check)
        self.transport = SimpleNamespace(status=lambda: {EXAMPLES: SimpleNamespace(epoch=3)}, rewind=self._rewind)
        self.forgotten: list[TP] = []
        self.rewound: list[tuple[TP, int]] = []
        self.ended: list[str] = []
        self._stale_epochs: dict[TP, int] = {}
        self._fenced = fenced
        self._ours = ours

    async def _take(self, assigned: frozenset[TP]) -> Any:
        return await Worker._take(self, assigned)  # type: ignore[arg-type]

    async def _take_events(self, tp: TP) -> int:
        try:
            await asyncio.Event().wait()
        finally:
            self.ended.append("events")
        return 0

    async def _take_examples(self, tp: TP) -> int:
        await asyncio.sleep(0)
        self._fenced -= 1
        if self._fenced >= 0:
            raise Fenced("a zombie wrote", expected=1, found=2)
        return 7

    async def _forget(self, tp: TP) -> None:
        self.forgotten.append(tp)

    async def attempt(self, step: Any, name: str) -> Any:
        return await step()

    async def _check(self, term: int) -> None:
        if not self._ours:
            raise Fenced("no member", expected=1, found=2)

    async def _rewind(self, tp: TP, offset: int) -> None:
        self.rewound.append((tp, offset))


async def test_what_is_half_taken_does_not_end_later() -> None:
    worker = Taking(fenced=1)

    with pytest.raises(Fenced):
        await worker._take(frozenset({EVENTS, EXAMPLES}))

    assert worker.ended == ["events"]
    assert sorted(worker.forgotten) == [EVENTS, EXAMPLES]


async def test_a_partition_that_is_ours_is_taken_again_until_nobody_writes_in_between(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(app, "_REOPEN_S", 0.0)
    worker = Taking(fenced=2)

    await Worker._reopen(worker, EXAMPLES)  # type: ignore[arg-type]

    assert worker.rewound == [(EXAMPLES, 7)]


async def test_one_that_is_not_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(app, "_REOPEN_S", 0.0)
    worker = Taking(ours=False)

    await Worker._reopen(worker, EXAMPLES)  # type: ignore[arg-type]

    assert (worker.forgotten, worker.rewound) == ([EXAMPLES], [])
