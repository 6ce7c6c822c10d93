"""Giving partitions up: whatever fails or comes too late, nothing of them is kept, and none waits for another."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from types import SimpleNamespace
from typing import Any

import pytest
from faust.types import TP

from streams.app import Worker
from streams.configs import shipped_config
from streams.settings import load_settings
from streams.stores import Fenced

EVENTS, EXAMPLES = [TP("events", 0), TP("events", 1)], [TP("examples", 0), TP("examples", 1)]
ALL = [*EVENTS, *EXAMPLES]

Step = Callable[[TP], Awaitable[None]]


async def at_once(tp: TP) -> None: ...


class Giving:
    """A worker that owns two partitions of each topic, and what it did with them, in order."""

    def __init__(self, *, stop: Step = at_once, close: Step = at_once, save: Step = at_once) -> None:
        self.worker = Worker(load_settings(shipped_config("shop"), {}))
        self.done: list[tuple[str, TP]] = []
        for tp in ALL:
            held: Any = SimpleNamespace(
                stop=self._noting("stop", tp, stop),
                close=self._noting("close", tp, close),
                save=self._noting("save", tp, save),
                names=(),
            )
            self.worker._actors[tp] = held
            owned: dict[int, Any] = self.worker.sessions if tp in EVENTS else self.worker.learners  # type: ignore
            owned[tp.partition] = held

    def _noting(self, name: str, tp: TP, step: Step) -> Callable[[], Awaitable[None]]:
        async def noted() -> None:
            await step(tp)
            self.done.append((name, tp))

        return noted

    async def give_up(self) -> None:
        async with asyncio.timeout(0.2):
            await self.worker._on_revoked(frozenset(ALL))

    @property
    def kept(self) -> list[Any]:
        worker = self.worker
        return [*worker._actors, *worker.sessions, *worker.learners]


@pytest.mark.parametrize("late", ["stop", "close", "save"])
async def test_what_comes_too_late_is_given_up_all_the_same(late: str) -> None:
    tries = 0

    async def step(tp: TP) -> None:
        nonlocal tries
        tries += tp == EXAMPLES[0]
        if tries == 1:  # as an actor does that was told a second time, it then ends
            tries += 1
            await asyncio.Event().wait()

    giving = Giving(**{late: step})

    with pytest.raises(TimeoutError):
        await giving.give_up()

    assert giving.kept == []
    assert ("save", EXAMPLES[1]) in giving.done


async def test_what_one_partition_fails_at_is_told_and_the_others_come_to_their_end() -> None:
    async def save(tp: TP) -> None:
        if tp == EXAMPLES[0]:
            raise RuntimeError("the store refuses us")

    giving = Giving(save=save)

    with pytest.raises(RuntimeError, match="the store refuses us"):
        await giving.give_up()

    assert giving.kept == []
    assert ("save", EXAMPLES[1]) in giving.done


async def test_who_has_been_overtaken_saves_nothing_and_fails_at_nothing() -> None:
    async def save(tp: TP) -> None:
        raise Fenced("the checkpoint", expected="ours", found="another's")

    giving = Giving(save=save)

    await giving.give_up()

    assert giving.kept == []


async def test_all_stop_at_once_and_a_learner_is_saved_when_its_own_have_ended() -> None:
    stopping: set[tuple[str, TP]] = set()
    all_stop = asyncio.Event()

    def together(name: str) -> Step:
        async def step(tp: TP) -> None:
            stopping.add((name, tp))
            if stopping >= {("stop", one) for one in ALL} | {("close", one) for one in EXAMPLES}:
                all_stop.set()
            await all_stop.wait()

        return step

    giving = Giving(stop=together("stop"), close=together("close"))

    await giving.give_up()

    for tp in EXAMPLES:
        ended = [giving.done.index((name, tp)) for name in ("stop", "close")]
        assert max(ended) < giving.done.index(("save", tp))
