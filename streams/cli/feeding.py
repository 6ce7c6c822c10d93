"""`streamscore feed`: a file becomes events on the topic, and with --wait a report of what became of them."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import signal
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Annotated, Any

import orjson
import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from streams.cli.errors import UserError
from streams.cli.options import ConfigOption, settings_of

if TYPE_CHECKING:
    from streams.feed import FeedResult
    from streams.settings import Settings
    from streams.sources import Source


def feed(
    file: Annotated[str, typer.Argument(help="CSV, TSV or JSON lines, gzipped or not; `-` reads standard input.")],
    mapping: Annotated[
        str, typer.Option("--mapping", "-m", help="How rows become events: a shipped mapping's name, or a YAML file.")
    ] = "events",
    config: ConfigOption = None,
    rate: Annotated[float | None, typer.Option(help="Events per second.")] = None,
    speed: Annotated[float | None, typer.Option(help="Times the recorded pace: 60 is an hour in a minute.")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Only the first so many events.")] = None,
    wait: Annotated[bool, typer.Option("--wait", help="Wait for the worker, then account for every event.")] = False,
    silent: Annotated[float, typer.Option(help="With --wait: give up after this many seconds without progress.")] = 60,
    json: Annotated[bool, typer.Option("--json", help="End with one JSON object on standard output.")] = False,
) -> None:
    """Turn a file into events and produce them: as fast as it can, at a rate, or at the recorded pace.

    With --wait it stays until a worker is done with them, reads what was published, and shows where
    every event went and how good the scores were. Progress goes to standard error.
    """
    check_pace(rate, speed)
    settings = settings_of(config)
    report = asyncio.run(_feed(settings, file, mapping, rate, speed, limit, wait, silent))
    if json:
        print(orjson.dumps(report).decode())
    else:
        show(report)


def check_pace(rate: float | None, speed: float | None = None) -> None:
    """Refuse a pace at which nothing can be fed; raises UserError."""
    if rate is not None and speed is not None:
        raise UserError("Either --rate or --speed, not both")
    for name, value in (("--rate", rate), ("--speed", speed)):
        if value is not None and not 0 < value < float("inf"):
            raise UserError(f"Expected {name} to be a number above 0, got {value:g}")


async def _feed(
    settings: Settings,
    file: str,
    mapping: str,
    rate: float | None,
    speed: float | None,
    limit: int | None,
    wait: bool,
    silent_s: float,
) -> dict[str, Any]:
    from streams.mapping import Mapping, MappingError
    from streams.sources import SourceError, open_source
    from streams.watch import Watch, WorkerSilent

    try:
        chosen = Mapping.load(mapping)
        with open_source(file, columns=chosen.columns) as source:
            mapped = chosen.events(source)
            events = itertools.islice(mapped, limit)
            watch = Watch(settings)
            if wait:
                await watch.start()
            with _progress() as bar:
                fed = await _produce(settings, events, source, bar, rate=rate, speed=speed)
                report: dict[str, Any] = {"events": fed.acknowledged, "produced_per_s": round(fed.events_per_s, 1)}
                if wait:
                    task = bar.add_task("scored", total=fed.acknowledged)
                    await watch.wait(
                        fed,
                        silent_s=silent_s,
                        on_progress=lambda done, total: bar.update(task, completed=done, total=total),
                    )
            if wait:
                report = await watch.report(fed)
            report["bad_rows"] = source.problems.count
            report["rows_without_event"] = mapped.rows_without_event
            show_problems(file, source)
            return report
    except (MappingError, SourceError, WorkerSilent) as error:
        raise UserError(str(error)) from None


async def _produce(
    settings: Settings,
    events: Iterable[Any],
    source: Source,
    bar: Progress,
    *,
    rate: float | None,
    speed: float | None,
) -> FeedResult:
    from aiokafka import AIOKafkaProducer

    from streams.feed import PRODUCER_OPTIONS, FeedError
    from streams.feed import feed as produce

    task = bar.add_task("produced", total=source.size_bytes)

    def on_progress(result: FeedResult) -> None:
        share = source.bytes_read / source.size_bytes if source.size_bytes else None
        total = round(result.events / share) if share else None
        bar.update(task, completed=result.acknowledged, total=total)

    stop = asyncio.Event()
    async with AIOKafkaProducer(**settings.kafka.client_kwargs(), **PRODUCER_OPTIONS) as producer:
        with ends_on_interrupt(stop):
            try:
                fed = await produce(
                    events,
                    producer,
                    settings.topics.events.name,
                    rate=rate,
                    speed=speed,
                    blocking=source.size_bytes is None,
                    stop=stop,
                    on_progress=on_progress,
                )
            except FeedError as error:
                raise UserError(str(error)) from None
    bar.update(task, completed=fed.acknowledged, total=fed.acknowledged)
    return fed


@contextlib.contextmanager
def ends_on_interrupt(stop: asyncio.Event) -> Iterator[None]:
    """Let Ctrl-C set `stop` instead of tearing the loop down."""
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGINT, stop.set)
    try:
        yield
    finally:
        loop.remove_signal_handler(signal.SIGINT)


def _progress() -> Progress:
    return Progress(
        TextColumn("{task.description:>9}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=Console(emoji=False, stderr=True),
    )


def show_problems(file: str, source: Source) -> None:
    """Name the first rows that could not be used, on standard error."""
    for problem in source.problems.first:
        Console(emoji=False, stderr=True).print(
            f"{file}:{problem.line}: {problem.message}", highlight=False, markup=False
        )


def show(report: dict[str, Any]) -> None:
    """Print a report for people."""
    console = Console(emoji=False, highlight=False)
    if "unaccounted" not in report:
        console.print(f"{report['events']} events produced, {report['produced_per_s']:,.0f}/s")
        return
    console.print(
        f"{report['events']} events: {report['scored']} scored, {report['ignored']} passed over, "
        f"{report['dead']} dead letters, {report['unaccounted']} unaccounted for"
    )
    if report.get("bad_rows"):
        console.print(f"    rows that could not be used, and are no events: {report['bad_rows']}")
    if report.get("rows_without_event"):
        console.print(f"    rows to which no rule of the mapping applied: {report['rows_without_event']}")
    if report["events"] and not report["scored"]:
        console.print("    Nothing was scored. Is the configuration (-c) made for these events?")
    for rule, count in report["ignored_by_rule"].items():
        console.print(f"    passed over, {rule}: {count}")
    for reason, count in report["dead_by_reason"].items():
        console.print(f"    dead, {reason}: {count}")
    for name, quality in report["objectives"].items():
        auc = "-" if quality["auc"] is None else f"{quality['auc']:.3f}"
        console.print(
            f"{name}: {quality['n']} judged, {quality['positives']} positive; AUC {auc} (no model: 0.500), "
            f"log loss {quality['log_loss']:.4f} (base rate: {quality['base_log_loss']:.4f})"
        )
    latency = report["latency_ms"]
    console.print(
        f"{report['events_per_s']:,.0f} events/s"
        + (f", latency p50 {latency['p50']:,.0f} ms, p99 {latency['p99']:,.0f} ms" if latency else "")
    )
