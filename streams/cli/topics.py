"""`streamscore topics`: make the topics that the configuration names."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import TYPE_CHECKING

import typer
from rich.console import Console
from rich.table import Table

from streams.cli.options import ConfigOption, settings_of

if TYPE_CHECKING:
    from streams.admin import TopicReport

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
    console = Console(emoji=False, stderr=True)
    console.print(table)
    for warning in (line for report in reports for line in _warnings(report)):
        console.print(warning, highlight=False, soft_wrap=True, markup=False)


def _warnings(report: TopicReport) -> Iterator[str]:
    alter = f"\n  kafka-configs.sh --bootstrap-server … --alter --topic {report.name} --add-config "
    if report.trusts_producers:
        yield (
            f"{report.name} takes the times of its records from its producers; one whose clock is far ahead makes "
            f"every visitor late. Let the broker stamp them:{alter}message.timestamp.type=LogAppendTime"
        )
    if report.forgets:
        yield (
            f"{report.name} is not compacted: what is older than its retention is lost, models and campaigns too. "
            f"Have it compacted:{alter}cleanup.policy=compact"
        )
    if report.partitions != report.declared:
        yield (
            f"{report.name} has {report.partitions} partitions, the configuration says {report.declared}. What there "
            "is counts. Before you add any, read docs/production.md, Upgrades"
        )
