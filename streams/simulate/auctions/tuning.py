"""Finds the one number of a strategy that buys or gains most within a budget."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from streams.simulate.auctions.market import Floats, Market

# Levels that are tried: a tenth apart, and then between the neighbours of the best.
_COARSE, _FINE = 100, 40
# As parts of the mean price.
_LOWEST, _HIGHEST = 0.01, 100.0
_CAPS = 100


def tuned(market: Market, budget: float, worth: Floats, bids_at: Callable[[float], Floats]) -> float:
    """Return the level that buys most, in worth, until the budget is gone; gains most, where what is left is kept.

    Parameters
    ----------
    worth
        Of each impression: its true or calibrated click-through rate.
    bids_at
        Bids at a level.
    """

    def bought(level: float) -> float:
        return bought_with(market, budget, worth, bids_at(level))

    mean = market.total_cost / len(market)
    levels = np.geomspace(_LOWEST * mean, _HIGHEST * mean, _COARSE)
    best = int(np.argmax([bought(level) for level in levels]))
    near = np.geomspace(levels[max(best - 1, 0)], levels[min(best + 1, _COARSE - 1)], _FINE)
    return float(near[int(np.argmax([bought(level) for level in near]))])


def bought_with(market: Market, budget: float, worth: Floats, bids: Floats) -> float:
    """Return the worth of what is won until the budget is gone; less its cost, where what is left is kept."""
    won = bids > market.price
    cost = bids if market.first_price else market.price
    counts = worth - cost if market.kept else worth
    return float((counts * (won & (np.cumsum(cost * won) <= budget))).sum())


def calibrated(market: Market) -> Callable[[Floats], Floats]:
    """Return what makes click-through rates of predictions, after the clicks of a market.

    A ratio of the prediction, which ends to rise at a cap: models that promise half of their impressions a click are
    wrong at the top first. The cap is the one of highest likelihood, the ratio makes the sum right.
    """
    caps = np.geomspace(max(float(np.median(market.pctr)), 1e-9), 1.0, _CAPS)
    ratios = [_ratio(market, cap) for cap in caps]
    likelihoods = [
        _log_likelihood(market, _rates(market.pctr, ratio, cap)) for ratio, cap in zip(ratios, caps, strict=True)
    ]
    best = int(np.argmax(likelihoods))
    return lambda pctr: _rates(pctr, ratios[best], float(caps[best]))


def _ratio(market: Market, cap: float) -> float:
    promised = float(np.minimum(market.pctr, cap).sum())
    # As if half a click more had been promised and made: a log without clicks must not make everything worthless.
    return (float(market.clicked.sum()) + 0.5) / (promised + 0.5)


def _rates(pctr: Floats, ratio: float, cap: float) -> Floats:
    rates: Floats = np.minimum(ratio * np.minimum(pctr, cap), 0.999)
    return rates


def _log_likelihood(market: Market, rates: Floats) -> float:
    chance = np.where(market.clicked, rates, 1.0 - rates)
    return float(np.log(np.maximum(chance, 1e-12)).sum())
