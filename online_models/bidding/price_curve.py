"""How likely the highest competing price is to lie below a bid: a curve over bins of price, and the best bid on it.

The competing price of an auction is seldom seen. A price that is told is exact; a lost auction says that the price was
at least the bid (right-censored), and a won one that it was at most the bid (left-censored). On bins of price, the
*hazard* of a bin is the chance that a price lies in it if it does not lie below it. With exact prices and lost auctions
the estimate is that of Kaplan and Meier (JASA 1958): those in the bin over those known to reach it. For real-time
bidding this is Wang et al., "Functional bid landscape forecasting" (ECML 2016), equation 8. A left-censored price is
spread over the bins it may lie in as the curve itself says, again and again: self-consistency (Turnbull, JRSS B 1976).

Where little is known the hazard moves towards another curve's, as if that had been seen `strength` times: the mean
under a beta process (Hjort, Annals of Statistics 1990). It does so bin by bin, so a slice of which only low bids are
known has its own low end and the whole's high end.

Refused: a log-logistic or log-normal curve for each slice (Wu, Yeh, Chen, KDD 2015; Zhou et al., KDD 2021). It has two
numbers in place of two for each bin, and where prices are smooth it follows their drift better; but real prices stand
in heaps on round numbers and floors, which it cannot show. `benchmarks.win_price` measures both.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from itertools import accumulate, pairwise

from msgspec import Struct


class PriceRules(Struct, frozen=True, forbid_unknown_fields=True):
    """What learner and readers of win prices must agree on.

    Attributes
    ----------
    lowest, highest
        Prices between which bins lie, evenly on the logarithm, in currency per impression. The first bin holds all
        that is below too; of prices above the highest only that is known. The defaults are a CPM of 0.1 to 1,000.
    bins
        Their number; 80 over four powers of ten are steps of 12 %.
    half_life_ms
        Event time in which what was learned comes to weigh half.
    most_slices
        So many slices at most, beside the whole; beyond, those of which least is known are forgotten.
    strength
        So many auctions of a slice weigh as much as what the whole says of it.
    enough
        Below so many auctions the curve is not used to shade bids.
    start
        Until then, the bid as a share of the value.
    """

    lowest: float = 1e-4
    highest: float = 1.0
    bins: int = 80
    half_life_ms: int = 24 * 3_600_000
    most_slices: int = 256
    strength: float = 50.0
    enough: float = 50.0
    start: float = 0.7

    def __post_init__(self) -> None:
        if not 0.0 < self.lowest < self.highest < float("inf"):
            raise ValueError(f"Expected 0 < lowest < highest, got {self.lowest} and {self.highest}")
        if self.bins < 1 or self.half_life_ms < 1 or self.most_slices < 1:
            raise ValueError("bins, half_life_ms and most_slices must be at least 1")
        if not (0.0 < self.strength < float("inf") and self.enough >= 0.0 and 0.0 <= self.start <= 1.0):
            raise ValueError("Expected strength > 0, enough >= 0 and start from 0 to 1")

    def edges(self) -> list[float]:
        """Return the edges of the bins: 0, then the upper edge of each.

        Examples
        --------
        >>> PriceRules(lowest=1.0, highest=4.0, bins=3).edges()
        [0.0, 1.0, 2.0, 4.0]
        """
        if self.bins == 1:
            return [0.0, self.highest]
        rise = self.highest / self.lowest
        return [0.0, *(self.lowest * rise ** (k / (self.bins - 1)) for k in range(self.bins - 1)), self.highest]

    def prior_hazards(self) -> list[float]:
        """Return what is believed before anything is known: every bin is as likely, prices are log-uniform.

        Examples
        --------
        >>> PriceRules(bins=4).prior_hazards()
        [0.25, 0.3333333333333333, 0.5, 1.0]
        """
        return [1.0 / (self.bins - k) for k in range(self.bins)]


# So often what the rules believe before anything is known counts as seen, for the whole.
PRIOR_STRENGTH = 1.0


def hazards(prices: Sequence[float], beyond: Sequence[float], others: Sequence[float], strength: float) -> list[float]:
    """Return the hazard of each bin.

    Parameters
    ----------
    prices
        Weight of the prices in each bin.
    beyond
        Weight of those of which only that is known that they lie above the upper edge of the bin.
    others
        Hazards of the curve to move towards.
    strength
        Weight of that curve; > 0.

    Examples
    --------
    Two prices in each of two bins, and four of which only that is known that they lie above the first bin.

    >>> hazards([2.0, 2.0], [4.0, 0.0], [0.25, 1.0], 30.0)
    [0.25, 1.0]
    """
    reached = 0.0
    found = []
    for inside, above, other in zip(reversed(prices), reversed(beyond), reversed(others), strict=True):
        reached += inside + above
        found.append((inside + strength * other) / (reached + strength))
    found.reverse()
    return found


def likely_below(hazards: Sequence[float]) -> list[float]:
    """Return how likely a price is to lie below each edge: 0, then one number for each bin.

    Examples
    --------
    >>> likely_below([0.25, 1.0])
    [0.0, 0.25, 1.0]
    """
    left = 1.0
    below = [0.0]
    for hazard in hazards:
        left -= left * hazard
        below.append(1.0 - left)
    return below


def spread(left: Sequence[float], below: Sequence[float], into: list[float]) -> None:
    """Spread left-censored prices over the bins they may lie in, as the curve says: one step of self-consistency.

    Parameters
    ----------
    left
        Weight of those of which only that is known that they lie below the upper edge of the bin.
    below
        As `likely_below` tells.
    into
        Weight of the prices in each bin; what is spread is added to it.
    """
    share = 0.0
    for k in range(len(left) - 1, -1, -1):
        if left[k]:
            if below[k + 1] > _NOTHING:
                share += left[k] / below[k + 1]
            else:
                into[k] += left[k]  # the curve holds it for impossible
        into[k] += share * (below[k + 1] - below[k])


# Shares below this are rounding errors of 1 minus something.
_NOTHING = 1e-12


class Curve:
    """The competing price of a slice: piecewise uniform over the bins.

    Parameters
    ----------
    edges
        0, and the upper edge of each bin, rising.
    below
        How likely a price is to lie below each; from 0, never falling, at most 1.

    Examples
    --------
    Prices are uniform from 0 to 1, and an impression is worth 0.8.

    >>> curve = Curve([0.0, 0.5, 1.0], [0.0, 0.5, 1.0])
    >>> curve.win_rate(0.25), curve.paid(0.5, "second"), curve.paid(0.5, "first")
    (0.25, 0.125, 0.25)
    >>> curve.shade(0.8, low=0.0, high=1.0)
    0.4
    """

    __slots__ = ("_below", "_edges", "_gained")

    def __init__(self, edges: Sequence[float], below: Sequence[float]) -> None:
        self._edges = edges
        self._below = below
        self._gained: list[float] | None = None

    def win_rate(self, bid: float) -> float:
        """Return how likely a bid is to win; above the last edge, as likely as there."""
        edges, below = self._edges, self._below
        if bid <= 0.0:
            return 0.0
        if bid >= edges[-1]:
            return below[-1]
        k = bisect_left(edges, bid)
        start = below[k - 1]
        return start + (below[k] - start) * ((bid - edges[k - 1]) / (edges[k] - edges[k - 1]))

    def paid(self, bid: float, auction: str) -> float:
        """Return what a bid is expected to cost: the price if it wins, 0 if not.

        Parameters
        ----------
        auction
            `first`: the bid is paid; `second`: the competing price.
        """
        if auction == "first":
            return max(bid, 0.0) * self.win_rate(bid)
        edges, below = self._edges, self._below
        if self._gained is None:
            bins = zip(pairwise(edges), pairwise(below), strict=True)
            self._gained = [0.0, *accumulate((high - low) * (p + q) / 2.0 for (low, high), (p, q) in bins)]
        if bid <= 0.0:
            return 0.0
        bid = min(bid, edges[-1])
        rate = self.win_rate(bid)
        k = bisect_left(edges, bid) - 1
        # By parts: the mean of the price, where it is below the bid, is bid x rate less the area under the curve.
        area = self._gained[k] + (bid - edges[k]) * (below[k] + rate) / 2.0
        return min(max(bid * rate - area, 0.0), bid * rate)

    def shade(self, value: float, *, low: float, high: float) -> float:
        """Return the bid from `low` to `high` that gains most in a first-price auction: (value - bid) x win rate.

        `low` if nothing can be gained. Within a bin the gain is a parabola, so the best is exact.
        """
        edges, below = self._edges, self._below
        low = max(low, 0.0)
        top = min(high, value, edges[-1])
        best, gain = low, (value - low) * self.win_rate(low)
        if low >= top:
            return best
        first, last = bisect_right(edges, low), bisect_left(edges, top)
        for bid, rate in zip(edges[first:last], below[first:last], strict=True):
            here = (value - bid) * rate
            if here > gain:
                best, gain = bid, here
        # What wins too seldom gains less even if it costs nothing, and what costs too much even if it always wins.
        first = max(first, bisect_right(below, gain / value))
        last = min(last, bisect_left(edges, value - gain))
        for k in range(first, last + 1):
            left, p, q = edges[k - 1], below[k - 1], below[k]
            if (value - left) * q > gain and q > p:
                width = edges[k] - left
                bid = max(left, low, min((value + left - p * width / (q - p)) / 2.0, edges[k], top))
                here = (value - bid) * (p + (q - p) * ((bid - left) / width))
                if here > gain:
                    best, gain = bid, here
        return best
