"""Dual pacing: the multiplier is the inverse price of money, learned by following the spend of each auction.

In a second-price auction the best bids under a budget are value / (1 + mu), with one mu >= 0 for the flight. Balseiro
and Gur (Management Science 65(9), 2019, section 4) learn it by gradient steps, mu <- P[mu - eps (rho - z)], where z is
what the auction cost and rho what it might have cost: adaptive pacing. Steps here are on log(1 + mu), relative to rho:
dual mirror descent with the entropy as reference (Balseiro, Lu and Mirrokni, Operations Research 71(1), 2023), since
nobody knows the scale of prices before. The bounds of the multiplier are those of the projection P; with `most` of 1
mu is never negative.

rho is the plan's spend of the time since the last opportunity, not budget / number of auctions: nobody knows how many
will come, and the plan need not be even. Steps are as 1 / sqrt(number of opportunities), first of those seen, then of
those of a whole flight, as the regret bounds want it.
"""

from __future__ import annotations

from math import log, sqrt

from msgspec import Struct

from online_models.bidding.pacing.base import Bounds, Flight, Pace
from online_models.bidding.pacing.progress import Progress
from online_models.bidding.pacing.saving import packed, unpacked

# How often the plan is asked, as a part of the flight: more often changes nothing that can be measured.
_REFRESHES = 2_000
# Gaps between opportunities are remembered over so many of them.
_MEMORY = 2_000
# No auction moves the multiplier by more than this, in logarithms: one price must not undo what hundreds have taught.
_LONGEST_STEP = 0.25
# The first opportunities count as if so many had gone before.
_FIRST = 25


class DualState(Struct):
    """All that a `DualPacer` knows."""

    progress: Progress
    log_multiplier: float
    opportunities: int = 0
    gap_ms: float = 0.0
    wanted_per_ms: float = 0.0
    refresh_ms: int = 0
    step: float = 0.0
    unit: float = 0.0


class DualPacer:
    """Adaptive multiplicative pacing.

    Parameters
    ----------
    step
        Of the gradient, as a multiple of 1 / sqrt(opportunities).
    """

    kind = "dual"

    def __init__(self, bounds: Bounds, *, step: float) -> None:
        self._bounds = bounds
        self._low, self._high = log(bounds.least), log(bounds.most)
        self._step = step
        self._state = DualState(Progress(), log(bounds.start))

    @property
    def pace(self) -> Pace:
        """How to bid now."""
        return Pace(self._bounds.multiplier(self._state.log_multiplier))

    def begin(self, flight: Flight) -> None:
        """Start a flight, from the multiplier of the one before."""
        self._state.progress.begin(flight)
        self._refresh()

    def opportunity(self, at_ms: int, value: float) -> None:
        """Count an auction the campaign may take part in: the plan's spend since the last one is wanted in it."""
        state = self._state
        gone_ms = state.progress.reach(at_ms)
        state.opportunities += 1
        state.gap_ms += (gone_ms - state.gap_ms) / min(state.opportunities, _MEMORY)
        if state.progress.now_ms >= state.refresh_ms:
            self._refresh()
        if state.unit > 0.0:
            self._move(state.step * gone_ms * state.wanted_per_ms / state.unit)

    def spent(self, at_ms: int, cost: float) -> None:
        """Count what an auction cost."""
        state = self._state
        if state.progress.pay(at_ms, cost) and state.unit > 0.0:
            self._move(-state.step * cost / state.unit)

    def _move(self, by: float) -> None:
        state = self._state
        to = state.log_multiplier + min(max(by, -_LONGEST_STEP), _LONGEST_STEP)
        state.log_multiplier = min(max(to, self._low), self._high)

    def _refresh(self) -> None:
        """Ask the plan how fast money should go, and fit the steps to how fast opportunities come."""
        state, flight = self._state, self._state.progress.flight
        if flight is None:
            return
        span_ms = max(1, (flight.ends_ms - flight.starts_ms) // _REFRESHES)
        state.refresh_ms = state.progress.now_ms + span_ms
        state.wanted_per_ms = state.progress.wanted(span_ms) / span_ms
        if state.gap_ms > 0.0:
            expected = (flight.ends_ms - flight.starts_ms) / state.gap_ms
            state.step = self._step / sqrt(min(state.opportunities + _FIRST, max(expected, 1.0)))
            if state.wanted_per_ms > 0.0:
                state.unit = state.wanted_per_ms * state.gap_ms

    def state(self) -> bytes:
        """Return all that is known."""
        return packed(self.kind, self._state)

    def restore(self, state: bytes) -> None:
        """Go on from what `state` gave; raises BadRecord."""
        self._state = unpacked(state, self.kind, DualState)
