"""`streamscore topics`: make the topics that the configuration names."""

from __future__ import annotations

import asyncio

import typer
from rich.console import Console
from rich.table import Table

from streams.cli.options import ConfigOption, settings_of

app = typer.Typer(help="Create the topics of a configuration.", no_args_is_help=True)


@app.callback()
def group() -> None:
    """Create the topics of a configuration."""


@app.command()
def create(config: ConfigOption = None) -> None:
    """Create the topics that are missing; those that exist are left as they are.

    Needs the permission to create topics. `models` and `campaigns` are made compacted, and records of `events` are
    stamped by the broker's clock; where they are not, a warning says so.
    """
    from streams.admin import create_topics

    reports = asyncio.run(create_topics(settings_of(config)))
    table = Table("topic", "partitions", "")
    for report in reports:
        table.add_row(report.name, str(report.partitions), "created" if report.created else "was there")
    console = Console(stderr=True)
    console.print(table)
    for report in reports:
        if report.trusts_producers:
            console.print(
                f"{report.name} takes the times of its records from its producers; one whose clock is far ahead makes "
                "every visitor late. Let the broker stamp them:\n  kafka-configs.sh --bootstrap-server … --alter "
                f"--topic {report.name} --add-config message.timestamp.type=LogAppendTime",
                highlight=False,
                soft_wrap=True,
                markup=False,
            )
