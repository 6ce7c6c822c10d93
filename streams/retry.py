"""Repeats one I/O step while what it needs is away."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable, Iterator
from typing import NamedTuple, TypeVar

from streams.logs import log_event
from streams.stores import Unavailable

logger = logging.getLogger("streamscore.retry")
T = TypeVar("T")

_CHANCE = random.Random()


class Backoff(NamedTuple):
    """How long to pause between attempts.

    Attributes
    ----------
    first_s, longest_s
        The pause doubles from one to the other.
    jitter
        Share of a pause that is left to chance, so that those who wait do not come all at once.
    """

    first_s: float = 0.1
    longest_s: float = 5.0
    jitter: float = 0.2

    def pauses(self, chance: random.Random) -> Iterator[float]:
        """Yield pauses without end.

        Examples
        --------
        >>> from itertools import islice
        >>> list(islice(Backoff(jitter=0.0).pauses(random.Random(1)), 7))
        [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0]
        """
        pause = self.first_s
        while True:
            yield pause * (1 - self.jitter * chance.random())
            pause = min(2 * pause, self.longest_s)


class Outages:
    """The steps that wait for something to come back; for readiness and the metrics.

    Parameters
    ----------
    on_outage
        Called with the name of the step when an outage begins.
    """

    def __init__(self, on_outage: Callable[[str], None] = lambda name: None) -> None:
        self._began: dict[object, tuple[str, float]] = {}
        self._known: dict[str, None] = {}
        self._on_outage = on_outage

    def began(self, outage: object, name: str, at: float) -> None:
        """Note that a step waits since `at`, by ``time.monotonic()``."""
        self._began[outage] = name, at
        self._known[name] = None
        self._on_outage(name)

    def ended(self, outage: object) -> None:
        """Note that a step waits no more, whatever became of it."""
        self._began.pop(outage, None)

    @property
    def degraded_since(self) -> float | None:
        """When the oldest outage that still lasts began, by the clock that `retrying` was given; None: all is well."""
        return min((at for _, at in self._began.values()), default=None)

    @property
    def steps(self) -> list[str]:
        """Names of the steps that wait."""
        return sorted({name for name, _ in self._began.values()})

    def waiting_s(self, now_s: float) -> dict[str, float]:
        """Return for how many seconds each step that has ever waited does so by now; 0.0: it does not.

        Where a step waits in several places, as for several partitions, the longest counts.
        """
        waits = dict.fromkeys(self._known, 0.0)
        for name, at in self._began.values():
            waits[name] = max(waits[name], now_s - at)
        return waits


async def retrying(
    step: Callable[[], Awaitable[T]],
    *,
    name: str,
    on_outage: Callable[[], None] = lambda: None,
    outages: Outages | None = None,
    backoff: Backoff = Backoff(),  # noqa: B008 - a constant
    chance: random.Random | None = None,
    sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    clock: Callable[[], float] = time.monotonic,
) -> T:
    """Run `step` until it no longer raises Unavailable; everything else passes through.

    An outage is logged when it begins and when it ends, not at each attempt. Cancelling ends the wait.

    Parameters
    ----------
    step
        Must be safe to repeat.
    on_outage
        Called once when an outage begins.
    outages
        Told while the step waits.
    """
    pauses = backoff.pauses(chance or _CHANCE)
    outage = object()
    began: float | None = None
    try:
        while True:
            try:
                result = await step()
            except Unavailable as error:
                if began is None:
                    began = clock()
                    if outages is not None:
                        outages.began(outage, name, began)
                    on_outage()
                    log_event(logger, logging.WARNING, "dependency is away, trying again", step=name, why=str(error))
                await sleep(next(pauses))
            else:
                if began is not None:
                    away_s = round(clock() - began, 1)
                    log_event(logger, logging.INFO, "dependency is back", step=name, away_s=away_s)
                return result
    finally:
        if outages is not None:
            outages.ended(outage)
