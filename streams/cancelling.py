"""Ends tasks that can miss that they are cancelled.

`asyncio.wait_for` before Python 3.12 drops a cancellation that comes in the moment in which what it waits for is done,
and the Redis client sends every command through it. Who cancels once and then waits may wait for ever: it is seen
about once in ten ends under load.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

_AGAIN_S = 0.1


async def cancel_until_done(tasks: Iterable[asyncio.Future[Any]], *, within_s: float = float("inf")) -> None:
    """Cancel tasks, again and again, until all have ended, whatever their outcome, or the time is over."""
    loop = asyncio.get_running_loop()
    end = loop.time() + within_s
    waiting = {task for task in tasks if not task.done()}
    while waiting and loop.time() < end:
        for task in waiting:
            task.cancel()
        _, waiting = await asyncio.wait(waiting, timeout=_AGAIN_S)


async def end_together(*ends: Callable[[], Awaitable[None]] | None) -> None:
    """Have all of them come to their end at once; None is nothing to end. Raises what the first fails at."""
    await asyncio.gather(*(end() for end in ends if end is not None))
