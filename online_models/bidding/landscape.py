"""What a bid is expected to win and to cost, and which bid gains most: the bidders' side of the win-price model.

Curves are made of the numbers of a `WinPrices` when they are asked for, once for each version of the numbers; so are
the answers functions of the numbers alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from online_models.bidding.price_curve import PRIOR_STRENGTH, Curve, PriceRules, hazards, likely_below
from online_models.bidding.price_heaps import Steps
from online_models.bidding.win_price import BEYOND, COUNT, GONE, HEAP, HEAPED, NOW, PRICES, WHOLE


class Landscape:
    """What a bid is expected to win and to cost, from the numbers of a `WinPrices`.

    Parameters
    ----------
    weights
        Numbers by name; may change and grow between calls.
    rules
        The same as those of the learner.

    Examples
    --------
    >>> rules = PriceRules(lowest=1.0, highest=4.0, bins=3)
    >>> nothing = Landscape({}, rules)
    >>> round(nothing.win_rate("site", 2.0), 3), nothing.shade("site", 3.0, low=0.0, high=2.0)
    (0.667, 2.0)
    """

    def __init__(self, weights: Mapping[str, float], rules: PriceRules | None = None) -> None:
        self._weights = weights
        self._rules = rules or PriceRules()
        self._edges = self._rules.edges()
        self._prior = self._rules.prior_hazards()
        self._version = -1.0  # of the numbers that curves were made of: how many auctions were counted
        self._curves: dict[str, Curve] = {}
        self._whole_hazards = self._prior
        self._steps = Steps(self._edges, ())
        self._known = self._now = 0.0

    def win_rate(self, key: str, bid: float) -> float:
        """Return how likely a bid is to win, from 0 to 1; never less for a higher bid.

        With nothing known, prices are taken to be log-uniform between the lowest and the highest of the rules.
        """
        return self.curve(key).win_rate(bid)

    def expected_cost(self, key: str, bid: float, auction: Literal["first", "second"]) -> float:
        """Return what making this bid is expected to cost: what is paid if it wins, times how likely that is."""
        return self.curve(key).paid(bid, auction)

    def shade(self, key: str, value: float, *, low: float, high: float) -> float:
        """Return the bid from `low` to `high` that gains most in a first-price auction: (value - bid) x win rate.

        Until `enough` auctions are known of the whole it is `start` x value, within the bounds.
        """
        curve = self.curve(key)
        if self._known < self._rules.enough:
            return max(low, min(self._rules.start * value, high))
        return curve.shade(value, low=low, high=high)

    def curve(self, key: str) -> Curve:
        """Return the curve of a slice; the whole's, if nothing is known of the slice."""
        version = self._weights.get(WHOLE + COUNT, 0.0)
        if version != self._version:
            self._begin(version)
        curve = self._curves.get(key)
        if curve is None:
            if not self._weights.get(key + COUNT):
                return self._curves[WHOLE]
            found = hazards(*self._read(key), self._whole_hazards, self._rules.strength * self._now)
            curve = self._curves[key] = self._made(found)
        return curve

    def _begin(self, version: float) -> None:
        prices, beyond = self._read(WHOLE)
        self._now = self._weights.get(WHOLE + NOW, 1.0)
        self._known = (sum(prices) + sum(beyond)) / self._now
        self._whole_hazards = hazards(prices, beyond, self._prior, PRIOR_STRENGTH * self._now)
        heaps = zip(self._numbers(WHOLE + HEAP), self._numbers(WHOLE + HEAPED), strict=True)
        self._steps = Steps(self._edges, list(heaps))
        self._curves = {WHOLE: self._made(self._whole_hazards)}
        self._version = version

    def _made(self, found: list[float]) -> Curve:
        return Curve(self._steps.edges, self._steps.filled(likely_below(found)))

    def _read(self, key: str) -> tuple[list[float], list[float]]:
        return self._numbers(key + PRICES), self._numbers(key + BEYOND)

    def _numbers(self, name: str) -> list[float]:
        get = self._weights.get
        return [get(f"{name}{k}", GONE) for k in range(self._rules.bins)]
