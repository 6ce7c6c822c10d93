"""Runs strategies and pacers side by side: tuned on the first part of a market, compared on the second.

Nothing of the second part reaches a choice: its budgets are fractions of its cost, as somebody would declare them, and
everything else comes from the first part. A pacer spends the first part as the day before, with the same fraction as
budget, from the multiplier of the tuned linear bid, and is kept to between a tenth and three times of it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from typing import Any, Literal

import numpy as np

from online_models.bidding.pacing import KINDS, Flight, build_pacer
from online_models.bidding.plan import DayCurve, Plan, even_plan
from streams.simulate.auctions.market import Floats, Market
from streams.simulate.auctions.outcome import Row, judged
from streams.simulate.auctions.replaying import replay_bids, replay_paced
from streams.simulate.auctions.strategies import LINEAR, STRATEGIES, Fitted, fitted
from streams.simulate.auctions.tuning import calibrated, tuned

PACED = "paced"
HINDSIGHT = "hindsight"
Curve = Literal["even", "traffic", "value"]
# A market that needs more has become another; a multiplier that may go anywhere takes long to come back.
_LEAST, _MOST = 0.1, 3.0


@dataclass(frozen=True)
class Options:
    """How to compare.

    Attributes
    ----------
    budgets
        Fractions of the total cost of the second part.
    curve
        The target: even in time, or after the traffic or the value of the first part, by the time of day.
    lag
        So many opportunities pass between two looks of the bidder at the pace; None: those of one second.
    pacers
        Kinds.
    settings
        Declarations of pacers, by kind, that go before what is chosen here.
    """

    budgets: Sequence[float] = (1 / 2, 1 / 4, 1 / 8, 1 / 16, 1 / 32)
    curve: Curve = "even"
    lag: int | None = None
    pacers: Sequence[str] = KINDS
    settings: Mapping[str, Mapping[str, Any]] | None = None
    seed: int = 1


def compare(market: Market, options: Options) -> Iterator[Row]:
    """Yield a row for each budget and strategy, as soon as it is known."""
    half = len(market) // 2
    first, second = market.part(0, half), market.part(half, len(market))
    comparison = _Comparison(first, second, options)
    for fraction in options.budgets:
        yield from comparison.at(fraction)


def rows_for_each_budget(market: Market, options: Options) -> int:
    """Return how many rows `compare` yields for a budget."""
    return len(STRATEGIES) + (market.truth is not None) + len(options.pacers)


class _Comparison:
    def __init__(self, first: Market, second: Market, options: Options) -> None:
        self._first, self._second, self._options = first, second, options
        if first.truth is not None and second.truth is not None:
            self._first_worth, self._second_worth = first.truth, second.truth
        else:
            rates = calibrated(first)
            self._first_worth, self._second_worth = rates(first.pctr), rates(second.pctr)
        self._fit = fitted(first, seed=options.seed)
        self._plan = _plan_of(first, second, self._first_worth, options.curve)
        span_s = (second.ends_ms - second.starts_ms) / 1000.0
        self._lag = ceil(len(second) / span_s) if options.lag is None else options.lag

    def at(self, fraction: float) -> Iterator[Row]:
        before, budget = fraction * self._first.total_cost, fraction * self._second.total_cost
        levels = {name: self._tuned(name, self._first, before, self._first_worth) for name in STRATEGIES}
        for name, level in levels.items():
            yield self._fixed(name, name, level, fraction, budget)
        if self._second.truth is not None:
            level = self._tuned(LINEAR, self._second, budget, self._second.truth)
            yield self._fixed(HINDSIGHT, LINEAR, level, fraction, budget)
        multiplier = levels[LINEAR] / self._fit.mean_pctr
        for kind in self._options.pacers:
            yield self._paced(kind, multiplier, fraction, before, budget)

    def _tuned(self, name: str, market: Market, budget: float, worth: Floats) -> float:
        return tuned(market, budget, worth, lambda level: STRATEGIES[name].bids(market, level, self._fit))

    def _fixed(self, name: str, family: str, level: float, fraction: float, budget: float) -> Row:
        # Another seed than that of the tuning: the second part has draws of its own.
        fit = Fitted(self._fit.c, self._fit.mean_pctr, self._fit.seed + 1)
        bought = replay_bids(self._second, budget, STRATEGIES[family].bids(self._second, level, fit))
        return judged(
            self._second,
            bought,
            self._second_worth,
            plan=self._plan,
            budget=budget,
            budget_fraction=fraction,
            strategy=name,
            pacer=None,
        )

    def _paced(self, kind: str, multiplier: float, fraction: float, before: float, budget: float) -> Row:
        chosen = {**_declared(kind, multiplier), **(self._options.settings or {}).get(kind, {})}
        pacer = build_pacer(chosen)
        first, second = self._first, self._second
        yesterday = Flight(before, even_plan(first.starts_ms, first.ends_ms), first.starts_ms, first.ends_ms)
        today = Flight(budget, self._plan, second.starts_ms, second.ends_ms)
        replay_paced(first, yesterday, pacer, lag=self._lag, seed=self._options.seed)
        bought = replay_paced(second, today, pacer, lag=self._lag, seed=self._options.seed + 1)
        return judged(
            second,
            bought,
            self._second_worth,
            plan=self._plan,
            budget=budget,
            budget_fraction=fraction,
            strategy=PACED,
            pacer=kind,
        )


def _declared(kind: str, multiplier: float) -> dict[str, Any]:
    if kind in ("throttle", "layers"):
        return {"kind": kind, "multiplier": multiplier, "most": _MOST * multiplier}
    return {"kind": kind, "start": multiplier, "least": _LEAST * multiplier, "most": _MOST * multiplier}


def _plan_of(first: Market, second: Market, worth: Floats, curve: Curve) -> Plan:
    if curve == "even":
        return even_plan(second.starts_ms, second.ends_ms)
    learned = DayCurve()
    amounts = worth if curve == "value" else np.ones(len(first))
    for at_ms, amount in zip(first.at_ms.tolist(), amounts.tolist(), strict=True):
        learned.observe(at_ms, amount)
    return learned.plan(second.starts_ms, second.ends_ms)
