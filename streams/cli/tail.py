"""`streamscore tail`: watch a topic."""

from __future__ import annotations

import asyncio
import sys
from typing import Annotated, Literal

import typer
from rich.console import Console

from streams.cli.options import ConfigOption, settings_of

TopicName = Literal["scores", "bids", "events", "examples", "metrics", "dead"]


def tail(
    topic: Annotated[TopicName, typer.Argument(help="Which topic to watch.")],
    config: ConfigOption = None,
    from_start: Annotated[bool, typer.Option("--from-start", help="Begin with the oldest message kept.")] = False,
    limit: Annotated[int, typer.Option("--limit", "-n", min=0, help="End after this many; 0: never.")] = 0,
    json: Annotated[bool, typer.Option("--json", help="The messages as they are, one a line.")] = False,
) -> None:
    """Show messages as they come; Ctrl-C ends it.

    For scores: when, who, which objective, how likely, by which model version, and why. For bids: what was bid, or why
    nothing was.
    """
    asyncio.run(_tail(topic, config, from_start, limit, json))


async def _tail(topic: TopicName, config: str | None, from_start: bool, limit: int, json: bool) -> None:
    from streams.reading import reader

    settings = settings_of(config)
    console = Console(emoji=False, highlight=False)
    raw = sys.stdout.buffer  # a console would wrap, colour and replace
    shown = 0
    name = getattr(settings.topics, topic).name
    async with reader(settings.kafka, [name], from_end=not from_start) as consumer:
        async for record in consumer:
            value = record.value or b""
            if json:
                raw.write(value + b"\n")
                raw.flush()
            else:
                console.print(_line(topic, value), markup=False, soft_wrap=True)
            shown += 1
            if shown == limit:
                return


def _line(topic: TopicName, value: bytes) -> str:
    if topic not in ("scores", "bids"):
        return value[:500].decode("utf-8", "replace")
    from schemas.codec import BadRecord, decode_bid, decode_score
    from streams.presenting import bid_line, score_line

    try:
        return score_line(decode_score(value)) if topic == "scores" else bid_line(decode_bid(value))
    except BadRecord as bad:
        return f"unreadable: {bad.detail}"
