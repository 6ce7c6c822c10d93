"""`streamscore simulate-auctions`: strategies and pacers side by side, on a log of auctions or on made-up markets."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import StrEnum
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table as RichTable

from streams.cli.errors import UserError
from streams.cli.writing import check_files, write_files

if TYPE_CHECKING:
    from streams.simulate.auctions import Market, Options, Row

# Columns of a table that is not cut.
_WIDE = 180
DEFAULT_BUDGETS = "1/2,1/4,1/8,1/16,1/32"


class Target(StrEnum):
    """What the target curve follows."""

    even = "even"
    traffic = "traffic"
    value = "value"


class Told(StrEnum):
    """Who hears the price of a first-price auction."""

    nobody = "nobody"
    losers = "losers"
    all = "all"


def simulate_auctions(
    file: Annotated[
        Path | None,
        typer.Argument(
            help="A log of auctions in the order of time: CSV, gzip or not, with `click`, `win_price` (CPM), `pctr` "
            "and `ts_ms` or `hour_idx`. Without it: made-up markets.",
            show_default=False,
        ),
    ] = None,
    market: Annotated[
        list[str] | None,
        typer.Option("--market", help="A made-up market; several are run one after another.", show_default="all"),
    ] = None,
    budgets: Annotated[
        str, typer.Option(help="Fractions of the total cost of the second part, separated by commas.")
    ] = DEFAULT_BUDGETS,
    target: Annotated[
        Target | None,
        typer.Option(
            help="What the target curve follows: time, or traffic or value by the time of day, as the first part had "
            "them. Default: time for a log, traffic for made-up days.",
            show_default=False,
        ),
    ] = None,
    lag: Annotated[
        int | None,
        typer.Option(
            min=0,
            help="Opportunities between two looks of the bidder at its pace; 0: none. Default: those of a second.",
            show_default=False,
        ),
    ] = None,
    limit: Annotated[
        int | None, typer.Option(min=100, help="Only the first so many auctions of a log.", show_default=False)
    ] = None,
    auctions: Annotated[int, typer.Option(min=1000, help="Auctions a day of made-up markets.")] = 100_000,
    told: Annotated[
        Told, typer.Option(help="Who hears the price of a first-price auction, beside whether the own bid won.")
    ] = Told.nobody,
    seed: Annotated[int, typer.Option(min=0, help="Of everything that is drawn.")] = 1,
    campaign: Annotated[str | None, typer.Option(help="What the log is called. Default: its file's name.")] = None,
    html: Annotated[Path | None, typer.Option(help="Write tables and plots as one HTML file.")] = None,
    json: Annotated[Path | None, typer.Option(help="Write the rows as JSON; `-` is standard output.")] = None,
) -> None:
    """Compare what strategies and pacers buy for several budgets.

    The first half tunes every strategy and is the pacers' day before; the second half is what is shown.
    """
    from streams.simulate.auctions import Options

    check_files(html, json)
    markets = _markets(file, market or [], auctions, seed, campaign, limit)
    target = target or (Target.even if file else Target.traffic)
    options = Options(budgets=_fractions(budgets), curve=target.value, lag=lag, seed=seed, told=told.value)
    found = {one.name: _run(one, options) for one in markets}
    contents: dict[Path, Callable[[], bytes]] = {}
    if html is not None:
        from streams.simulate.auctions.page import render

        contents[html] = lambda: render(found).encode()
    if json is not None:
        contents[json] = lambda: _as_json([row for rows in found.values() for row in rows])
    try:
        _show(list(found.values()), to_stderr=json is not None and str(json) == "-")
    finally:  # also if whoever reads the tables has gone
        write_files(contents)


def _markets(
    file: Path | None, names: Sequence[str], auctions: int, seed: int, campaign: str | None, limit: int | None
) -> list[Market]:
    from streams.simulate.auctions import MARKETS, InvalidAuctions, generated, read_auctions

    if file is not None and names:
        raise UserError("Either a log or --market, not both")
    if file is not None:
        try:
            return [read_auctions(file, campaign=campaign, limit=limit)]
        except (OSError, UnicodeDecodeError, InvalidAuctions) as error:
            raise UserError(str(error)) from None
    for name in names:
        if name not in MARKETS:
            raise UserError(f"There is no market {name!r}; expected one of: {', '.join(MARKETS)}")
    return [generated(name, auctions=auctions, seed=seed) for name in names or MARKETS]


def _fractions(text: str) -> list[float]:
    try:
        found = [float(Fraction(part.strip())) for part in text.split(",")]
    except (ValueError, ZeroDivisionError):
        found = []
    if not found or not all(0.0 < one <= 1.0 for one in found) or len(set(found)) < len(found):
        raise UserError(f"--budgets: expected different fractions up to 1, such as {DEFAULT_BUDGETS}; got {text!r}")
    return found


def _run(market: Market, options: Options) -> list[Row]:
    from streams.simulate.auctions import compare
    from streams.simulate.auctions.compare import rows_for_each_budget

    total = len(options.budgets) * rows_for_each_budget(market, options)
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(emoji=False, stderr=True), transient=True) as progress:
        task = progress.add_task(market.name, total=total)
        rows = []
        for row in compare(market, options):
            rows.append(row)
            progress.advance(task)
    return rows


def _show(markets: Sequence[Sequence[Row]], *, to_stderr: bool) -> None:
    from streams.simulate.auctions.tables import tables

    console = Console(emoji=False, highlight=False, stderr=to_stderr)
    if not console.is_terminal:  # into a file or a pipe: nothing has to be cut
        console.width = _WIDE
    for rows in markets:
        for table in tables(rows):
            shown = RichTable(title=table.title, title_justify="left", box=None, padding=(0, 1))
            for place, name in enumerate(table.head):
                shown.add_column(name, justify="left" if place < table.text_columns else "right", no_wrap=True)
            for cells in table.rows:
                shown.add_row(*cells)
            console.print(shown, markup=False)
            console.print()


def _as_json(rows: Sequence[Row]) -> bytes:
    import orjson

    from streams.simulate.auctions.outcome import as_json

    return orjson.dumps(as_json(rows), option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)
