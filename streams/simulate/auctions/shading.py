"""Bids shaded by a model of the win price that learns from the strategy's own auctions, as the live path has it.

What others bid goes with what an impression is worth, and the model takes the two to be independent within a slice: so
a slice is what is worth as much, within a doubling.

The learner hears of each auction at once, and the bidder reads a copy of its numbers, taken when it looks at its pace.
A copy costs as much as hundreds of bids and one auction moves it little, so the next is taken only after so many
auctions as are a tenth of those that were learned, 500 at most.
"""

from __future__ import annotations

from math import frexp
from typing import Literal, Protocol

from online_models.bidding.landscape import Landscape
from online_models.bidding.win_price import WinPrices

Told = Literal["nobody", "losers", "all"]
"""Who hears the price of a first-price auction, beside whether the own bid won."""

_PART, _MOST = 0.1, 500.0


class Shade(Protocol):
    """From what an impression is worth, times the multiplier, to the bid."""

    def look(self) -> None:
        """Take up what was learned until now, as the bidder does with its pace."""
        ...

    def bid(self, value: float, multiplier: float) -> float:
        """Return the bid, at most value times multiplier; 0: none."""
        ...

    def learn(self, at_ms: int, value: float, *, bid: float, price: float) -> None:
        """Take in how an auction went: a bid above the price has won."""
        ...


class Truthful:
    """Bids what it is worth: right in second-price auctions."""

    def look(self) -> None:
        """There is nothing to look at."""

    def bid(self, value: float, multiplier: float) -> float:
        """Return what it is worth."""
        return value * multiplier

    def learn(self, at_ms: int, value: float, *, bid: float, price: float) -> None:
        """There is nothing to learn."""


class Shaded:
    """Bids what gains most in a first-price auction, as far as own auctions have told."""

    def __init__(self, told: Told) -> None:
        self._told_to = {"nobody": (), "losers": (False,), "all": (False, True)}[told]
        self._learner = WinPrices()
        self._reader = Landscape({})
        self._learned = 0
        self._next_copy = 0.0

    def look(self) -> None:
        """Copy the learner's numbers, if enough was learned since the last time."""
        if self._learned >= self._next_copy:
            self._reader = Landscape(dict(self._learner.weights))
            self._next_copy = self._learned + min(_PART * self._learned, _MOST)

    def bid(self, value: float, multiplier: float) -> float:
        """Return what gains most, as a live bidder asks for it."""
        worth = value * multiplier
        return self._reader.shade(_slice(value), worth, low=0.0, high=worth)

    def learn(self, at_ms: int, value: float, *, bid: float, price: float) -> None:
        """Learn what a bidder is told of the price."""
        won = bid > price
        told = price if won in self._told_to else None
        self._learner.learn(_slice(value), bid=bid, won=won, price=told, at_ms=at_ms)
        self._learned += 1


def _slice(value: float) -> str:
    return str(frexp(value)[1])
