"""On which prices prices stand in heaps: round numbers, floors, bids of those who always bid the same.

One price is kept for each bin, with votes: the same price again is a vote for it, another one a quarter of a vote
against it, and who has no votes left is replaced (Boyer and Moore's majority vote, with a fifth in place of a half). So
the price that stays is one on which more than a fifth of the prices in its bin stand.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from math import ldexp

from msgspec import Struct

_AGAINST = 0.25
# A price on which fewer stand is no heap, and so few prices tell nothing yet.
_SHARE, _ENOUGH = 0.2, 10.0
# A step needs a little room; nobody bids so little below a heap.
_JUST_BELOW = 1.0 - 1e-9


class PriceHeaps(Struct, array_like=True):
    """For each bin a price, the votes for it, and since it is there the weight of its own and of all prices."""

    prices: list[float]
    votes: list[float]
    own: list[float]
    all: list[float]

    @classmethod
    def of(cls, bins: int) -> PriceHeaps:
        """Return no heaps in so many bins."""
        return cls([0.0] * bins, [0.0] * bins, [0.0] * bins, [0.0] * bins)

    def copy(self) -> PriceHeaps:
        """Return another one that holds the same."""
        return PriceHeaps(list(self.prices), list(self.votes), list(self.own), list(self.all))

    def add(self, k: int, price: float, weight: float) -> None:
        """Count a price in bin k."""
        if price == self.prices[k]:
            self.votes[k] += weight
            self.own[k] += weight
            self.all[k] += weight
        elif self.votes[k] > weight * _AGAINST:
            self.votes[k] -= weight * _AGAINST
            self.all[k] += weight
        else:
            self.prices[k] = price
            self.votes[k] = self.own[k] = self.all[k] = weight

    def divide(self, shift: int) -> None:
        """Divide all weights by a power of two."""
        for one in (self.votes, self.own, self.all):
            one[:] = [ldexp(weight, -shift) for weight in one]

    def share(self, k: int, unit: float) -> float:
        """Return which share of the prices in bin k stands on its heap; 0: there is none. `unit`: weight of a price."""
        if self.all[k] < _ENOUGH * unit or self.own[k] < _SHARE * self.all[k]:
            return 0.0
        return self.own[k] / self.all[k]


class Steps:
    """Bins with the steps that heaps make in them: the same for the curves of all slices.

    Parameters
    ----------
    edges
        0, and the upper edge of each bin.
    heaps
        Price and share of the heap in each bin; share 0: none.

    Examples
    --------
    Half of what lies between 1 and 2 stands on 1.5.

    >>> steps = Steps([0.0, 1.0, 2.0], [(0.0, 0.0), (1.5, 0.5)])
    >>> [round(edge, 6) for edge in steps.edges], steps.filled([0.0, 0.2, 1.0])
    ([0.0, 1.0, 1.5, 1.5, 2.0], [0.0, 0.2, 0.4, 0.8, 1.0])
    """

    def __init__(self, edges: Sequence[float], heaps: Sequence[tuple[float, float]]) -> None:
        self.edges = list(edges)
        self._steps: list[tuple[int, float, float]] = []  # bin, and how far up it the curve is before and after
        for k, (price, share) in enumerate(heaps):
            low, high = edges[k], edges[k + 1]
            before = price * _JUST_BELOW
            if share > 0.0 and low < before and price < high:
                even = (1.0 - share) * ((price - low) / (high - low))
                self._steps.append((k, even, even + share))
                place = bisect_left(self.edges, high)
                self.edges[place:place] = [before, price]

    def filled(self, below: Sequence[float]) -> list[float]:
        """Return how likely a price is to lie below each edge with the steps, from the same without."""
        found: list[float] = []
        start = 0
        for k, before, after in self._steps:
            found += below[start : k + 1]
            low, rise = below[k], below[k + 1] - below[k]
            found += (low + rise * before, min(low + rise * after, below[k + 1]))
            start = k + 1
        found += below[start:]
        return found
