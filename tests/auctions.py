"""Auctions for tests of their replay."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from hypothesis import strategies as st

from online_models.bidding.pacing import Flight
from online_models.bidding.plan import even_plan
from streams.simulate.auctions import Market

AMOUNTS = st.one_of(st.just(0.0), st.floats(0.0, 1e-6), st.floats(0.0, 2.0))


def a_market(*, first_price: bool = False, **columns: Sequence[float]) -> Market:
    """Auctions one second apart."""
    count = len(columns["price"])
    return Market(
        name="small",
        at_ms=np.arange(count, dtype=np.int64) * 1000,
        pctr=np.array(columns.get("pctr", [0.5] * count), dtype=np.float64),
        price=np.array(columns["price"], dtype=np.float64),
        clicked=np.array(columns.get("clicked", [0.0] * count)) > 0,
        first_price=first_price,
    )


def whole_flight(market: Market, budget: float) -> Flight:
    plan = even_plan(market.starts_ms, market.ends_ms)
    return Flight(budget, plan, market.starts_ms, market.ends_ms)
