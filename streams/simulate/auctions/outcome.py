"""What a strategy got for its budget."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import fsum

import numpy as np

from online_models.bidding.plan import Plan
from streams.simulate.auctions.market import Floats, Market
from streams.simulate.auctions.replaying import Bought

# The plan is compared with the spend at so many times, evenly over the flight.
MOMENTS = 1_000
# A budget is exhausted when less than this part of it is left.
_NOTHING = 0.001


@dataclass(frozen=True)
class Row:
    """A strategy at one budget, on the part that it was not tuned on.

    Money is in the market's currency: CPM / 1000 for each impression.

    Attributes
    ----------
    pacer
        None: the strategy is not paced.
    value
        What was won is worth: the clicks of a log, at 1 each; the true click-through rates of a made-up market.
    expected
        Clicks to be expected of what was won: of a log by its predictions, calibrated on the first part; less noisy.
    rmse_to_target
        Root mean square of cumulated spend less target, as parts of the budget.
    exhausted_at
        The part of the flight's time after which less than a thousandth of the budget was left; None: never.
    curve
        Parts of the budget that were spent by `MOMENTS` times; `target` what should have been.
    clicks_won
        For each clicked auction of the part whether it was won.
    first_price, kept
        As those of the market.
    """

    campaign: str
    budget_fraction: float
    strategy: str
    pacer: str | None
    clicks: int
    value: float
    expected: float
    spend: float
    budget: float
    impressions: int
    auctions: int
    rmse_to_target: float
    exhausted_at: float | None
    curve: Floats
    target: Floats
    clicks_won: Floats
    first_price: bool
    kept: bool

    @property
    def name(self) -> str:
        """How the row is called in tables."""
        return f"{self.strategy} {self.pacer}" if self.pacer else self.strategy

    @property
    def surplus(self) -> float:
        """What was won is worth, less what it cost."""
        return self.value - self.spend

    @property
    def counts(self) -> float:
        """What there is to be had most of in this market."""
        return self.surplus if self.kept else self.value

    @property
    def ecpc(self) -> float | None:
        """Cost of a click."""
        return self.spend / self.clicks if self.clicks else None

    @property
    def cpm(self) -> float | None:
        """Cost of a thousand impressions."""
        return 1000.0 * self.spend / self.impressions if self.impressions else None

    @property
    def win_rate(self) -> float:
        """Part of the auctions that were won."""
        return self.impressions / self.auctions

    @property
    def used(self) -> float:
        """Part of the budget that was spent."""
        return self.spend / self.budget


def judged(
    market: Market,
    bought: Bought,
    worth: Floats,
    *,
    plan: Plan,
    budget: float,
    budget_fraction: float,
    strategy: str,
    pacer: str | None,
) -> Row:
    """Return what was got.

    Parameters
    ----------
    worth
        Expected clicks of each auction.
    """
    clicked = np.flatnonzero(market.clicked)
    clicks_won = np.isin(clicked, bought.won).astype(np.float64)
    curve, target = _curves(market, bought, plan, budget)
    clicks, expected = int(clicks_won.sum()), float(worth[bought.won].sum())
    return Row(
        campaign=market.name,
        budget_fraction=budget_fraction,
        strategy=strategy,
        pacer=pacer,
        clicks=clicks,
        value=expected if market.truth is not None else float(clicks),
        expected=expected,
        # The replay took each cost from what was left; sums in another order differ in the last bit.
        spend=min(fsum(bought.cost), budget),
        budget=budget,
        impressions=len(bought.won),
        auctions=len(market),
        rmse_to_target=float(np.sqrt(((curve - target) ** 2).mean())),
        exhausted_at=_exhausted_at(market, bought, budget),
        curve=curve,
        target=target,
        clicks_won=clicks_won,
        first_price=market.first_price,
        kept=market.kept,
    )


def _curves(market: Market, bought: Bought, plan: Plan, budget: float) -> tuple[Floats, Floats]:
    moments = np.linspace(plan.starts_ms, plan.ends_ms, MOMENTS + 1)[1:]
    spent = np.concatenate([[0.0], np.cumsum(bought.cost)])
    curve: Floats = spent[np.searchsorted(market.at_ms[bought.won], moments, side="right")] / budget
    return curve, np.array([plan.share(int(moment)) for moment in moments])


def _exhausted_at(market: Market, bought: Bought, budget: float) -> float | None:
    gone = np.flatnonzero(np.cumsum(bought.cost) > (1.0 - _NOTHING) * budget)
    if not len(gone):
        return None
    at_ms = int(market.at_ms[bought.won[gone[0]]])
    return (at_ms - market.starts_ms) / (market.ends_ms - market.starts_ms)


def as_json(rows: Sequence[Row]) -> list[dict[str, object]]:
    """Return rows as they are written to `--json`."""
    names = (
        *("campaign", "budget_fraction", "strategy", "pacer", "clicks", "value", "spend", "budget", "ecpc"),
        *("rmse_to_target", "exhausted_at"),
    )
    return [{name: getattr(row, name) for name in names} for row in rows]
