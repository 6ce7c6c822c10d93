"""Auctions in the order of time, in two parts: on the first strategies are tuned, on the second they are compared."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Booleans = NDArray[np.bool_]


@dataclass(frozen=True)
class Market:
    """Auctions of one campaign.

    Attributes
    ----------
    at_ms
        When, ascending.
    pctr
        Predicted click-through rate, 0 to 1; the value of an impression is that times the value per click, which is 1.
    price
        What others bid at most, in currency per impression: more than this wins.
    clicked
        Whether the impression is clicked, if it is won.
    truth
        The true click-through rate, where the market was made up; None: only the clicks are known.
    first_price
        Whoever wins pays the own bid; otherwise the price.
    kept
        What is not spent is kept, so surplus counts: value less spend. Otherwise a budget is there to be spent.
    """

    name: str
    at_ms: Integers
    pctr: Floats
    price: Floats
    clicked: Booleans
    truth: Floats | None = None
    first_price: bool = False
    kept: bool = False

    def __len__(self) -> int:
        return len(self.at_ms)

    @property
    def total_cost(self) -> float:
        """What all impressions cost together, if each is bought at its price."""
        return float(self.price.sum())

    @property
    def starts_ms(self) -> int:
        """Time of the first auction."""
        return int(self.at_ms[0])

    @property
    def ends_ms(self) -> int:
        """The millisecond after the last auction."""
        return int(self.at_ms[-1]) + 1

    def part(self, start: int, end: int) -> Market:
        """Return the auctions from the `start`-th up to the `end`-th."""
        cut = slice(start, end)
        return replace(
            self,
            at_ms=self.at_ms[cut],
            pctr=self.pctr[cut],
            price=self.price[cut],
            clicked=self.clicked[cut],
            truth=None if self.truth is None else self.truth[cut],
        )
