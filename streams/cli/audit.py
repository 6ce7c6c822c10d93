"""`streamscore audit`: one live score, computed once more."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import orjson
import typer
from rich.console import Console
from rich.table import Table

from streams.cli.errors import UserError
from streams.cli.options import ConfigOption, settings_of

if TYPE_CHECKING:
    from streams.replay.audit import Audit


def audit(
    score_id: Annotated[str, typer.Argument(help="As on `scores`: topic-partition-offset:objective.")],
    config: ConfigOption = None,
    json: Annotated[bool, typer.Option("--json", help="One JSON object on standard output.")] = False,
) -> None:
    """Recompute a live score from the log and from the model version that it names, and show where it comes from.

    Ends with status 1 if it does not come out the same, bit for bit.
    """
    found = asyncio.run(_audit(score_id, config))
    if json:
        print(orjson.dumps(_plain(found)).decode())
    else:
        _show(found)
    if found.differences:
        raise typer.Exit(1)


async def _audit(score_id: str, config: str | None) -> Audit:
    from streams.reading import TopicMissing
    from streams.replay.audit import AuditError, audit
    from streams.replay.history import VersionLost
    from streams.replay.published import NoSuchScore
    from streams.replay.spec import SpecError

    try:
        return await audit(score_id, settings_of(config))
    except (AuditError, NoSuchScore, VersionLost, SpecError, TopicMissing) as error:
        raise UserError(str(error)) from None


def _plain(found: Audit) -> dict[str, Any]:
    return {
        "live": msgspec.to_builtins(found.live),
        "again": msgspec.to_builtins(found.again),
        "differences": found.differences,
        "intercept": found.intercept,
        "values": found.values,
        "contributions": [one._asdict() for one in found.contributions],
    }


def _show(found: Audit) -> None:
    from streams.presenting import score_line

    console = Console(emoji=False, highlight=False)
    console.print(score_line(found.live), markup=False, soft_wrap=True)
    if found.differences:
        console.print("It does not come out the same:", style="bold red")
        for name in found.differences:
            console.print(
                f"    {name}: live {getattr(found.live, name)!r}, again {getattr(found.again, name)!r}", markup=False
            )
    else:
        console.print("It comes out the same, bit for bit.", style="bold green")
    table = Table("feature", "value", "weight", "share of the logit", box=None, header_style="bold")
    if found.intercept is not None:
        table.add_row("(intercept)", "", "", f"{found.intercept:+.4f}")
    for one in found.contributions:
        weight = "" if one.weight is None else f"{one.weight:+.4f}"
        table.add_row(one.feature, f"{one.value:g}", weight, f"{one.share:+.4f}")
    console.print(table)
    console.print("features at the trigger: " + _values_text(found.values), markup=False, soft_wrap=True)


def _values_text(values: dict[str, Any]) -> str:
    return ", ".join(f"{name} {'-' if value is None else value}" for name, value in values.items())
