"""Finds the one number of a strategy that buys most within a budget."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from streams.simulate.auctions.market import Floats, Market

# Levels that are tried: a tenth apart, and then between the neighbours of the best.
_COARSE, _FINE = 100, 40
# As parts of the mean price.
_LOWEST, _HIGHEST = 0.01, 100.0


def tuned(market: Market, budget: float, worth: Floats, bids_at: Callable[[float], Floats]) -> float:
    """Return the level that buys most, in worth, until the budget is gone.

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
    """Return the worth of what is won until the budget is gone."""
    won = bids > market.price
    cost = np.cumsum((bids if market.first_price else market.price) * won)
    return float((worth * (won & (cost <= budget))).sum())


def calibrated(market: Market) -> Callable[[Floats], Floats]:
    """Return what makes click-through rates of predictions, after the clicks of a market.

    Platt's: the log odds times a slope plus an intercept, by maximum likelihood (Newton's method), drawn to slope 1 and
    intercept 0 as if by a handful of clicks.
    """
    x = np.column_stack([np.ones(len(market)), _log_odds(market.pctr)])
    y = market.clicked.astype(np.float64)
    weights, prior = np.array([0.0, 1.0]), np.array([0.0, 1.0])
    for _ in range(50):
        p = 1.0 / (1.0 + np.exp(-x @ weights))
        gradient = x.T @ (y - p) - (weights - prior)
        hessian = (x * (p * (1.0 - p))[:, None]).T @ x + np.eye(2)
        step = np.linalg.solve(hessian, gradient)
        weights = weights + np.clip(step, -1.0, 1.0)
        if np.abs(step).max() < 1e-9:
            break

    def rates(pctr: Floats) -> Floats:
        answer: Floats = 1.0 / (1.0 + np.exp(-(weights[0] + weights[1] * _log_odds(pctr))))
        return answer

    return rates


def _log_odds(pctr: Floats) -> Floats:
    p = np.clip(pctr, 1e-7, 1.0 - 1e-7)
    odds: Floats = np.log(p / (1.0 - p))
    return odds
