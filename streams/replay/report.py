"""From what the candidates found out to the report: as a struct, as JSON, and for the terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any

import msgspec
from rich.console import Console
from rich.table import Table

from online_models.objectives import DECLARED
from online_models.validation.verdict import TITLES, Other, verdict
from schemas.metrics import Promotion
from schemas.report import (
    AlgorithmRow,
    BadRow,
    CandidateReport,
    Estimate,
    Metrics,
    ObjectiveReport,
    PromotionReport,
    Report,
)
from streams.replay.algorithms import algorithm_rows
from streams.replay.measures import Results

# As many as a file of bad rows remembers.
_BAD_ROWS_TOLD = 20


def make_report(results: Sequence[Results], *, source: Sequence[str], duration_s: float) -> Report:
    """Put the results of a replay together; the first candidate is the one that baselines stand beside."""
    first = results[0]
    tally = first.tally
    candidates = {one.label: _candidate(one, first) for one in results}
    baselines = candidates[first.label].baselines
    objectives = candidates[first.label].objectives
    return Report(
        verdict=" ".join(
            verdict(name, one.overall, baselines[name], _others(name, candidates)) for name, one in objectives.items()
        ),
        version=version("streamscore"),
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
        policies=candidates[first.label].policies,
        algorithms=list(algorithm_rows(candidates, {one.label: one.costs for one in results if one.costs})),
        bad_rows=first.n_bad_rows,
        first_bad_rows=[
            BadRow(file=file, line=line, message=message) for file, line, message in first.bad_rows[:_BAD_ROWS_TOLD]
        ],
        notes=first.notes,
    )


def _others(objective: str, candidates: Mapping[str, CandidateReport]) -> dict[str, Other]:
    """Return how the candidates but the first did at an objective."""
    others = list(candidates.items())[1:]
    return {
        label: Other(one.objectives[objective].overall, one.baselines[objective], objective not in one.not_comparable)
        for label, one in others
        if objective in one.objectives
    }


def _candidate(results: Results, first: Results) -> CandidateReport:
    return CandidateReport(
        objectives={name: msgspec.convert(found, ObjectiveReport) for name, found in results.objectives.items()},
        models=results.models,
        us_per_event=1e6 * results.tally.seconds / max(1, results.tally.records),
        policies=msgspec.convert(results.policies, dict[str, dict[str, dict[str, Estimate]]]),
        promotions=[_promotion(ts_ms, one) for ts_ms, one in results.promotions],
        standings=results.standings,
        baselines={
            name: {rule: _metrics(found) for rule, found in objective["baselines"].items()}
            for name, objective in results.objectives.items()
        },
        not_comparable=[name for name in results.objectives if not _asked_alike(name, results, first)],
    )


def _asked_alike(objective: str, one: Results, first: Results) -> bool:
    """Tell whether two candidates were asked the same, and had the same answers."""
    if objective not in first.objectives:
        return True  # there is nothing to compare
    mine, theirs = (found.objectives[objective]["overall"] for found in (one, first))
    same = (mine["n"], mine["positives"]) == (theirs["n"], theirs["positives"])
    return same and one.questions.get(objective) == first.questions.get(objective)


def _promotion(ts_ms: int, one: Promotion) -> PromotionReport:
    assert one.standing is not None  # in a replay the test decides
    return PromotionReport(
        objective=one.objective, ts_ms=ts_ms, variant=one.variant, before=one.before, standing=one.standing
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
        + (f"; {report.bad_rows:,} bad rows were skipped" if report.bad_rows else "")
        + f"; {report.duration_s:.1f} s, {report.events_per_s:,.0f} events/s",
        markup=False,
    )
    for name in report.objectives:
        console.print(_table(name, report))
        lines = [row for row in report.algorithms if row.objective == name]
        if lines:
            console.print(_algorithms_table(name, lines))
    for label, candidate in report.candidates.items():
        _show_challengers(label, candidate, console)
        for name, policies in candidate.policies.items():
            console.print(_policies_table(f"{name}: what if another policy had chosen? ({label})", policies))


def warn(report: Report, console: Console) -> None:
    """Say what was skipped and what must be known before the figures are believed; nothing if all is well."""
    for note in report.notes:
        console.print(note, style="bold red", highlight=False, markup=False, emoji=False, soft_wrap=True)
    for line in skipped(report):
        console.print(line, highlight=False, markup=False, emoji=False, soft_wrap=True)


def skipped(report: Report) -> list[str]:
    """Return a line for each of the first rows that became no event, and how many more there were."""
    lines = [f"{one.file}:{one.line}: {one.message}" for one in report.first_bad_rows]
    more = report.bad_rows - len(lines)
    return [*lines, f"… and {more:,} more bad rows"] if more > 0 else lines


def nothing_usable(report: Report) -> str | None:
    """Return why there is nothing to report on, although there was something to read; None: there is."""
    if report.events > report.dead or not report.bad_rows + report.dead:
        return None
    bad = f"all {report.bad_rows:,} rows are bad" if report.bad_rows else ""
    dead = f"{report.dead:,} are dead letters" if report.dead else ""
    source, why = ", ".join(report.source), " and ".join(filter(None, (bad, dead)))
    return f"Nothing of {source} can be scored: {why}"


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
    table.add_column("", overflow="fold")
    for column in ("judged", "positive", "log loss", "AUC", "AP", "ECE", "prec.", "recall", "last ¼"):
        table.add_column(column, justify="right", no_wrap=True)
    for label, candidate in report.candidates.items():
        if name in candidate.objectives:
            one = candidate.objectives[name]
            table.add_row(titled(label, name, report), *_cells(one.overall), _number(one.last_quarter.log_loss))
    for rule, metrics in report.baselines[name].items():
        table.add_row(TITLES.get(rule, rule), *_cells(metrics), "", style="cyan")
    return table


def titled(label: str, objective: str, report: Report) -> str:
    """Return a candidate's label, with the model's name where that says more, and whether it is comparable."""
    candidate = report.candidates[label]
    model = candidate.models[objective]
    title = label if report.algorithms or model in label else f"{label} ({model})"
    return f"{title}, not comparable" if objective in candidate.not_comparable else title


def _cells(one: Metrics) -> list[str]:
    figures = (one.log_loss, one.auc, one.average_precision, one.calibration_error)
    return [
        f"{one.n:,}",
        f"{one.positives:,}",
        *map(_number, figures),
        _number(one.precision, 3),
        _number(one.recall, 3),
    ]


def _number(value: float | None, digits: int = 4) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def _show_challengers(label: str, candidate: CandidateReport, console: Console) -> None:
    for one in candidate.promotions:
        console.print(
            f"{label}, {one.objective}: {one.variant or DECLARED} is served instead of {one.before or DECLARED} from "
            f"{moment(one.ts_ms)} UTC: {one.standing.advantage:+.4f} nats better on {one.standing.judged:,} triggers",
            markup=False,
        )
    for objective, standings in candidate.standings.items():
        for name, standing in standings.items():
            advantage = "-" if standing.advantage is None else f"{standing.advantage:+.5f} nats"
            console.print(
                f"{label}, {objective}: challenger {name or DECLARED}: {advantage} on {standing.judged:,} triggers, "
                f"evidence {standing.evidence:.3g}",
                markup=False,
            )


def _algorithms_table(objective: str, rows: Sequence[AlgorithmRow]) -> Table:
    table = Table(title=f"{objective}: algorithms", box=None, header_style="bold", title_justify="left")
    table.add_column("", overflow="fold")
    for column in ("log loss", "last ¼", "AUC", "µs predict", "learn", "memory"):
        table.add_column(column, justify="right", no_wrap=True)
    table.add_column("")
    for row in rows:
        table.add_row(
            row.algorithm,
            *map(_number, (row.log_loss, row.last_quarter_log_loss, row.auc)),
            *(_number(one, 1) for one in (row.predict_us, row.learn_us)),
            size(row.memory_bytes),
            row.verdict,
        )
    return table


def size(count: int | None) -> str:
    """Return bytes for people."""
    if count is None:
        return "-"
    return f"{count / 1e6:.1f} MB" if count >= 1e5 else f"{count / 1e3:.1f} kB"


def _policies_table(title: str, policies: Mapping[str, Mapping[str, Estimate]]) -> Table:
    table = Table(title=title, box=None, header_style="bold", title_justify="left")
    for number, column in enumerate(("policy", "estimator", "value", "95 % interval", "triggers", "effective", "")):
        table.add_column(column, justify="right" if 2 <= number <= 5 else "left", no_wrap=number < 6)
    for policy, estimates in policies.items():
        for estimator, one in estimates.items():
            interval = "-" if one.low is None else f"{_number(one.low, 5)} to {_number(one.high, 5)}"
            effective = f"{one.effective_sample_size:,.0f}"
            table.add_row(
                policy, estimator, _number(one.value, 5), interval, f"{one.n:,}", effective, one.warning or ""
            )
    return table


def moment(ms: float, form: str = "%Y-%m-%d %H:%M") -> str:
    """Return an event time for people, UTC."""
    return datetime.fromtimestamp(ms / 1000, UTC).strftime(form)
