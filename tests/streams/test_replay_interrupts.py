"""Ctrl-C reaches every process of a replay: what has only just been started is not torn down by it."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import signal
import threading
from dataclasses import replace
from itertools import islice
from pathlib import Path

import pytest
from replaying import plan

from schemas.codec import encode_json
from streams.configs import shipped_config
from streams.replay.ahead import AheadSource
from streams.replay.parallel import ProcessFailed, run_in_processes
from streams.replay.processes import interrupts_wait
from streams.simulate import Shop


@pytest.fixture(scope="module")
def events(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("events") / "events.jsonl"
    path.write_bytes(b"\n".join(encode_json(event) for event in islice(Shop(seed=5, visitors=50).events(), 1_000)))
    return path


async def interrupt_all(count: int) -> None:
    """Send SIGINT to so many children as soon as they are there: they are then far from hearing it."""
    while len(children := multiprocessing.active_children()) < count:
        await asyncio.sleep(0)
    for child in children:
        os.kill(child.pid or 0, signal.SIGINT)


async def test_the_reading_process_goes_on_when_it_has_only_just_begun(events: Path) -> None:
    source = AheadSource(plan(events, shipped_config("shop"), None), "events")
    interrupting = asyncio.create_task(interrupt_all(1))
    try:
        chunks = [chunk async for chunk in source.chunks(500)]
    finally:
        await interrupting
        await source.close()

    assert sum(chunk.records for chunk in chunks) == 1_000


async def test_processes_that_have_only_just_begun_end_in_good_order(events: Path) -> None:
    # Only they are interrupted; how they ended is then told.
    one = plan(events, shipped_config("shop"), None)
    two = replace(one, candidates=tuple(replace(one.candidates[0], label=label) for label in "ab"))
    interrupting = asyncio.create_task(interrupt_all(2))

    with pytest.raises(ProcessFailed, match=r"exit codes: 0, 0"):
        await run_in_processes(two, 2, on_progress=lambda share, records: None, stop=asyncio.Event())
    await interrupting


def test_an_interrupt_waits_and_is_not_lost() -> None:
    heard: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, _: heard.append(number))
    try:
        with interrupts_wait():
            signal.pthread_kill(threading.get_ident(), signal.SIGINT)
            heard_within = list(heard)
    finally:
        signal.signal(signal.SIGINT, before)

    assert (heard_within, heard) == ([], [signal.SIGINT])
    assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, ())
