"""`streamscore dead`: records that were refused, why, and how to feed them back."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from schemas.dead_letters import REASONS
from streams.cli.errors import UserError
from streams.cli.options import ConfigOption, settings_of

if TYPE_CHECKING:
    from streams.dead import DeadRecord

app = typer.Typer(help="Look at dead letters, and feed them back once their cause is mended.", no_args_is_help=True)
ReasonOption = Annotated[
    str | None, typer.Option("--reason", help=f"Only those refused for this reason: {', '.join(REASONS)}.")
]
LimitOption = Annotated[int, typer.Option("--limit", min=1, help="At most this many.")]


@app.command("list")
def list_(config: ConfigOption = None, reason: ReasonOption = None, limit: LimitOption = 20) -> None:
    """Show the newest dead letters: where they stood, why they were refused, how they begin."""
    newest, by_reason = asyncio.run(_collect(config, reason, limit))
    table = Table("source", "reason", "detail", "value begins", show_lines=False)
    for dead in newest:
        begins = "" if dead.value is None else dead.value[:60].decode("utf-8", "replace")
        table.add_row(escape(dead.source), escape(dead.reason), escape(dead.detail), escape(begins))
    console = Console(emoji=False)
    console.print(table)
    console.print(", ".join(f"{count} {name}" for name, count in by_reason.most_common()) or "no dead letters")


@app.command()
def redrive(
    config: ConfigOption = None,
    reason: ReasonOption = None,
    limit: LimitOption = 1_000_000,
    yes: Annotated[bool, typer.Option("--yes", help="Do it; without this only the count is shown.")] = False,
) -> None:
    """Feed dead letters back to the events topic, byte for byte.

    They stay on the dead letter topic as well. Events that were in fact processed before are known
    by their event id and passed over, as long as the user has not had 32 newer ones.
    """
    from streams.dead import redrive as feed_back

    chosen, by_reason = asyncio.run(_collect(config, reason, limit))
    console = Console(emoji=False, stderr=True)
    if not yes:
        console.print(f"{len(chosen)} of {sum(by_reason.values())} dead letters would be fed back; add --yes to do it")
        return
    if not chosen:
        raise UserError("There is no such dead letter")
    settings = settings_of(config)
    done = asyncio.run(feed_back(settings, chosen))
    console.print(f"{done.fed} fed back")
    if done.too_large:
        raise UserError(
            f"{done.too_large} are larger than {settings.topics.events.name} takes; raise its max.message.bytes, then "
            "feed them back. All others were written, and are known by their event ids if you do it with them"
        )


async def _collect(config: str | None, reason: str | None, limit: int) -> tuple[list[DeadRecord], Counter[str]]:
    from streams.dead import read_dead

    newest: list[DeadRecord] = []
    by_reason: Counter[str] = Counter()
    async for dead in read_dead(settings_of(config), reason=reason):
        by_reason[dead.reason] += 1
        newest.append(dead)
        if len(newest) > 2 * limit:
            del newest[:-limit]
    return newest[-limit:], by_reason
