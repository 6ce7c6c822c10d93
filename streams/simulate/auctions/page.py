"""A comparison as one HTML file that needs nothing else: the tables, and spend against its target."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from importlib import resources

from streams.replay.charts import Series, line_chart
from streams.simulate.auctions.market import Floats
from streams.simulate.auctions.outcome import Row
from streams.simulate.auctions.tables import Table, tables

_STYLES = {
    **{"linear": "b2", "ortb": "b3", "paced dual": "m1", "paced pid": "m2", "paced throttle": "m3"},
    **{"paced layers": "m4", "shaded dual": "m5", "shaded pid": "m6"},
}
# So many points of a curve can be seen.
_POINTS = 100


def render(markets: Mapping[str, Sequence[Row]]) -> str:
    """Return the page for the rows of each market."""
    style = resources.files("streams.replay").joinpath("report.css").read_text(encoding="utf-8")
    body = "".join(_section(name, rows) for name, rows in markets.items())
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta name="color-scheme" content="light dark">'
        f"<title>Auctions: {escape(', '.join(markets))}</title><style>{style}</style></head>"
        f"<body><main>{body}</main></body></html>\n"
    )


def _section(name: str, rows: Sequence[Row]) -> str:
    *each, together = tables(rows)
    budgets = dict.fromkeys(row.budget_fraction for row in rows)
    charts = "".join(
        _spend_chart(table.title, [row for row in rows if row.budget_fraction == budget])
        for table, budget in zip(each, budgets, strict=True)
    )
    shown = "".join(map(_table, [together, *each]))
    return f'<section><h2>{escape(name)}</h2><div class="charts">{charts}</div>{shown}</section>'


def _spend_chart(title: str, rows: Sequence[Row]) -> str:
    target = Series("target", _points(rows[0].target), "b1")
    lines = [Series(row.name, _points(row.curve), _STYLES[row.name]) for row in rows if row.name in _STYLES]
    return line_chart(
        [target, *lines], title=f"Spent by part of the time: {title}", x_text="{:.0%}".format, y_text="{:.0%}".format
    )


def _points(curve: Floats) -> list[tuple[float, float | None]]:
    every = max(1, len(curve) // _POINTS)
    return [(0.0, 0.0), *(((at + 1) / len(curve), float(curve[at])) for at in range(every - 1, len(curve), every))]


def _table(table: Table) -> str:
    head = "".join(
        f'<th scope="col"{" class=text" if place < table.text_columns else ""}>{escape(one)}</th>'
        for place, one in enumerate(table.head)
    )
    body = "".join(
        f'<tr><th scope="row">{escape(first)}</th>' + "".join(f"<td>{escape(one)}</td>" for one in rest) + "</tr>"
        for first, *rest in table.rows
    )
    title = escape(table.title)
    return (
        f'<h3>{title}</h3><div class="scroll" tabindex="0" role="region" aria-label="{title}">'
        f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
    )
