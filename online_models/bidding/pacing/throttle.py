"""Probabilistic throttling: the bid stays, the chance to take part is what is controlled.

Agarwal, Ghosh, Wei and You, "Budget Pacing for Targeted Online Advertisements at LinkedIn" (KDD 2014, section 3): each
minute the spend is compared with what is allocated; the pass-through rate goes up by a tenth if it is behind, and down
by a tenth if it is ahead.

Two things are not as theirs. They compare all that was spent so far, which swings: a rate that was raised all the while
one was behind is far too high when one no longer is. Here it is the spend of the minute, against what the plan wants of
it. And their rate ends at 1, where a campaign whose bids are too low for its budget stays behind; here control goes on
and raises the multiplier, as far as that may go.
"""

from __future__ import annotations

from online_models.bidding.pacing.base import Bounds, Pace
from online_models.bidding.pacing.progress import Progress
from online_models.bidding.pacing.stepped import Interval, Stepped, SteppedPacer

# Below it a campaign would hardly hear that it might spend more again.
LEAST_RATE = 0.001


class ThrottleState(Stepped):
    """All that a `ThrottlePacer` knows. Up to 1 `effort` is the rate, above it multiplies the multiplier."""

    effort: float = 1.0


class ThrottlePacer(SteppedPacer[ThrottleState]):
    """Lets a part of the opportunities pass.

    Parameters
    ----------
    bounds
        `start` is the multiplier while the rate is below 1.
    every_ms
        How often the rate changes.
    step
        By which part it changes.
    """

    kind = "throttle"

    def __init__(self, bounds: Bounds, *, every_ms: int, step: float) -> None:
        self._multiplier, self._highest = bounds.start, bounds.most
        self._most = max(1.0, bounds.most / bounds.start)
        self._change = step
        super().__init__(ThrottleState(Interval(Progress())), every_ms)

    @property
    def pace(self) -> Pace:
        """How to bid now."""
        effort = self._state.effort
        return Pace(min(self._multiplier * max(effort, 1.0), self._highest), (), (min(effort, 1.0),))

    def _step(self) -> None:
        behind = self._state.interval.error() > 0.0
        effort = self._state.effort * (1.0 + self._change if behind else 1.0 - self._change)
        self._state.effort = min(max(effort, LEAST_RATE), self._most)
