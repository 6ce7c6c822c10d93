"""Keeps the garbage collector's pauses short, however many users are cached.

States are trees without cycles: reference counts free them, and the collector finds nothing. But each of its levels
walks all that is new to it, and the second level of CPython's settings walks a million of our objects at once: 0.7 s
in which nothing is scored. Here each object is looked at once, soon after it was made; what is in use then is frozen:
never looked at again, and freed as before when its last reference goes. Only a cycle that was in use at that moment is
kept, such as an error's traceback; `collect_all` frees those.

Most of what is new belongs to the batches at hand, and is freed with them; to walk it is for nothing. So the collector
comes by itself only when there is more than a few batches make, and otherwise in between, when a partition has nothing
to do: `look_when_quiet`.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager

# Between two collections this many objects more were made than freed. Ten thousand are walked in some 5 ms.
OBJECTS = 50_000
QUIET_OBJECTS = 10_000
_OFF = 1 << 30


@contextmanager
def looked_at_once(objects: int = OBJECTS) -> Iterator[None]:
    """Have the collector look at each object once, at so many together, for the length of a block."""
    usual = gc.get_threshold()
    gc.callbacks.append(_freeze_the_rest)
    gc.collect()
    gc.freeze()
    gc.set_threshold(objects, _OFF, _OFF)
    try:
        yield
    finally:
        gc.callbacks.remove(_freeze_the_rest)
        gc.set_threshold(*usual)
        gc.unfreeze()


def look_when_quiet() -> None:
    """Look at what is new if that is much by now; to be called where little is at hand that will be freed soon."""
    if gc.get_count()[0] > QUIET_OBJECTS:
        gc.collect(0)


def collect_all() -> int:
    """Look at everything once more, where a pause does no harm; return how many objects in cycles were freed."""
    gc.unfreeze()
    freed = gc.collect()
    if _freeze_the_rest in gc.callbacks:
        gc.freeze()
    return freed


def _freeze_the_rest(phase: str, info: dict[str, int]) -> None:
    if phase == "stop" and info["generation"] == 0:
        gc.freeze()
