"""Runs strategies and pacers side by side: tuned on the first part of a market, compared on the second.

Nothing of the second part reaches a choice: its budgets are fractions of its cost, as somebody would declare them, and
everything else comes from the first part. A pacer spends the first part as the day before, with the same fraction as
budget, from the multiplier of the tuned linear bid, and is kept to between a tenth and three times of it. Where what is
not spent is kept, it is kept below the value too.

In first-price auctions bids are shaded beside: what gains most for the value times the multiplier. Under a budget that
is the best there is, if the win rates are right: value F(b) - mu b F(b) is mu times (value / mu - b) F(b), so the
multiplier is the inverse price of money as in second-price auctions. It has to be higher than the linear bid's by as
much as is shaded.
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
from streams.simulate.auctions.shading import Shaded, Told
from streams.simulate.auctions.strategies import LINEAR, STRATEGIES, Fitted, fitted
from streams.simulate.auctions.tuning import calibrated, tuned

PACED, SHADED = "paced", "shaded"
HINDSIGHT = "hindsight"
Curve = Literal["even", "traffic", "value"]
# A market that needs more has become another; a multiplier that may go anywhere takes long to come back.
_LEAST, _MOST = 0.1, 3.0
# With ORTB1's win curve, b / (c + b), the bid that wins half of the auctions is a third of what it is shaded from.
_SHADED_FROM = 3.0
# Pacers that move the bid; those that choose who takes part would have two hands on the spend.
_SHADED_KINDS = ("dual", "pid")


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
    told
        Who hears the price of a first-price auction.
    """

    budgets: Sequence[float] = (1 / 2, 1 / 4, 1 / 8, 1 / 16, 1 / 32)
    curve: Curve = "even"
    lag: int | None = None
    pacers: Sequence[str] = KINDS
    settings: Mapping[str, Mapping[str, Any]] | None = None
    seed: int = 1
    told: Told = "nobody"


def compare(market: Market, options: Options) -> Iterator[Row]:
    """Yield a row for each budget and strategy, as soon as it is known."""
    half = len(market) // 2
    first, second = market.part(0, half), market.part(half, len(market))
    comparison = _Comparison(first, second, options)
    for fraction in options.budgets:
        yield from comparison.at(fraction)


def rows_for_each_budget(market: Market, options: Options) -> int:
    """Return how many rows `compare` yields for a budget."""
    return len(STRATEGIES) + (market.truth is not None) + len(options.pacers) + len(_shaded_kinds(market, options))


def _shaded_kinds(market: Market, options: Options) -> list[str]:
    return [kind for kind in options.pacers if kind in _SHADED_KINDS] if market.first_price else []


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
            yield self._paced(PACED, kind, multiplier, fraction, before, budget)
        for kind in _shaded_kinds(self._second, self._options):
            yield self._paced(SHADED, kind, multiplier, fraction, before, budget)

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

    def _paced(self, strategy: str, kind: str, multiplier: float, fraction: float, before: float, budget: float) -> Row:
        first, second = self._first, self._second
        most = _MOST * multiplier * (_SHADED_FROM if strategy == SHADED else 1.0)
        if first.kept:
            multiplier, most = min(multiplier, 1.0), min(most, 1.0)
        chosen = {**_declared(kind, multiplier, most), **(self._options.settings or {}).get(kind, {})}
        pacer = build_pacer(chosen)
        shade = Shaded(self._options.told) if strategy == SHADED else None
        yesterday = Flight(before, even_plan(first.starts_ms, first.ends_ms), first.starts_ms, first.ends_ms)
        today = Flight(budget, self._plan, second.starts_ms, second.ends_ms)
        replay_paced(first, yesterday, pacer, lag=self._lag, seed=self._options.seed, shade=shade)
        bought = replay_paced(second, today, pacer, lag=self._lag, seed=self._options.seed + 1, shade=shade)
        return judged(
            second,
            bought,
            self._second_worth,
            plan=self._plan,
            budget=budget,
            budget_fraction=fraction,
            strategy=strategy,
            pacer=kind,
        )


def _declared(kind: str, multiplier: float, most: float) -> dict[str, Any]:
    if kind in ("throttle", "layers"):
        return {"kind": kind, "multiplier": multiplier, "most": most}
    return {"kind": kind, "start": multiplier, "least": _LEAST * multiplier, "most": most}


def _plan_of(first: Market, second: Market, worth: Floats, curve: Curve) -> Plan:
    if curve == "even":
        return even_plan(second.starts_ms, second.ends_ms)
    learned = DayCurve()
    amounts = worth if curve == "value" else np.ones(len(first))
    for at_ms, amount in zip(first.at_ms.tolist(), amounts.tolist(), strict=True):
        learned.observe(at_ms, amount)
    return learned.plan(second.starts_ms, second.ends_ms)
