"""Strategies without pacing: how much to bid by the predicted click-through rate alone.

- `constant`: the same for all.
- `random`: evenly from 0 to twice as much.
- `linear`: in proportion to the predicted rate; the customary yardstick.
- `ortb`: ORTB1 of Zhang, Yuan and Wang, "Optimal Real-Time Bidding for Display Advertising" (KDD 2014, section 3):
  b = sqrt(c / lambda * rate + c^2) - c, where a bid b wins with chance b / (c + b).

Each has one number that is tuned to the budget; `c` is fitted to the prices.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from streams.simulate.auctions.market import Floats, Market

LINEAR = "linear"


class Strategy(NamedTuple):
    """A family of bids, with one number to tune.

    Attributes
    ----------
    bids
        Bids for the auctions of a market at a value of that number, given what was fitted; the larger, the more.
    """

    bids: Callable[[Market, float, Fitted], Floats]


class Fitted(NamedTuple):
    """What was learned of the first part of a market.

    Attributes
    ----------
    c
        The bid at which half of the auctions are won, after ORTB1's win curve.
    mean_pctr
        The mean predicted rate.
    seed
        For strategies that draw.
    """

    c: float
    mean_pctr: float
    seed: int


def fitted(market: Market, *, seed: int) -> Fitted:
    """Fit what the strategies need to know of a market."""
    return Fitted(_win_curve(market.price), float(market.pctr.mean()), seed)


def _win_curve(price: Floats) -> float:
    """Return c of the win curve b / (c + b) that is closest to the prices', in squares over their quantiles."""
    chance = np.linspace(0.01, 0.99, 99)
    bids = np.quantile(price, chance)
    candidates = np.geomspace(max(float(bids[0]), 1e-9), max(float(bids[-1]), 1e-9) * 10.0, 400)
    errors = [float(((bids / (c + bids) - chance) ** 2).sum()) for c in candidates]
    return float(candidates[int(np.argmin(errors))])


def _constant(market: Market, level: float, fit: Fitted) -> Floats:
    return np.full(len(market), level)


def _random(market: Market, level: float, fit: Fitted) -> Floats:
    return np.random.default_rng(fit.seed).random(len(market)) * 2.0 * level


def _linear(market: Market, level: float, fit: Fitted) -> Floats:
    return market.pctr * (level / fit.mean_pctr)


def _ortb(market: Market, level: float, fit: Fitted) -> Floats:
    # What is bid for the mean rate is `level`; that says which lambda is meant.
    per_rate = ((level + fit.c) ** 2 - fit.c**2) / fit.mean_pctr
    bids: Floats = np.sqrt(per_rate * market.pctr + fit.c**2) - fit.c
    return bids


STRATEGIES: dict[str, Strategy] = {
    "constant": Strategy(_constant),
    "random": Strategy(_random),
    LINEAR: Strategy(_linear),
    "ortb": Strategy(_ortb),
}
