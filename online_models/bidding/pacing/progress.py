"""How far a flight has come, and how fast money should go from here.

What is wanted is the plan's spend of the time to come, faster or slower by what one is behind or ahead: that is made up
for within `HORIZON` of the flight (or what is left of it), and never at more than `FASTEST` times the plan's pace. So
hours without traffic are not followed by a spending spree, and at the end of the flight the rest is what is wanted.
"""

from __future__ import annotations

from msgspec import Struct

from online_models.bidding.pacing.base import Flight

# A day's error is made up for within two hours: with less one follows the plan closer and buys a little less.
HORIZON = 1 / 12
FASTEST = 2.0


class Progress(Struct):
    """The money of a flight.

    Attributes
    ----------
    now_ms
        The latest time seen in this flight.
    spent
        In this flight.
    from_share, from_spent
        Where the plan stood and what was spent when the budget was last declared; what is left is spent after the plan.
    """

    flight: Flight | None = None
    now_ms: int = 0
    spent: float = 0.0
    from_share: float = 0.0
    from_spent: float = 0.0

    def begin(self, flight: Flight) -> None:
        """Start another flight, or go on in the same one with another budget or plan."""
        before = self.flight
        self.flight = flight
        if before is None or before.starts_ms != flight.starts_ms:
            self.now_ms, self.spent = flight.starts_ms, 0.0
        self.from_share, self.from_spent = flight.plan.share(self.now_ms), self.spent

    def reach(self, at_ms: int) -> int:
        """Go on to a time; return by how much time went on, within the flight."""
        flight = self.flight
        if flight is None:
            return 0
        at_ms = min(at_ms, flight.ends_ms)
        gone = at_ms - self.now_ms
        if gone <= 0:
            return 0
        self.now_ms = at_ms
        return gone

    def pay(self, at_ms: int, cost: float) -> bool:
        """Count a cost, unless it is of the time before this flight: another budget paid for it; tell which."""
        counts = self.flight is not None and at_ms >= self.flight.starts_ms
        if counts:
            self.spent += cost
        return counts

    def target(self, at_ms: int) -> float:
        """Return what should be spent by then."""
        flight = self.flight
        if flight is None:
            return 0.0
        left = 1.0 - self.from_share
        part = (flight.plan.share(at_ms) - self.from_share) / left if left > 0.0 else 1.0
        return self.from_spent + (flight.budget - self.from_spent) * part

    def wanted(self, span_ms: int) -> float:
        """Return what should be spent within a time from now on; >= 0.

        Parameters
        ----------
        span_ms
            Short against the flight.
        """
        flight = self.flight
        if flight is None or self.now_ms >= flight.ends_ms or self.spent >= flight.budget:
            return 0.0
        now, target = self.now_ms, self.target(self.now_ms)
        planned = self.target(min(now + span_ms, flight.ends_ms)) - target
        horizon = (flight.ends_ms - flight.starts_ms) * HORIZON
        soon = self.target(min(now + max(int(horizon), span_ms), flight.ends_ms)) - target
        if soon <= 0.0:  # the plan wants no more: a plan without traffic here, or a budget cut below what was spent
            return max(0.0, min(target - self.spent, flight.budget - self.spent)) * span_ms / max(horizon, span_ms)
        return max(0.0, planned * min(FASTEST, 1.0 + (target - self.spent) / soon))
