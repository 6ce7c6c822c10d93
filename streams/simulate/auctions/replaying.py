"""Bids in auctions one after another, against a budget that nothing may overspend.

A bid is cut to what is left: whoever wins may have to pay all of it. So the budget holds whatever a strategy wants.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from online_models.bidding.pacing import Flight, Pacer, takes_part
from streams.simulate.auctions.market import Floats, Integers, Market
from streams.simulate.auctions.shading import Shade, Truthful


class Bought(NamedTuple):
    """Which auctions were won, by their numbers, and what each cost."""

    won: Integers
    cost: Floats


def replay_bids(market: Market, budget: float, bids: Floats) -> Bought:
    """Bid what was fixed before."""
    left = budget
    won, costs = [], []
    for number, (bid, price) in enumerate(zip(bids.tolist(), market.price.tolist(), strict=True)):
        if bid > price and left > price:
            cost = min(bid, left) if market.first_price else price
            left -= cost
            won.append(number)
            costs.append(cost)
    return _bought(won, costs)


def replay_paced(
    market: Market, flight: Flight, pacer: Pacer, *, lag: int, seed: int, shade: Shade | None = None
) -> Bought:
    """Bid as a pacer says, which hears of everything at once, while the bidder looks at it from time to time.

    Parameters
    ----------
    lag
        So many opportunities after the last look the bidder looks again; 0: before each.
    seed
        Of the draws by which the pace lets a part of the opportunities pass.
    shade
        From the value times the multiplier to the bid; None: that is the bid.
    """
    shade = shade or Truthful()
    draws = np.random.default_rng(seed).random(len(market)).tolist()
    left, every = flight.budget, max(lag, 1)
    won, costs = [], []
    pacer.begin(flight)
    pace, look = pacer.pace, 0
    auctions = zip(market.at_ms.tolist(), market.pctr.tolist(), market.price.tolist(), draws, strict=True)
    for number, (at_ms, value, price, draw) in enumerate(auctions):
        if number >= look:
            pace, look = pacer.pace, number + every
            shade.look()
        pacer.opportunity(at_ms, value)
        if not takes_part(pace, value, draw):
            continue
        bid = min(shade.bid(value, pace.multiplier), left)
        if bid <= 0.0:
            continue
        shade.learn(at_ms, value, bid=bid, price=price)
        if bid > price:
            cost = bid if market.first_price else price
            left -= cost
            pacer.spent(at_ms, cost)
            won.append(number)
            costs.append(cost)
    return _bought(won, costs)


def _bought(won: list[int], costs: list[float]) -> Bought:
    return Bought(np.array(won, dtype=np.int64), np.array(costs, dtype=np.float64))
