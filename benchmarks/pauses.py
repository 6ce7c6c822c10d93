"""What stands still, and for how long: the garbage collector beside a growing cache, and work that is cut into pieces.

    python -m benchmarks.pauses [--events 450000]

First the core alone, three quarters of whose events are of visitors whom nobody has seen, with the thresholds that the
worker had before and with `streams.garbage`: the longest pause and the sum of all. Then a plain loop over more objects
than a cache holds, in pieces with pauses between them: its CPU time beside that of the loop in one piece.
"""

from __future__ import annotations

import argparse
import gc
import time
from collections.abc import Iterator
from contextlib import contextmanager

from benchmarks.peers import pure_core
from benchmarks.peers.workload import SCORING_YAML
from streams.garbage import looked_at_once
from streams.settings import parse_settings

BEFORE = (50_000, 20, 100)
OBJECTS, UNITS = 300_000, 400_000
# Units in a piece, pause behind it in ms.
PIECES = ((400, 0.0), (400, 0.5), (400, 2.0), (100, 1.0))


@contextmanager
def as_before() -> Iterator[None]:
    """Collect as the worker did before."""
    usual = gc.get_threshold()
    gc.collect()
    gc.freeze()
    gc.set_threshold(*BEFORE)
    try:
        yield
    finally:
        gc.set_threshold(*usual)
        gc.unfreeze()


def pauses_ms(count: int, *, once: bool) -> list[float]:
    """Return how long each collection took while a core took in events, mostly of new visitors."""
    found: list[float] = []
    began = 0.0

    def note(phase: str, _: dict[str, int]) -> None:
        nonlocal began
        if phase == "start":
            began = time.perf_counter()
        else:
            found.append((time.perf_counter() - began) * 1000)

    logs = pure_core.logs_of(count, visitors=count * 3 // 4)
    with looked_at_once() if once else as_before():
        gc.callbacks.append(note)
        try:
            pure_core.run(parse_settings(SCORING_YAML, {}), logs, None)
        finally:
            gc.callbacks.remove(note)
    return found


def cpu_us(piece: int, pause_ms: float) -> float:
    """Return the CPU time of a unit of work, done so many at a time."""
    objects = [{"a": [number, number + 1], "b": str(number)} for number in range(OBJECTS)]
    seen: dict[int, str] = {}
    started = time.process_time()
    for first in range(0, UNITS, piece):
        for number in range(first, first + piece):
            one = objects[number * 7919 % OBJECTS]
            one["a"][0] += 1  # type: ignore[index]
            seen[number & 4095] = one["b"] + "x"  # type: ignore[operator]
        if pause_ms:
            time.sleep(pause_ms / 1000)
    return (time.process_time() - started) / UNITS * 1e6


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=450_000)
    given = parser.parse_args()
    for name, once in (("as before", False), ("each object once", True)):
        found = pauses_ms(given.events, once=once)
        print(f"collecting {name:18} longest {max(found):6.0f} ms   all {sum(found):6.0f} ms   {len(found)} times")
    whole = cpu_us(UNITS, 0.0)
    for piece, pause_ms in PIECES:
        print(f"pieces of {piece}, pauses of {pause_ms:g} ms: x {cpu_us(piece, pause_ms) / whole:.2f}")


if __name__ == "__main__":
    main()
