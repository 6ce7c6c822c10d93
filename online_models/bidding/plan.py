"""When a campaign's budget should be spent: evenly in time, or after the traffic that the days before had.

A plan says which part of the budget should be gone by a time: 0 before the flight, 1 after it, straight lines between.
The curve of the day is learned in buckets of the time of day. A day that has passed a bucket counts fully for it, the
days before count less by `keep` each; a bucket that was seen on few days is drawn to the mean of all, so that without
any knowledge the plan is even in time. Buckets that were passed without traffic are known to have none; after a gap of
more than a day nobody was there to look, and nothing was learned.
"""

from __future__ import annotations

from bisect import bisect_right
from itertools import accumulate

from msgspec import Struct

DAY_MS = 86_400_000
BUCKET_MS = 15 * 60_000
BUCKETS = DAY_MS // BUCKET_MS
# The last week makes up four fifths of what is known.
KEEP = 0.8
# A bucket seen on one day is believed by four fifths: a quarter of an hour has surprises of its own. Half would cost
# some 2 % of what a campaign buys on days that are alike (`streamscore simulate-auctions --market daily`).
PRIOR_DAYS = 0.25


class Plan(Struct, frozen=True, array_like=True):
    """The part of a budget that should be spent by a time.

    Attributes
    ----------
    starts_ms
        Before it, the part is 0.
    knots_ms, shares
        Times, ascending, and the part at each; between them it grows steadily. The last share is 1.
    """

    starts_ms: int
    knots_ms: tuple[int, ...]
    shares: tuple[float, ...]

    @property
    def ends_ms(self) -> int:
        """From then on, the part is 1."""
        return self.knots_ms[-1]

    def share(self, at_ms: int) -> float:
        """Return the part of the budget that should be spent by then, 0 to 1."""
        if at_ms <= self.starts_ms:
            return 0.0
        place = bisect_right(self.knots_ms, at_ms)
        if place == len(self.knots_ms):
            return 1.0
        from_ms, before = (self.knots_ms[place - 1], self.shares[place - 1]) if place else (self.starts_ms, 0.0)
        gone = (at_ms - from_ms) / (self.knots_ms[place] - from_ms)
        return before + (self.shares[place] - before) * gone


def even_plan(starts_ms: int, ends_ms: int) -> Plan:
    """Return the plan that spends as much in each second.

    Examples
    --------
    >>> plan = even_plan(1_000, 5_000)
    >>> [plan.share(at_ms) for at_ms in (0, 1_000, 2_000, 5_000, 9_000)]
    [0.0, 0.0, 0.25, 1.0, 1.0]
    """
    return Plan(starts_ms, (max(ends_ms, starts_ms + 1),), (1.0,))


class CurveState(Struct, array_like=True):
    """What a `DayCurve` knows; the amounts and the days of each bucket, and the last bucket that was entered."""

    amounts: list[float]
    days: list[float]
    last: int | None = None


class DayCurve:
    """Learns how traffic, or value, is spread over the day.

    Examples
    --------
    A day on which all traffic came before noon, believed by four fifths:

    >>> curve = DayCurve()
    >>> for at_ms in range(0, DAY_MS, BUCKET_MS):
    ...     curve.observe(at_ms, 2.0 if at_ms < DAY_MS // 2 else 0.0)
    >>> round(curve.plan(DAY_MS, 2 * DAY_MS).share(DAY_MS + DAY_MS // 2), 6)
    0.9
    """

    def __init__(self) -> None:
        self._state = CurveState([0.0] * BUCKETS, [0.0] * BUCKETS)

    def observe(self, at_ms: int, amount: float = 1.0) -> None:
        """Count what came at a time: 1 for traffic, or the value of the impression.

        What comes late counts for its own time of the day, unless nobody looked then yet.
        """
        state, bucket = self._state, at_ms // BUCKET_MS
        if state.last is None or bucket > state.last:
            self._enter(bucket)
        if state.days[bucket % BUCKETS]:
            state.amounts[bucket % BUCKETS] += amount

    def _enter(self, bucket: int) -> None:
        """Let the buckets up to this one begin another day."""
        state = self._state
        looked = state.last is not None and bucket - state.last <= BUCKETS
        for entered in range(state.last + 1 if looked and state.last is not None else bucket, bucket + 1):
            place = entered % BUCKETS
            state.amounts[place] *= KEEP
            state.days[place] = state.days[place] * KEEP + 1.0
        state.last = bucket

    def plan(self, starts_ms: int, ends_ms: int) -> Plan:
        """Return the plan of a flight after what was learned."""
        weights = self._weights()
        if weights is None or ends_ms <= starts_ms:
            return even_plan(starts_ms, ends_ms)
        first, last = starts_ms // BUCKET_MS, (ends_ms - 1) // BUCKET_MS
        knots = [min((bucket + 1) * BUCKET_MS, ends_ms) for bucket in range(first, last + 1)]
        lengths = [after - before for before, after in zip([starts_ms, *knots], knots, strict=False)]
        parts = [
            weights[bucket % BUCKETS] * length for bucket, length in zip(range(first, last + 1), lengths, strict=True)
        ]
        sums = [*accumulate(parts)]
        return Plan(starts_ms, tuple(knots), (*(one / sums[-1] for one in sums[:-1]), 1.0))

    def _weights(self) -> list[float] | None:
        """Return what each bucket has against the mean of all; None if nothing is known."""
        amounts, days = self._state.amounts, self._state.days
        rates = [amount / seen for amount, seen in zip(amounts, days, strict=True) if seen]
        mean = sum(rates) / len(rates) if rates else 0.0
        if mean <= 0.0:
            return None
        return [(amount / mean + PRIOR_DAYS) / (seen + PRIOR_DAYS) for amount, seen in zip(amounts, days, strict=True)]

    def state(self) -> CurveState:
        """Return what is known, a copy."""
        return CurveState([*self._state.amounts], [*self._state.days], self._state.last)

    def restore(self, state: CurveState) -> None:
        """Go on from what `state` gave."""
        self._state = CurveState([*state.amounts], [*state.days], state.last)
