"""The command `streamscore`: one file a group of commands, imported when it is used."""

from __future__ import annotations

from importlib.metadata import version
from typing import Annotated

import typer

from streams.cli import (
    auctions,
    audit,
    campaigns,
    challengers,
    dead,
    demo,
    diff,
    feeding,
    replay,
    tail,
    topics,
    working,
)

app = typer.Typer(
    name="streamscore",
    help="Score every event of a clickstream while the visitor is still there, and learn from what happens next.\n\n"
    "Try it: `streamscore demo` needs no Kafka and no Redis of yours.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
)


def _tell_version(asked: bool) -> None:
    if asked:
        print(version("streamscore"))
        raise typer.Exit


@app.callback()
def streamscore(
    _: Annotated[
        bool,
        typer.Option("--version", callback=_tell_version, is_eager=True, help="Say which version this is, and end."),
    ] = False,
) -> None:
    """Keep what is common to all commands."""


app.command("demo")(demo.demo)
app.command("worker")(working.worker)
app.command("check")(working.check_argument)
app.command("feed")(feeding.feed)
app.command("audit")(audit.audit)
app.command("diff")(diff.diff)
app.command("challengers")(challengers.challengers)
app.command("promote")(challengers.promote)
app.command("rollback")(challengers.rollback)
app.command("replay")(replay.replay)
app.command("simulate-auctions")(auctions.simulate_auctions)
app.command("tail")(tail.tail)
app.add_typer(topics.app, name="topics")
app.add_typer(campaigns.app, name="campaigns")
app.add_typer(dead.app, name="dead")


def main() -> None:
    """Run the command line; expected errors end with one sentence and status 1, never with a traceback."""
    from streams.cli.errors import friendly
    from streams.logs import quiet_kafka_client

    quiet_kafka_client()

    with friendly():
        app()


if __name__ == "__main__":
    main()
