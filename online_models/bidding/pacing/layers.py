"""Smart pacing: what responds best takes part first.

Xu, Lee, Li, Qi and Lu, "Smart Pacing for Effective Online Ad Campaign Optimization" (KDD 2015, section 4): requests are
put into layers by their predicted response, each layer has a rate, and budget goes to the layers from the top: full
rates down to one layer with a rate between, none below it. Bids stay, as with throttling; once all layers take part,
control goes on with the multiplier.

One number is controlled, the share of the opportunities that take part, best first. Theirs knows what each layer
spends; a cost here is not told with its layer, so the share follows the error of the whole spend. Each layer holds half
of the traffic of the one below: it is at the top that small budgets are spent. Where the layers lie is learned from the
values seen.
"""

from __future__ import annotations

from math import exp, floor, log, log2

from online_models.bidding.pacing.base import Bounds, Pace
from online_models.bidding.pacing.progress import Progress
from online_models.bidding.pacing.stepped import Interval, Stepped, SteppedPacer

# Values are counted in bins of which eight double them.
_BINS = 8
# Values beyond 2^±60 are counted as these.
_FARTHEST = 60 * _BINS
# What was seen so many intervals ago counts e times less.
_MEMORY = 500
# Of the opportunities; less would hardly hear that more might be spent.
_LEAST_LOG_SHARE = log(0.0005)


class LayersState(Stepped):
    """All that a `LayersPacer` knows; `log_share` above 0 raises the multiplier."""

    counts: dict[int, float] = {}
    log_share: float = 0.0
    edges: tuple[float, ...] = ()
    rates: tuple[float, ...] = (1.0,)


class LayersPacer(SteppedPacer[LayersState]):
    """Lets the opportunities of highest value take part.

    Parameters
    ----------
    bounds
        `start` is the multiplier while not all take part.
    every_ms
        How often the rates change.
    gain
        By how much the logarithm of the share changes if nothing was spent.
    layers
        How many.
    """

    kind = "layers"

    def __init__(self, bounds: Bounds, *, every_ms: int, gain: float, layers: int) -> None:
        self._multiplier, self._highest = bounds.start, bounds.most
        self._most = max(0.0, log(bounds.most / bounds.start))
        self._gain, self._layers = gain, layers
        super().__init__(LayersState(Interval(Progress())), every_ms)

    @property
    def pace(self) -> Pace:
        """How to bid now."""
        state = self._state
        multiplier = min(self._multiplier * exp(max(state.log_share, 0.0)), self._highest)
        return Pace(multiplier, state.edges, state.rates)

    def opportunity(self, at_ms: int, value: float) -> None:
        """Count an auction the campaign may take part in."""
        counts, place = self._state.counts, _bin(value)
        counts[place] = counts.get(place, 0.0) + 1.0
        self._reach(at_ms)

    def _step(self) -> None:
        state = self._state
        moved = state.log_share + self._gain * state.interval.error()
        state.log_share = min(max(moved, _LEAST_LOG_SHARE), self._most)
        state.edges, state.rates = self._laid_out()
        keep = 1.0 - 1.0 / _MEMORY
        state.counts = {place: count * keep for place, count in state.counts.items() if count > 1e-6}

    def _laid_out(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Return edges and rates for this share, from the lowest layer to the highest."""
        share = exp(self._state.log_share)
        if share >= 1.0:
            return (), (1.0,)
        edges: list[float] = []
        rates: list[float] = []
        above = 0.0  # share of the opportunities in the layers above this one
        for edge, reaches in self._tops():
            rates.append(_within(share, above, reaches))
            edges.append(edge)
            above = reaches
        rates.append(_within(share, above, 1.0))
        return tuple(reversed(edges)), tuple(reversed(rates))

    def _tops(self) -> list[tuple[float, float]]:
        """Return the lower bounds of the layers but the lowest, from the top, with the share of all that lies above."""
        counts = self._state.counts
        total, seen, found = sum(counts.values()), 0.0, list[tuple[float, float]]()
        goal = 0.5 ** (self._layers - 1)
        for place in sorted(counts, reverse=True):
            seen += counts[place]
            if seen >= goal * total and goal < 1.0 and seen < total:
                found.append((2.0 ** (place / _BINS), seen / total))
                while goal * total <= seen:
                    goal *= 2.0
        return found


def _bin(value: float) -> int:
    if not value > 0.0:
        return -_FARTHEST
    return min(max(floor(log2(min(value, 2.0**60)) * _BINS), -_FARTHEST), _FARTHEST)


def _within(share: float, above: float, reaches: float) -> float:
    return min(max((share - above) / (reaches - above), 0.0), 1.0) if reaches > above else 1.0
