"""Waiting for what another process does: the only sleeping in the tests, and bounded."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

T = TypeVar("T")
_PAUSE_SECONDS = 0.02


def eventually(found: Callable[[], T], *, within_s: float = 10.0) -> T:
    """Call `found` until it returns something true; return that, or fail."""
    end = time.monotonic() + within_s
    while not (result := found()):
        _fail_after(end, within_s, result)
        time.sleep(_PAUSE_SECONDS)
    return result


async def eventually_async(found: Callable[[], T | Awaitable[T]], *, within_s: float = 10.0) -> T:
    """Do the same in an event loop; `found` may be a coroutine function."""
    end = time.monotonic() + within_s
    while True:
        answer = found()
        result = await answer if isinstance(answer, Awaitable) else answer
        if result:
            return result
        _fail_after(end, within_s, result)
        await asyncio.sleep(_PAUSE_SECONDS)


def _fail_after(end: float, within_s: float, result: object) -> None:
    if time.monotonic() > end:
        raise AssertionError(f"Not within {within_s} s; the last answer was {result!r}")
