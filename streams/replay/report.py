"""From what the candidates found out to the report: as a struct, as JSON, and for the terminal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
from rich.console import Console
from rich.table import Table

from online_models.validation.verdict import TITLES, verdict
from schemas.report import CandidateReport, Metrics, ObjectiveReport, Report
from streams.replay.measures import Results


def make_report(results: Sequence[Results], *, source: Sequence[str], duration_s: float) -> Report:
    """Put the results of a replay together; the first candidate is the one that baselines stand beside."""
    first = results[0]
    tally = first.tally
    candidates = {one.label: _candidate(one) for one in results}
    baselines = {
        name: {rule: _metrics(found) for rule, found in objective["baselines"].items()}
        for name, objective in first.objectives.items()
    }
    objectives = candidates[first.label].objectives
    return Report(
        verdict=" ".join(verdict(name, one.overall, baselines[name]) for name, one in objectives.items()),
        source=list(source),
        events=tally.records,
        scored=first.scored,
        dead=sum(tally.dead.values()),
        ignored=first.ignored | ({"tombstone": tally.tombstones} if tally.tombstones else {}),
        from_ms=tally.from_ms,
        to_ms=tally.to_ms,
        duration_s=duration_s,
        events_per_s=(tally.records - tally.records_before) / duration_s if duration_s else 0.0,
        objectives=objectives,
        baselines=baselines,
        candidates=candidates,
    )


def _candidate(results: Results) -> CandidateReport:
    return CandidateReport(
        objectives={name: msgspec.convert(found, ObjectiveReport) for name, found in results.objectives.items()},
        models=results.models,
        us_per_event=1e6 * results.tally.seconds / max(1, results.tally.records),
    )


def _metrics(found: dict[str, Any]) -> Metrics:
    return msgspec.convert({"base_log_loss": None, **found}, Metrics)


def report_json(report: Report) -> bytes:
    """Return the report as JSON, indented."""
    return msgspec.json.format(msgspec.json.encode(report), indent=2) + b"\n"


def show(report: Report, console: Console) -> None:
    """Print a report for people: the verdict first."""
    console.print(report.verdict, style="bold red" if " NOT " in report.verdict else "bold", markup=False)
    passed = ", ".join(f"{count:,} {rule}" for rule, count in report.ignored.items())
    console.print(
        f"{report.events:,} events: {report.scored:,} scored, {report.dead:,} dead letters"
        + (f", passed over: {passed}" if passed else "")
        + f"; {report.duration_s:.1f} s, {report.events_per_s:,.0f} events/s",
        markup=False,
    )
    for name in report.objectives:
        console.print(_table(name, report))


def _table(name: str, report: Report) -> Table:
    point = report.objectives[name].operating_point
    where = f"scores of {point.threshold:g} and more" if point.threshold is not None else f"the best {point.budget:.0%}"
    table = Table(
        title=name,
        caption=f"AP: average precision; ECE: calibration error; precision and recall: {where}; last ¼: of the time",
        box=None,
        header_style="bold",
        title_justify="left",
        caption_justify="left",
    )
    table.add_column("")
    for column in ("judged", "log loss", "AUC", "AP", "ECE", "prec.", "recall", "last ¼"):
        table.add_column(column, justify="right", no_wrap=True)
    for label, candidate in report.candidates.items():
        if name in candidate.objectives:
            one = candidate.objectives[name]
            title = label if candidate.models[name] in label else f"{label} ({candidate.models[name]})"
            table.add_row(title, *_cells(one.overall), _number(one.last_quarter.log_loss))
    for rule, metrics in report.baselines[name].items():
        table.add_row(TITLES.get(rule, rule), *_cells(metrics), "", style="cyan")
    return table


def _cells(one: Metrics) -> list[str]:
    figures = (one.log_loss, one.auc, one.average_precision, one.calibration_error)
    return [f"{one.n:,}", *map(_number, figures), _number(one.precision, 3), _number(one.recall, 3)]


def _number(value: float | None, digits: int = 4) -> str:
    return "-" if value is None else f"{value:.{digits}f}"
