"""Several candidates in several processes: each reads the source for itself, and they share nothing.

Handing events from process to process would cost as much as reading them again, and a process of its
own keeps every candidate's memory and time apart.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import signal
from collections.abc import Sequence
from dataclasses import replace
from multiprocessing.process import BaseProcess
from multiprocessing.queues import Queue
from typing import Any

from streams.replay.folder import look_at_folder, remove_state
from streams.replay.measures import Results
from streams.replay.plan import Plan
from streams.replay.processes import hear_interrupts, interrupts_wait
from streams.replay.run import Interrupted, OnProgress, run

_LOOK_S = 0.1


class ProcessFailed(RuntimeError):
    """A process of the replay has ended without a result; the message is its own."""


def shares(plan: Plan, processes: int) -> list[Plan]:
    """Deal the candidates of a plan to processes, in turn."""
    labels = [one.label for one in plan.candidates]
    dealt = [plan.candidates[first::processes] for first in range(min(processes, len(labels)))]
    return [replace(plan, candidates=some, all_labels=tuple(labels)) for some in dealt]


async def run_in_processes(
    plan: Plan, processes: int, *, on_progress: OnProgress, stop: asyncio.Event
) -> list[Results]:
    """Replay with the candidates dealt to processes; the results come in the order of the candidates.

    Raises
    ------
    Interrupted
        `stop` was set.
    ProcessFailed
        One of them failed; the others were ended.
    CannotResume, Unfinished
    """
    if plan.from_stdin:  # it is this process's own
        return await run(plan, on_progress=on_progress, stop=stop)
    parts = shares(plan, processes)
    for part in parts:
        look_at_folder(part)
    context = multiprocessing.get_context("spawn")
    told: Queue[Any] = context.Queue()
    children: list[BaseProcess] = [
        # No daemons: each has a reading process of its own.
        context.Process(target=_child, args=(part, told, os.getpid()))
        for part in parts
    ]
    with interrupts_wait():
        for child in children:
            child.start()
    try:
        results = await _gathered(plan, parts, children, told, on_progress, stop)
    finally:
        for child in children:
            if child.is_alive():
                child.kill()
            child.join()
    remove_state(plan)  # also that of earlier replays
    return results


async def _gathered(
    plan: Plan,
    parts: Sequence[Plan],
    children: Sequence[BaseProcess],
    told: Queue[Any],
    on_progress: OnProgress,
    stop: asyncio.Event,
) -> list[Results]:
    progress: dict[str, tuple[float | None, int]] = {part.candidates[0].label: (0.0, 0) for part in parts}
    found: dict[str, Results] = {}
    interrupted = False
    while len(found) < len(plan.candidates):
        if stop.is_set() and not interrupted:
            interrupted = True
            for child in children:
                if child.pid is not None and child.is_alive():
                    os.kill(child.pid, signal.SIGINT)
        await asyncio.sleep(_LOOK_S)
        codes = [child.exitcode for child in children]  # looked at first: what they said is then there
        while not told.empty():
            what, *rest = told.get()
            if what == "progress":
                label, share, records = rest
                progress[label] = (share, records)
                known = [one for one, _ in progress.values() if one is not None]
                on_progress(min(known) if len(known) == len(progress) else None, min(n for _, n in progress.values()))
            elif what == "results":
                found |= {one.label: one for one in rest[0]}
            elif what == "failed":
                raise ProcessFailed(rest[0])
        if len(found) == len(plan.candidates):
            break
        ended = None not in codes
        if ended and interrupted:
            raise Interrupted
        # Who was killed tells nothing, and the others may go on for hours.
        owing = [code for part, code in zip(parts, codes, strict=True) if part.candidates[0].label not in found]
        if ended or (any(owing) and not interrupted):
            told_codes = ", ".join(str(code) for code in codes if code is not None)
            memory = "; -9 is how the system ends a process when memory runs out" if -signal.SIGKILL in codes else ""
            raise ProcessFailed(f"A process of the replay ended without a result (exit codes: {told_codes}{memory})")
    return [found[one.label] for one in plan.candidates]


def _child(plan: Plan, told: Queue[Any], parent: int) -> None:
    """Run a part of a plan; the whole life of a child process."""
    try:
        results = asyncio.run(_part(plan, told, parent))
    except Interrupted:
        return
    except Exception as error:  # told to the parent, which ends all
        told.put(("failed", str(error) or repr(error)))
        return
    told.put(("results", results))


async def _part(plan: Plan, told: Queue[Any], parent: int) -> list[Results]:
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGINT, stop.set)
    hear_interrupts()

    def on_progress(share: float | None, records: int) -> None:
        told.put(("progress", plan.candidates[0].label, share, records))
        if os.getppid() != parent:  # nobody waits for the result any more
            stop.set()

    return await run(plan, on_progress=on_progress, stop=stop)
