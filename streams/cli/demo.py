"""`streamscore demo`: the main job on this machine, live in the terminal."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import orjson
import typer
from rich.console import Console
from rich.live import Live

from streams.cli.errors import UserError
from streams.cli.feeding import check_pace, show, show_problems
from streams.cli.options import ConfigOption, config_path
from streams.configs import shipped_configs

if TYPE_CHECKING:
    from streams.demo import Demo
    from streams.sources import Source

_REFRESH_S = 0.5
_SHOP_RATE = 1500.0
# Configurations of shipped mappings that go by another name.
_MADE_FOR = {"online_shoppers": "shoppers"}


def demo(
    events: Annotated[
        str | None, typer.Option("--events", help="Run on this file instead of the simulated shop.")
    ] = None,
    mapping: Annotated[
        str | None, typer.Option("--mapping", "-m", help="With --events: how its rows become events.")
    ] = None,
    config: ConfigOption = None,
    rate: Annotated[
        float | None, typer.Option(help="Events per second; 1,500 for the shop, as fast as it can for a file.")
    ] = None,
    seconds: Annotated[
        float | None, typer.Option(min=1, help="Feed for so long, then work it off; otherwise Ctrl-C ends it.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of the simulated shop.")] = 1,
    json: Annotated[bool, typer.Option("--json", help="No live view; end with one JSON object.")] = False,
) -> None:
    """Run everything on this machine: a broker, a store, a worker, and a simulated web shop.

    Needs no Kafka, no Redis and no Docker. The visitors are simulated and so is their time, which
    runs faster than ours; the models and the numbers are real. Ctrl-C ends all that was started.
    """
    if (events is None) != (mapping is None):
        raise UserError("--events and --mapping go together")
    check_pace(rate)
    chosen = config or configuration_for(mapping)
    asyncio.run(_demo(config_path(chosen), events, mapping, rate, seconds, seed, json))


def configuration_for(mapping: str | None) -> str | None:
    """Return the shipped configuration that was made for a shipped mapping; None: there is none, as for one's own.

    >>> configuration_for("globo"), configuration_for("online_shoppers"), configuration_for("events")
    ('globo', 'shoppers', None)
    """
    from streams.mapping import shipped_mappings

    if mapping is None or mapping not in shipped_mappings():
        return None
    name = _MADE_FOR.get(mapping, mapping)
    return name if name in shipped_configs() else None


async def _demo(
    config: Path,
    file: str | None,
    mapping: str | None,
    rate: float | None,
    seconds: float | None,
    seed: int,
    json: bool,
) -> None:
    from streams.demo import DemoFailed, running_demo
    from streams.embedded import EmbeddedServerError

    console = Console(emoji=False, stderr=json)
    stop, interrupted = asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, _set_all, stop, interrupted)
    console.print(f"configuration: {config}", highlight=False, markup=False, soft_wrap=True)
    console.print("Starting an embedded broker, an embedded store and a worker …", highlight=False)
    try:
        async with running_demo(config) as running:
            for what, address in running.pages.items():
                console.print(f"{what}: {address}", highlight=False)
            with contextlib.ExitStack() as stack:
                events, source = _events(stack, file, mapping, seed)
                label = f"events of {file}" if file else "SIMULATED web shop, its time runs faster than ours"
                pace = rate or (None if file else _SHOP_RATE)
                await _watch_it(running, events, label, pace, seconds, stop, None if json else console)
            report = None if interrupted.is_set() else await running.report()
            if report is not None and source is not None:
                report["bad_rows"] = source.problems.count
                report["rows_without_event"] = events.rows_without_event
                show_problems(str(file), source)
    except (DemoFailed, EmbeddedServerError) as error:
        raise UserError(str(error)) from None
    if report is None:
        console.print("Ended. Everything that was started is gone.")
    elif json:
        print(orjson.dumps(report).decode())
    else:
        show(report)


def _set_all(*events: asyncio.Event) -> None:
    for event in events:
        event.set()


def _events(stack: contextlib.ExitStack, file: str | None, mapping: str | None, seed: int) -> tuple[Any, Source | None]:
    """Return what to feed, and the file that it comes from; then they are `MappedEvents`."""
    if file is None:
        from streams.demo import shop_events

        return shop_events(seed), None
    from streams.mapping import Mapping, MappingError
    from streams.sources import SourceError, open_source

    try:
        chosen = Mapping.load(mapping or "")
        source = stack.enter_context(open_source(file, columns=chosen.columns))
    except (MappingError, SourceError) as error:
        raise UserError(str(error)) from None
    return chosen.events(source), source


async def _watch_it(
    running: Demo,
    events: Any,
    label: str,
    rate: float | None,
    seconds: float | None,
    stop: asyncio.Event,
    console: Console | None,
) -> None:
    """Produce until the end of time or file, and show what happens."""
    loop = asyncio.get_running_loop()
    if seconds is not None:
        loop.call_later(seconds, stop.set)
    producing = asyncio.create_task(running.run(events, rate=rate, stop=stop))
    finished = producing
    if console is None:
        while not finished.done():
            running.check()
            await asyncio.wait([finished], timeout=_REFRESH_S)
    else:
        await _show_it(running, label, finished, console)
    await producing


async def _show_it(running: Demo, label: str, finished: asyncio.Task[None], console: Console) -> None:
    from streams.cli.screen import Screen

    screen = Screen(label, pages=running.pages)
    with Live(screen.render(None), console=console, refresh_per_second=4, transient=False) as live:
        while not finished.done():
            running.check()
            status = await running.status()
            screen.note(status, asyncio.get_running_loop().time())
            live.update(screen.render(status))
            await asyncio.wait([finished], timeout=_REFRESH_S)
