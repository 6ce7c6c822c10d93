"""How much of a difference in clicks may be luck: a bootstrap over clicks, paired.

Both strategies met the same auctions, so only clicks that one won and the other did not tell them apart. Each clicked
auction of the part counts as often as a Poisson draw of mean 1 says, the same for all strategies and budgets: the
bootstrap of a log of which the number of clicks is itself by chance.

Where few clicks tell two strategies apart, the bootstrap is too sure: four that only one of them won never become
three to one in a draw. So the exact sign test of those clicks stands beside it.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import comb
from typing import NamedTuple

import numpy as np

from streams.simulate.auctions.market import Floats
from streams.simulate.auctions.outcome import Row
from streams.simulate.auctions.strategies import LINEAR

_DRAWS = 10_000
_LEVEL = 0.95


class Difference(NamedTuple):
    """Clicks more than the tuned linear bid's, with the 95 % interval.

    Attributes
    ----------
    alone, linear_alone
        Clicks that only the strategy won, and only the linear bid.
    """

    clicks: float
    low: float
    high: float
    alone: int
    linear_alone: int

    @property
    def p(self) -> float:
        """How likely it is that so many or more of the clicks that tell them apart fall to one side by chance alone.

        >>> Difference(-4.0, -8.0, -1.0, alone=0, linear_alone=4).p
        0.125
        """
        count, fewer = self.alone + self.linear_alone, min(self.alone, self.linear_alone)
        return min(1.0, 2.0 * sum(comb(count, some) for some in range(fewer + 1)) / 2.0**count)

    def __str__(self) -> str:
        return f"{self.clicks:+.0f} ({self.low:+.0f} to {self.high:+.0f})"


def against_linear(rows: Sequence[Row], *, seed: int = 1) -> dict[tuple[str, float | None], Difference]:
    """Return for each row's name and budget, and for None (all budgets together), by how many clicks it is ahead.

    Parameters
    ----------
    rows
        Of one market; one named `linear` at each budget.
    """
    linear = {row.budget_fraction: row.clicks_won for row in rows if row.strategy == LINEAR}
    more: dict[tuple[str, float | None], Floats] = {}
    for row in rows:
        difference = row.clicks_won - linear[row.budget_fraction]
        more[row.name, row.budget_fraction] = difference
        more[row.name, None] = more.get((row.name, None), np.zeros(len(difference))) + difference
    clicks = len(next(iter(linear.values())))
    draws = np.random.default_rng(seed).poisson(1.0, size=(_DRAWS, clicks)).astype(np.float64)
    return {key: _difference(one, draws) for key, one in more.items()}


def _difference(more: Floats, draws: Floats) -> Difference:
    tail = (1.0 - _LEVEL) / 2.0
    low, high = np.quantile(draws @ more, [tail, 1.0 - tail])
    return Difference(
        clicks=float(more.sum()),
        low=float(low),
        high=float(high),
        alone=int(more[more > 0.0].sum()),
        linear_alone=-int(more[more < 0.0].sum()),
    )
