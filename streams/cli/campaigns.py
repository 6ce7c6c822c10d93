"""`streamscore campaigns`: what runs, how it stands, and changing it while the workers run."""

from __future__ import annotations

import asyncio
import json as json_module
from collections.abc import Coroutine
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from streams.cli.errors import UserError
from streams.cli.options import ConfigOption, settings_of

if TYPE_CHECKING:
    from streams.campaign_orders import Standing
    from streams.settings import Settings

T = TypeVar("T")
app = typer.Typer(help="See and change what is bid for, while the workers run.", no_args_is_help=True)
NameArgument = Annotated[str, typer.Argument(help="Name of the campaign.")]


@app.command()
def put(
    file: Annotated[Path, typer.Argument(help="A YAML mapping of name to campaign, as under `bidding: campaigns:`.")],
    config: ConfigOption = None,
) -> None:
    """Declare campaigns: those that are known change, others begin; those that the file does not name stay as they are.

    All are checked against the configuration first. If one is wrong, none is taken.
    """
    from streams.campaign_files import read_campaigns
    from streams.campaign_orders import Refused, check_of
    from streams.campaign_orders import put as declare

    settings = settings_of(config)
    try:
        found = read_campaigns(file, check_of(settings))
    except Refused as error:
        raise UserError(str(error)) from None
    if found.errors:
        raise UserError("\n".join([*map(str, found.errors), "No campaign was changed"]))
    for name, changed in _done(declare(found.campaigns, settings)).items():
        print(f"{name}: {'set' if changed else 'as it was'}")


@app.command()
def pause(name: NameArgument, config: ConfigOption = None) -> None:
    """Let a campaign bid no more; what it has bid for already may still be won."""
    _set_active(name, False, config)


@app.command()
def resume(name: NameArgument, config: ConfigOption = None) -> None:
    """Let a campaign bid again."""
    _set_active(name, True, config)


@app.command()
def remove(name: NameArgument, config: ConfigOption = None) -> None:
    """Take a campaign away; wins that are still told of are booked."""
    from streams.campaign_orders import remove as take_away

    _done(take_away(name, settings_of(config)))
    print(f"{name} is taken away")


@app.command("list")
def list_(
    config: ConfigOption = None,
    json: Annotated[bool, typer.Option("--json", help="A list of objects, money in currency.")] = False,
) -> None:
    """Show the campaigns of the topic and of the configuration, and what each has spent today."""
    found = _done(_standings(settings_of(config)))
    if json:
        print(json_module.dumps([_plain(one) for one in found]))
        return
    table = Table("campaign", "from", "status", "flight", "day")
    for column in ("budget", "spent", "committed"):
        table.add_column(column, justify="right")
    for one in map(_plain, found):
        money = [f"{one[key]:,.2f}" for key in ("budget", "spent", "committed")] if one["day"] else [""] * 3
        source = f"{one['from']}; the configuration differs" if one["differs"] else one["from"]
        table.add_row(*map(escape, (one["campaign"], source, one["status"], _flight(one), one["day"], *money)))
    Console(emoji=False).print(table)


def _flight(one: dict[str, Any]) -> str:
    if not one["starts"] and not one["ends"]:
        return ""
    return f"{one['starts'] or '…'} to {one['ends'] or '…'}"


def _plain(standing: Standing) -> dict[str, Any]:
    state, declared, differs = standing
    return {
        "campaign": state.campaign,
        "from": "topic" if state.version else "configuration",
        "version": state.version,
        "differs": differs,
        "status": state.status,
        "starts": declared.starts.isoformat() if declared and declared.starts else None,
        "ends": declared.ends.isoformat() if declared and declared.ends else None,
        "day": state.day,
        "budget": state.budget,
        "spent": state.spent,
        "committed": state.committed,
    }


async def _standings(settings: Settings) -> list[Standing]:
    from streams.budgets import open_ledger
    from streams.campaign_orders import standings

    ledger = open_ledger(settings)
    try:
        return await standings(settings, ledger)
    finally:
        await ledger.close()


def _set_active(name: str, active: bool, config: str | None) -> None:
    from streams.campaign_orders import is_configured, set_active

    settings = settings_of(config)
    changed = _done(set_active(name, active, settings))
    said = "bids again" if active else "is paused"
    back = f"back: streamscore campaigns {'pause' if active else 'resume'} {name}"
    print(f"{name} {said}; {back}" if changed else f"{name} {'is not paused' if active else 'was paused already'}")
    if changed and is_configured(name, settings):
        print(
            f"{name} stands on `{settings.topics.campaigns.name}` from now on, and what the configuration declares of "
            "it no longer counts; change it with: streamscore campaigns put FILE"
        )


def _done(order: Coroutine[Any, Any, T]) -> T:
    from streams.campaign_orders import Refused
    from streams.reading import TopicMissing

    try:
        return asyncio.run(order)
    except (Refused, TopicMissing) as error:
        raise UserError(str(error)) from None
