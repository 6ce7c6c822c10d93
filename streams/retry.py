"""Repeats one I/O step while what it needs is away."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

from streams.logs import log_event
from streams.stores import Unavailable

logger = logging.getLogger("streamscore.retry")
T = TypeVar("T")

_FIRST_PAUSE_S = 0.1
_LONGEST_PAUSE_S = 5.0


async def retrying(step: Callable[[], Awaitable[T]], *, name: str, on_outage: Callable[[], None] = lambda: None) -> T:
    """Run `step` until it no longer raises Unavailable; everything else passes through.

    The pause doubles from 0.1 s to 5 s. An outage is logged when it begins and when it ends, not at
    each attempt. Cancelling ends the wait.

    Parameters
    ----------
    step
        Must be safe to repeat.
    on_outage
        Called once when an outage begins.
    """
    pause_s = _FIRST_PAUSE_S
    began: float | None = None
    while True:
        try:
            result = await step()
        except Unavailable as error:
            if began is None:
                began = time.monotonic()
                on_outage()
                log_event(logger, logging.WARNING, "dependency is away, trying again", step=name, why=str(error))
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
        else:
            if began is not None:
                away_s = round(time.monotonic() - began, 1)
                log_event(logger, logging.INFO, "dependency is back", step=name, away_s=away_s)
            return result
