"""Comparisons as tables, for the screen and for a page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import NamedTuple

from streams.simulate.auctions.compare import HINDSIGHT
from streams.simulate.auctions.intervals import Difference, against_linear
from streams.simulate.auctions.outcome import Row


class Table(NamedTuple):
    """Texts in columns; `text_columns` at the left hold words."""

    title: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    text_columns: int = 1


def tables(rows: Sequence[Row], *, seed: int = 1) -> list[Table]:
    """Return the tables of one market: one for each budget, and one for all together."""
    differences = against_linear(rows, seed=seed)
    budgets = list(dict.fromkeys(row.budget_fraction for row in rows))
    each = [_of_budget([row for row in rows if row.budget_fraction == one], differences) for one in budgets]
    return [*each, _of_all(rows, differences)]


def _of_budget(rows: Sequence[Row], differences: Mapping[tuple[str, float | None], Difference]) -> Table:
    best = next((row.counts for row in rows if row.strategy == HINDSIGHT), None)
    head = [
        "strategy",
        "clicks",
        "than linear (95 %)",
        "alone",
        "p",
        "expected",
        *(["surplus"] if rows[0].first_price else []),
        *(["of the best fixed"] if best else []),
    ]
    head += ["spend", "used", "CPM", "eCPC", "win rate", "RMSE to target", "exhausted at"]
    body = []
    for row in rows:
        more = differences[row.name, row.budget_fraction]
        cells = [row.name, f"{row.clicks:,}", str(more), f"{more.alone}:{more.linear_alone}", f"{more.p:.2f}"]
        cells += [f"{row.expected:,.1f}"]
        cells += [f"{row.surplus:,.1f}"] if row.first_price else []
        cells += [f"{row.counts / best:.1%}"] if best else []
        cells += [f"{row.spend:,.1f}", f"{row.used:.2%}", _number(row.cpm), _number(row.ecpc)]
        cells += [f"{row.win_rate:.1%}", f"{row.rmse_to_target:.4f}"]
        cells += ["-" if row.exhausted_at is None else f"{row.exhausted_at:.1%}"]
        body.append(cells)
    first = rows[0]
    title = f"{first.campaign}: {_share(first.budget_fraction)} of the total cost, {first.budget:,.1f}"
    return Table(title, head, body)


def _of_all(rows: Sequence[Row], differences: Mapping[tuple[str, float | None], Difference]) -> Table:
    names = dict.fromkeys(row.name for row in rows)
    best = {row.budget_fraction: row.counts for row in rows if row.strategy == HINDSIGHT}
    head = ["strategy", "clicks", "than linear (95 %)", "expected"]
    head += ["surplus"] if rows[0].first_price else []
    head += ["of the best fixed, worst"] if best else []
    head += ["used, least", "used, most", "RMSE to target, worst"]
    body = []
    for name in names:
        own = [row for row in rows if row.name == name]
        cells = [name, f"{sum(row.clicks for row in own):,}", str(differences[name, None])]
        cells += [f"{sum(row.expected for row in own):,.1f}"]
        cells += [f"{sum(row.surplus for row in own):,.1f}"] if rows[0].first_price else []
        cells += [f"{min(row.counts / best[row.budget_fraction] for row in own):.1%}"] if best else []
        used = [row.used for row in own]
        cells += [f"{min(used):.2%}", f"{max(used):.2%}", f"{max(row.rmse_to_target for row in own):.4f}"]
        body.append(cells)
    return Table(f"{rows[0].campaign}: all budgets", head, body)


def _share(fraction: float) -> str:
    return str(Fraction(fraction).limit_denominator(1_000))


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:,.3g}" if value < 100 else f"{value:,.0f}"
