"""Ctrl-C reaches every process of a replay: what has only just been started is not torn down by it."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import signal
import threading
import time
from dataclasses import replace
from itertools import islice
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from msgspec import json
from replaying import plan

from schemas.codec import encode_json
from schemas.events import Event
from streams.configs import shipped_config
from streams.replay.ahead import AheadSource, _packed, _Parcel
from streams.replay.parallel import ProcessFailed, _gathered, run_in_processes
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


def _killed_or_long(part: Any, told: Any) -> None:
    if part.candidates[0].label == "a":
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(60)
    told.put(("results", []))


async def test_a_process_that_is_killed_is_told_of_while_the_others_still_work() -> None:
    context = multiprocessing.get_context("fork")
    told: Any = context.Queue()
    candidates = [SimpleNamespace(label=label) for label in "ab"]
    parts: Any = [SimpleNamespace(candidates=[one]) for one in candidates]
    children = [context.Process(target=_killed_or_long, args=(part, told), daemon=True) for part in parts]
    for child in children:
        child.start()
    whole: Any = SimpleNamespace(candidates=candidates)
    try:
        async with asyncio.timeout(20):
            with pytest.raises(ProcessFailed, match=r"exit codes: -9; -9 is how the system ends"):
                await _gathered(whole, parts, children, told, lambda share, records: None, asyncio.Event())
    finally:
        for child in children:
            child.kill()
            child.join()


async def test_whole_numbers_beyond_64_bits_come_over_from_the_reading_process() -> None:
    """Live takes them, and msgpack, in which chunks come over, has none."""
    event = json.decode(
        b'{"type":"page_view","event_id":"e1","user_id":"u1","ts":1700000000000,"properties":{"n":1180591620717411303424}}',
        type=Event,
    )
    parcel = _Parcel([0], [7], [1], [event], 1, {"not_json": 2}, 0, {"0": 8}, 0.5)

    chunk = AheadSource._unpacked(cast(Any, None), _packed(parcel))

    assert chunk.arrivals == [(0, 7, 1, event)]
    assert (chunk.records, chunk.dead, chunk.position, chunk.progress) == (1, {"not_json": 2}, {"0": 8}, 0.5)


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
