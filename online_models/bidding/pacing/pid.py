"""PID control of the multiplier.

Feedback control of real-time bidding after Zhang, Rong, Wang, Zhu and Wang (WSDM 2016, section 3): every so often the
measured figure is compared with its reference, the error goes through a PID controller, and the bid is the base bid
times exp(signal), within bounds. The figure here is the spend of the interval, the reference what the plan wants of it,
the error their difference as a part of the reference. The integral is kept as the base of the logarithm, and bounded
like it, so it cannot wind up.
"""

from __future__ import annotations

from math import log

from online_models.bidding.pacing.base import Bounds, Flight, Pace
from online_models.bidding.pacing.progress import Progress
from online_models.bidding.pacing.stepped import Interval, Stepped, SteppedPacer


class PidState(Stepped):
    """All that a `PidPacer` knows."""

    integral: float = 0.0
    error: float = 0.0
    log_multiplier: float = 0.0


class PidPacer(SteppedPacer[PidState]):
    """Moves the multiplier by the error of the spend, its sum and its change.

    Parameters
    ----------
    every_ms
        Length of an interval.
    kp, ki, kd
        Gains of the error, its sum and its change; in logarithms of the multiplier for spending nothing at all.
    """

    kind = "pid"

    def __init__(self, bounds: Bounds, *, every_ms: int, kp: float, ki: float, kd: float) -> None:
        self._bounds = bounds
        self._low, self._high = log(bounds.least), log(bounds.most)
        self._gains = kp, ki, kd
        start = log(bounds.start)
        super().__init__(PidState(Interval(Progress()), start, 0.0, start), every_ms)

    @property
    def pace(self) -> Pace:
        """How to bid now."""
        return Pace(self._bounds.multiplier(self._state.log_multiplier))

    def begin(self, flight: Flight) -> None:
        """Start a flight, from the multiplier of the one before."""
        super().begin(flight)
        self._state.error, self._state.log_multiplier = 0.0, self._state.integral

    def _step(self) -> None:
        state, (kp, ki, kd) = self._state, self._gains
        error = state.interval.error()
        state.integral = self._bounded(state.integral + ki * error)
        signal = state.integral + kp * error + kd * (error - state.error)
        state.log_multiplier = self._bounded(signal)
        state.error = error

    def _bounded(self, logarithm: float) -> float:
        return min(max(logarithm, self._low), self._high)
