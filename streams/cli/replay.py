"""`streamscore replay`: a topic or files once more, through the same code, touching nothing that is live."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from streams.cli.errors import UserError
from streams.cli.feeding import ends_on_interrupt
from streams.cli.options import config_path

if TYPE_CHECKING:
    from streams.replay.measures import Results
    from streams.replay.plan import CandidateSpec, Plan


def replay(
    sources: Annotated[
        list[str],
        typer.Argument(
            help="`kafka://topic`, with `?from=…&to=…` by time or offset; or files: CSV, TSV, JSON lines, gzip or not."
        ),
    ],
    configs: Annotated[
        list[str] | None,
        typer.Option(
            "--config",
            "-c",
            help="A configuration to run; several are compared over the same events.",
            show_default=False,
        ),
    ] = None,
    mapping: Annotated[str, typer.Option("--mapping", "-m", help="How rows of files become events.")] = "events",
    to: Annotated[
        str | None,
        typer.Option(help="Where scores go: a folder, or `kafka://topic` of its own. Default: nowhere but the report."),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on where the replay into this folder was interrupted.")
    ] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Begin anew in a folder that holds an interrupted replay.")
    ] = False,
    as_live: Annotated[
        bool, typer.Option("--as-live", help="Give each event the model version that its live score names.")
    ] = False,
    compare_algorithms: Annotated[
        bool,
        typer.Option(
            "--compare-algorithms",
            help="Run the configuration with each kind of model: quality, time and memory of each.",
        ),
    ] = False,
    speed: Annotated[str, typer.Option(help="`max`, or times the recorded pace: 60 is an hour in a minute.")] = "max",
    chunk: Annotated[int, typer.Option(min=1, help="Records at a time; decides no result.")] = 2000,
    limit: Annotated[int | None, typer.Option(min=1, help="Only the first so many events.")] = None,
    workers: Annotated[int, typer.Option(min=1, help="Processes among which the candidates are dealt.")] = 1,
    threshold: Annotated[
        float | None, typer.Option(min=0, max=1, help="Measure precision and recall of scores of at least this.")
    ] = None,
    budget: Annotated[
        float, typer.Option(min=0.0001, max=1, help="… or of this share of the triggers, the best scored.")
    ] = 0.1,
    report: Annotated[Path | None, typer.Option(help="Write the report as one HTML file.")] = None,
    json: Annotated[Path | None, typer.Option(help="Write the report as JSON; `-` is standard output.")] = None,
) -> None:
    """Replay a topic's range or files, to test a model, a feature or a fix.

    The cores are those of the worker; models reach the scorers on event time, so that two runs give the
    same bytes. Nothing of the live state is touched.
    """
    from online_models.validation import OperatingPoint
    from streams.replay.report import make_report, nothing_usable, report_json, show, warn

    plan = _plan(sources, configs, mapping, to, resume, as_live, speed, chunk, limit)
    plan = replace(plan, point=OperatingPoint(threshold, budget))
    plan = replace(plan, overwrite=overwrite, now_ms=time.time_ns() // 1_000_000)
    if compare_algorithms:
        plan = replace(plan, candidates=_algorithms(plan))
    results, duration_s = asyncio.run(_run(plan, workers))
    made = make_report(results, source=list(map(str, plan.sources)), duration_s=duration_s)
    if json is not None:
        _write(json, report_json(made))
    if report is not None:
        from streams.replay.html import render

        _write(report, render(made).encode())
    if json is None or str(json) != "-":
        show(made, Console(highlight=False))
    warn(made, Console(stderr=True))
    if why := nothing_usable(made):
        raise UserError(why)


def _write(path: Path, content: bytes) -> None:
    if str(path) == "-":
        sys.stdout.buffer.write(content)
        return
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    except OSError as error:
        raise UserError(f"{path} cannot be written: {error.strerror}") from None


def _plan(
    sources: Sequence[str],
    configs: Sequence[str] | None,
    mapping: str,
    to: str | None,
    resume: bool,
    as_live: bool,
    speed: str,
    chunk: int,
    limit: int | None,
) -> Plan:
    from streams.replay.plan import Plan
    from streams.replay.spec import SpecError, TopicRange, parse_spec

    try:
        specs = tuple(parse_spec(one) for one in sources)
        target = parse_spec(to) if to is not None else None
    except SpecError as error:
        raise UserError(str(error)) from None
    to_topic = target.topic if isinstance(target, TopicRange) else None
    return Plan(
        sources=specs,
        candidates=tuple(candidates_of(configs)),
        mapping=mapping,
        chunk=chunk,
        limit=limit,
        speed=_speed(speed),
        folder=Path(to) if to is not None and to_topic is None else None,
        to_topic=to_topic,
        resume=resume,
        as_live=as_live,
    )


def _speed(text: str) -> float | None:
    if text == "max":
        return None
    try:
        speed = float(text)
    except ValueError:
        speed = 0.0
    if not 0 < speed < float("inf"):
        raise UserError(f"Expected --speed to be `max` or a number above 0, got {text!r}")
    return speed


def candidates_of(configs: Sequence[str] | None) -> list[CandidateSpec]:
    """Return what is to be run: each configuration, and what it declares under `candidates:`."""
    from streams.replay.plan import CandidateSpec

    found: list[CandidateSpec] = []
    named: Sequence[str | None] = configs or [os.environ.get("STREAMSCORE_CONFIG")]
    for config in named:
        path = config_path(config)
        names = CandidateSpec(path.stem, path).load().candidates
        taken = {one.label for one in found}
        for label in (path.stem, *(f"{path.stem}-{number}" for number in range(2, 1000))):
            some = [CandidateSpec(label, path)]
            some += [CandidateSpec(f"{label}.{name}", path, candidate=name) for name in names]
            if taken.isdisjoint(one.label for one in some):
                found += some
                break
    return found


def _algorithms(plan: Plan) -> tuple[CandidateSpec, ...]:
    """Return a candidate for each algorithm, of the one configuration that there is."""
    from streams.replay.algorithms import ALGORITHMS

    base, *others = plan.candidates
    if others:
        raise UserError(
            "--compare-algorithms takes one configuration without `candidates:`, and makes the candidates itself"
        )
    if plan.as_live:
        raise UserError("--as-live repeats what was scored; it has nothing to compare")
    if plan.resume and base.load().model_key is None:
        raise UserError("--resume with --compare-algorithms needs STREAMSCORE_MODEL_KEY: models of River are signed")
    return tuple(replace(base, label=name, algorithm=name) for name in ALGORITHMS)


async def _run(plan: Plan, workers: int) -> tuple[list[Results], float]:
    from streams.mapping import MappingError
    from streams.reading import TopicMissing
    from streams.replay.as_live import NothingLive
    from streams.replay.candidate import CannotResume
    from streams.replay.folder import Unfinished
    from streams.replay.history import VersionLost
    from streams.replay.parallel import ProcessFailed, run_in_processes
    from streams.replay.run import Interrupted, run
    from streams.replay.spec import SpecError
    from streams.sources import SourceError

    stop = asyncio.Event()
    started: list[float] = []
    with _progress() as bar, ends_on_interrupt(stop):
        task = bar.add_task("replay", total=None)

        def on_progress(share: float | None, records: int) -> None:
            if not started:  # what comes before is the start of processes
                started.append(time.monotonic())
            total = records / share if share else None
            bar.update(task, completed=records, total=total, description=f"{records:,} events")

        try:
            if workers > 1 and len(plan.candidates) > 1:
                results = await run_in_processes(plan, workers, on_progress=on_progress, stop=stop)
            else:
                results = await run(plan, on_progress=on_progress, stop=stop)
            return results, max(1e-3, time.monotonic() - started[0]) if started else 0.0
        except Interrupted:
            hint = "; --resume goes on from here" if plan.keeps_checkpoints else ""
            raise UserError(f"Interrupted{hint}") from None
        except (
            *(SpecError, MappingError, SourceError, TopicMissing),
            *(NothingLive, CannotResume, Unfinished, VersionLost, ProcessFailed),
        ) as error:
            raise UserError(str(error)) from None


def _progress() -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(show_speed=True),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
    )
