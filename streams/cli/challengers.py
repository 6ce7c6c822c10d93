"""`streamscore challengers`, `promote`, `rollback`: who is served, who could be, and changing it."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from online_models.objectives import DECLARED
from streams.cli.errors import UserError
from streams.cli.options import ConfigOption, settings_of

if TYPE_CHECKING:
    from online_models.contest import Decision

ObjectiveArgument = Annotated[str, typer.Argument(help="Name of the objective.")]


def challengers(config: ConfigOption = None) -> None:
    """Show what each objective serves, and how its challengers stand."""
    from streams.promotion import read_standings
    from streams.reading import TopicMissing

    try:
        found = asyncio.run(read_standings(settings_of(config)))
    except TopicMissing as error:
        raise UserError(str(error)) from None
    if not found:
        raise UserError("No objective has `challengers:`")
    table = Table("objective", "variant", "model", "", "judged", "advantage", "evidence", "needed")
    for name, one in found.items():
        standings = one.contest.standings if one.contest else {}
        for variant, declared in one.objective.variants.items():
            standing = standings.get(variant)
            served = "served" if variant == one.served.variant else ""
            table.add_row(
                name,
                variant or DECLARED,
                str(declared.model["name"]),
                served,
                f"{standing.judged:,}" if standing else "",
                f"{standing.advantage:+.5f}" if standing and standing.advantage is not None else "",
                f"{standing.evidence:.3g}" if standing else "",
                f"{one.contest.needed:.3g}" if standing and one.contest else "",
            )
    console = Console(emoji=False)
    console.print(table)
    for one in found.values():
        for change in one.changes:
            by = f", by {change.cause}" if change.cause else ""
            console.print(
                f"{change.objective}: change {change.number}, {change.before or DECLARED} -> "
                f"{change.variant or DECLARED}{by}",
                markup=False,
            )


def promote(
    objective: ObjectiveArgument,
    challenger: Annotated[str, typer.Argument(help=f"Name of the challenger, or `{DECLARED}` for the declared model.")],
    config: ConfigOption = None,
) -> None:
    """Serve a challenger from now on; what was served goes on in the shadow."""
    from streams.promotion import promote as serve

    _tell(serve(objective, "" if challenger == DECLARED else challenger, settings_of(config)))


def rollback(objective: ObjectiveArgument, config: ConfigOption = None) -> None:
    """Serve again what was served before the last change; it has gone on learning meanwhile."""
    from streams.promotion import rollback as serve_before

    _tell(serve_before(objective, settings_of(config)))


def _tell(change: Coroutine[None, None, Decision]) -> None:
    from streams.promotion import NotPromoted
    from streams.reading import TopicMissing

    try:
        made = asyncio.run(change)
    except (NotPromoted, TopicMissing) as error:
        raise UserError(str(error)) from None
    serving = made.serving
    print(
        f"{serving.objective} serves {serving.variant or 'its declared model'} from now on "
        f"(change {serving.number}); back: streamscore rollback {serving.objective}"
    )
