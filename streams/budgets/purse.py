"""What a process that answers bids over HTTP holds of the budgets.

Reserving needs no I/O: it takes from what is held, or says no. What is reserved stays committed here for
good, unless its bid is certain not to be in the log; the partition of the visitor books it, and spends it or gives it
back. A task calls `refill` about once
a second, which gives back what is too much and draws what recent use asks for. While the ledger is away, what
is held is used up, and then nothing is bid.

The holder's name is new for each process, and nothing is stored: a crash loses what was held, for that day.
So little is held: as much as a few refills use.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Callable, Mapping
from typing import NamedTuple

from streams.budgets.base import HTTP_HOLDER, CampaignDay, Entry, Ledger, Want

# So many refills' use is held after one, and drawn again below half of that: two may fail unnoticed.
_REFILLS_AHEAD = 6
# Use is remembered as its recent peak, halved with each refill: bursts are met, and silence gives back.
_FADING = 0.5
# A campaign that was paused may come back the same day, and its totals must go on. No day lasts longer than this.
_KEPT_S = 3 * 86_400.0


class Limits(NamedTuple):
    """What a campaign may spend on a day; micros.

    Attributes
    ----------
    budget
        Of the whole day.
    unit
        The highest bid.
    """

    budget: int
    unit: int


class Purse:
    """Holds slices of budgets in memory; not to be shared by threads.

    Parameters
    ----------
    limits
        Returns the campaigns that run at this moment, each with its present day. What is held of
        others, such as yesterday's, is given back at the next refill.
    clock
        Seconds, never backwards.

    Attributes
    ----------
    holder
        Its name in the ledger.
    is_ready
        Whether the ledger was open to draws at the latest refill.
    """

    def __init__(
        self,
        ledger: Ledger,
        limits: Callable[[], Mapping[CampaignDay, Limits]],
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.holder = f"{HTTP_HOLDER}{uuid.uuid4().hex}"
        self.is_ready = False
        self._ledger = ledger
        self._limits = limits
        self._clock = clock
        self._epoch = ""
        self._slices: dict[CampaignDay, _Slice] = {}
        self._one_at_a_time = asyncio.Lock()
        self._closed = False

    def held(self, campaign: str, day: str) -> int:
        """Return how many micros may be reserved at this moment."""
        found = self._slices.get(CampaignDay(campaign, day))
        return found.held if found and not self._closed else 0

    def reserve(self, campaign: str, day: str, micros: int) -> bool:
        """Set the highest cost of a bid aside; False, and nothing is set aside, if not so much is held."""
        if micros < 0:
            raise ValueError(f"Expected micros >= 0, got {micros}")
        one = self._slices.get(CampaignDay(campaign, day))
        if one is None or self._closed:
            return False
        if micros > one.held:
            one.refused += micros
            return False
        one.reserved += micros
        return True

    def release(self, campaign: str, day: str, micros: int) -> None:
        """Free what was set aside for a bid that no partition will ever find in its log."""
        one = self._slices.get(CampaignDay(campaign, day))
        if one is None:  # of days long past
            return
        if not 0 <= micros <= one.reserved:
            raise ValueError(f"Expected 0 to {one.reserved} micros, as much as is reserved, got {micros}")
        one.reserved -= micros

    async def refill(self) -> None:
        """Tell what was received, give back what is too much, and draw what recent use asks for.

        Raises
        ------
        Unavailable
            Nothing is lost, and what is held stays in use.
        """
        async with self._one_at_a_time:
            await self._refill({} if self._closed else dict(self._limits()))

    async def close(self) -> None:
        """Bid no more, and give back what is not reserved; reservations stay committed.

        After Unavailable, repeat it.
        """
        async with self._one_at_a_time:
            self._closed = True
            # An answer that was lost may have granted something: ask, to give that back too.
            asking = {place: Want(0, 0, one.budget, one.received) for place, one in self._slices.items() if one.budget}
            await self._ask(asking)
            await self._refill({})

    async def _refill(self, limits: Mapping[CampaignDay, Limits]) -> None:
        now_s = self._clock()
        for place, limit in limits.items():
            one = self._slices.setdefault(place, _Slice(now_s))
            one.budget, one.unit, one.ran_at_s = limit.budget, limit.unit, now_s
        for place, one in self._slices.items():
            one.measure()
            if place not in limits:
                one.keep(0)
            elif one.held > 2 * one.target:
                one.keep(one.target)
        await self._report()
        await self._draw(limits)
        self._forget(now_s)

    async def _draw(self, limits: Mapping[CampaignDay, Limits]) -> None:
        wants = {place: want for place in limits if (want := self._slices[place].want).micros}
        if not await self._ask(wants):
            await self._ask({place: self._slices[place].want for place in limits})

    async def _ask(self, wants: Mapping[CampaignDay, Want]) -> bool:
        """Take on what is granted; False if the epoch is another: then everything was given back."""
        answer = await self._ledger.draw(self.holder, self._epoch, wants)
        self.is_ready = answer.epoch == self._epoch and not answer.missing
        if answer.epoch != self._epoch:
            await self._begin(answer.epoch)
            return False
        for place, drawn in answer.drawn.items():
            self._slices[place].received = max(self._slices[place].received, drawn.total)
        return True

    async def _begin(self, epoch: str) -> None:
        """Name what is held to a ledger that may not know of it, and may have granted it to others; give it back."""
        for one in self._slices.values():
            one.reported = None
        await self._report()
        self._epoch = epoch
        for one in self._slices.values():
            one.keep(0)
        await self._report()

    async def _report(self) -> None:
        news = {place: one.entry for place, one in self._slices.items() if one.entry != one.reported}
        if not news:
            return
        await self._ledger.report(self.holder, news)
        for place, entry in news.items():
            self._slices[place].reported = entry

    def _forget(self, now_s: float) -> None:
        over = [place for place, one in self._slices.items() if now_s - one.ran_at_s > _KEPT_S]
        for place in over:
            del self._slices[place]


class _Slice:
    """What is held of one campaign's day; micros, totals as in `Entry`.

    Attributes
    ----------
    reserved
        For bids, all day long; it falls only where a bid did not reach the log.
    refused
        What reservations found too little, since the latest refill.
    reported
        What the ledger is known to know; None: nothing.
    ran_at_s
        When the campaign was last seen to run on this day.
    """

    __slots__ = (
        *("received", "returned", "reserved", "refused", "reported"),
        *("budget", "unit", "ran_at_s", "_reserved_then", "_peak"),
    )

    def __init__(self, now_s: float) -> None:
        self.received = self.returned = self.reserved = self.refused = 0
        self.reported: Entry | None = None
        self.budget = self.unit = 0
        self.ran_at_s = now_s
        self._reserved_then = 0
        self._peak = 0.0

    @property
    def held(self) -> int:
        return self.received - self.returned - self.reserved

    @property
    def entry(self) -> Entry:
        return Entry(self.received, self.returned)

    def measure(self) -> None:
        """Note what was used since this was last called."""
        self._peak = max(self.reserved - self._reserved_then + self.refused, self._peak * _FADING)
        self._reserved_then, self.refused = self.reserved, 0

    @property
    def target(self) -> int:
        """How much is enough."""
        return max(2 * self.unit, int(_REFILLS_AHEAD * self._peak))

    @property
    def want(self) -> Want:
        micros = self.target - self.held if 2 * self.held < self.target else 0
        return Want(micros, self.unit, self.budget, self.received)

    def keep(self, micros: int) -> None:
        """Give back what is held above this."""
        self.returned += max(0, self.held - micros)
