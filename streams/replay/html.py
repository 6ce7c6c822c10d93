"""The report as one HTML file that needs nothing else: no script, no font, no network."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from importlib import resources

from online_models.objectives import DECLARED
from online_models.validation.verdict import TITLES
from schemas.metrics import Standing
from schemas.report import AlgorithmRow, Estimate, Metrics, ObjectiveReport, Report
from streams.replay.charts import Series, bar_chart, line_chart
from streams.replay.report import moment, size, skipped, titled

_DAY_MS = 86_400_000
_STYLES = {"base_rate": "b1", "popularity": "b2", "last_click": "b3", "rule": "b4"}
_CANDIDATE_STYLES = ("m1", "m2", "m3", "m4", "m5", "m6")


def render(report: Report) -> str:
    """Return the page. Holds no id of any visitor."""
    style = resources.files("streams.replay").joinpath("report.css").read_text(encoding="utf-8")
    body = "".join(
        [
            _head(report),
            _skipped(report),
            *(_objective(name, report) for name in report.objectives),
            _algorithms(report.algorithms),
            _challengers(report),
            _policies(report),
            _throughput(report),
        ]
    )
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta name="color-scheme" content="light dark">'
        f"<title>Replay of {escape(', '.join(report.source))}</title><style>{style}</style></head>"
        f"<body><main>{body}</main></body></html>\n"
    )


def _head(report: Report) -> str:
    beaten = " NOT " not in report.verdict
    sentences = "".join(
        f'<p class="verdict {"good" if " NOT " not in one else "bad"}">{escape(one)}</p>'
        for one in _sentences(report.verdict)
    )
    ignored = sum(report.ignored.values())
    tiles = [
        ("events", f"{report.events:,}"),
        ("scored", f"{report.scored:,}"),
        ("passed over", f"{ignored:,}"),
        ("dead letters", f"{report.dead:,}"),
        *([("bad rows", f"{report.bad_rows:,}")] if report.bad_rows else []),
        ("events/s", f"{report.events_per_s:,.0f}"),
        ("candidates", str(len(report.candidates))),
    ]
    shown = "".join(f"<div><dt>{escape(name)}</dt><dd>{value}</dd></div>" for name, value in tiles)
    notes = "".join(f'<p class="verdict bad">{escape(one)}</p>' for one in report.notes)
    span = f"{moment(report.from_ms)} to {moment(report.to_ms)} UTC" if report.to_ms else ""
    return (
        f'<header class="{"good" if beaten else "bad"}">{sentences}{notes}'
        f"<p>Replay of {escape(', '.join(report.source))}, {span}</p></header><dl class='tiles'>{shown}</dl>"
    )


def _skipped(report: Report) -> str:
    lines = skipped(report)
    if not lines:
        return ""
    shown = "".join(f"<li>{escape(line)}</li>" for line in lines)
    return f"<details><summary>{report.bad_rows:,} bad rows were skipped</summary><ul>{shown}</ul></details>"


def _sentences(verdict: str) -> list[str]:
    return [one.strip().rstrip(".") + "." for one in verdict.split(". ") if one.strip()]


# ---------------------------------------------------------------- an objective


def _objective(name: str, report: Report) -> str:
    one = report.objectives[name]
    return (
        f"<section><h2>{escape(name)}</h2>"
        + _metrics_table(name, report)
        + '<div class="charts">'
        + _over_time(name, report, "log_loss", "Log loss over time (lower is better)")
        + _over_time(name, report, "auc", "AUC over time (0.5 is no order at all)")
        + _calibration(name, report)
        + _improvement(name, report)
        + _weights(one)
        + "</div></section>"
    )


def _of_objective(name: str, report: Report) -> list[tuple[str, str, ObjectiveReport]]:
    return [
        (label, _CANDIDATE_STYLES[number % len(_CANDIDATE_STYLES)], candidate.objectives[name])
        for number, (label, candidate) in enumerate(report.candidates.items())
        if name in candidate.objectives
    ]


def _metrics_table(name: str, report: Report) -> str:
    point = report.objectives[name].operating_point
    where = f"scores of {point.threshold:g} and more" if point.threshold is not None else f"the best {point.budget:.0%}"
    rows: list[tuple[str, Metrics, Metrics | None]] = []
    for label, _, one in _of_objective(name, report):
        rows.append((titled(label, name, report), one.overall, one.last_quarter))
    rows += [(TITLES.get(rule, rule), metrics, None) for rule, metrics in report.baselines[name].items()]
    body = [
        [
            title,
            f"{one.n:,}",
            f"{one.positives:,}",
            *(_number(value) for value in (one.log_loss, one.auc, one.average_precision, one.calibration_error)),
            *(_number(value, 3) for value in (one.accuracy, one.precision, one.recall, one.lift)),
            _number(last.log_loss) if last else "",
            _number(last.auc) if last else "",
        ]
        for title, one, last in rows
    ]
    head = (
        *("", "judged", "positive", "log loss", "AUC", "average precision", "calibration error"),
        *("accuracy", "precision", "recall", "lift", "last quarter: log loss", "AUC"),
    )
    note = f"Accuracy, precision, recall and lift: {where}. Last quarter: of the time."
    return _table(head, body) + f'<p class="note">{escape(note)}</p>'


def _over_time(name: str, report: Report, figure: str, title: str) -> str:
    first = report.objectives[name]
    series = [
        Series(label, [((w.from_ms + w.to_ms) / 2, getattr(w, figure)) for w in one.windows], style)
        for label, style, one in _of_objective(name, report)
    ]
    series += [
        Series(
            TITLES.get(rule, rule),
            [
                ((w.from_ms + w.to_ms) / 2, (w.baselines if figure == "log_loss" else w.baselines_auc).get(rule))
                for w in first.windows
            ],
            _STYLES.get(rule, "b1"),
        )
        for rule in report.baselines[name]
    ]
    spans_days = report.to_ms - report.from_ms > 3 * _DAY_MS
    return line_chart(
        series,
        title=title,
        x_text=lambda ms: moment(ms, "%d %b" if spans_days else "%d %b %H:%M"),
        y_text="{:.3g}".format,
    )


def _calibration(name: str, report: Report) -> str:
    series = [
        Series(label, [(point.mean_score, point.rate) for point in one.calibration_curve], style, dots=True)
        for label, style, one in _of_objective(name, report)
    ]
    return line_chart(
        series,
        title="Calibration: what came (up) against what was promised (right)",
        x_text="{:.2g}".format,
        y_text="{:.2g}".format,
        square=True,
    )


def _improvement(name: str, report: Report) -> str:
    """Draw by how much log loss is below that of the base rate; of what is not comparable, its own base rate."""
    base = report.baselines[name]["base_rate"].log_loss
    if not base:
        return ""
    compared = [
        (label, one.overall.log_loss, style, one.overall.base_log_loss or base)
        if name in report.candidates[label].not_comparable
        else (label, one.overall.log_loss, style, base)
        for label, style, one in _of_objective(name, report)
    ]
    compared += [
        (TITLES.get(rule, rule), metrics.log_loss, _STYLES.get(rule, "b1"), base)
        for rule, metrics in report.baselines[name].items()
        if rule != "base_rate"
    ]
    bars = [(label, 100 * (1 - loss / of_base), style) for label, loss, style, of_base in compared if loss is not None]
    return bar_chart(bars, title="Log loss saved against the base rate, in percent", text="{:+.1f} %".format)


def _weights(one: ObjectiveReport) -> str:
    bars = [(feature, weight, "m1" if weight >= 0 else "m2") for feature, weight in one.weights[:24]]
    return bar_chart(bars, title="Largest weights at the end, in logits", text="{:+.2f}".format)


# ---------------------------------------------------------------- the rest


def _algorithms(rows: Sequence[AlgorithmRow]) -> str:
    if not rows:
        return ""
    tables = "".join(
        f"<h3>{escape(objective)}</h3>" + _algorithms_table([row for row in rows if row.objective == objective])
        for objective in dict.fromkeys(row.objective for row in rows)
    )
    notes = "; ".join(f"{name}: {note}" for name, note in {row.algorithm: row.note for row in rows}.items())
    return f'<section><h2>Algorithms</h2>{tables}<p class="note">{escape(notes)}.</p></section>'


def _algorithms_table(rows: Sequence[AlgorithmRow]) -> str:
    head = (
        *("algorithm", "", "log loss", "AUC", "last quarter: log loss", "AUC"),
        *("µs to predict", "µs to learn", "memory"),
    )
    body = [
        [
            row.algorithm,
            row.verdict,
            *map(_number, (row.log_loss, row.auc, row.last_quarter_log_loss, row.last_quarter_auc)),
            _number(row.predict_us, 1),
            _number(row.learn_us, 1),
            size(row.memory_bytes),
        ]
        for row in rows
    ]
    return _table(head, body, text_columns=2)


def _policies(report: Report) -> str:
    if not report.policies:
        return ""
    head = (
        *("objective", "policy", "estimator", "candidate", "value", "95 % interval", "triggers", "positives"),
        *("effective sample size", "logged value", ""),
    )
    body = [
        [objective, policy, estimator, label, *_estimate_cells(estimate)]
        for label, candidate in report.candidates.items()
        for objective, policies in candidate.policies.items()
        for policy, estimates in policies.items()
        for estimator, estimate in estimates.items()
    ]
    return f"<section><h2>What if another policy had chosen?</h2>{_table(head, body, text_columns=4)}</section>"


def _estimate_cells(one: Estimate) -> list[str]:
    interval = f"{_number(one.low, 5)} to {_number(one.high, 5)}" if one.low is not None else "-"
    counts = (f"{one.n:,}", f"{one.positives:,}", f"{one.effective_sample_size:,.0f}")
    return [_number(one.value, 5), interval, *counts, _number(one.logged_value, 5), one.warning or ""]


def _challengers(report: Report) -> str:
    rows = [
        [
            label,
            one.objective,
            one.variant or DECLARED,
            f"served instead of {one.before or DECLARED}",
            moment(one.ts_ms),
            *_standing_cells(one.standing),
        ]
        for label, candidate in report.candidates.items()
        for one in candidate.promotions
    ]
    rows += [
        [label, objective, name or DECLARED, "challenges at the end", moment(report.to_ms), *_standing_cells(one)]
        for label, candidate in report.candidates.items()
        for objective, standings in candidate.standings.items()
        for name, one in standings.items()
    ]
    if not rows:
        return ""
    head = ("candidate", "objective", "variant", "", "event time (UTC)", "judged", "advantage (nats)", "evidence")
    return f"<section><h2>Champion and challengers</h2>{_table(head, rows, text_columns=4)}</section>"


def _standing_cells(one: Standing) -> list[str]:
    return [f"{one.judged:,}", _number(one.advantage, 5), f"{one.evidence:.3g}"]


def _throughput(report: Report) -> str:
    bars = [
        (label, candidate.us_per_event, _CANDIDATE_STYLES[number % len(_CANDIDATE_STYLES)])
        for number, (label, candidate) in enumerate(report.candidates.items())
    ]
    chart = bar_chart(bars, title="Time for each event, in microseconds", text="{:.1f}".format)
    return (
        f"<section><h2>Throughput</h2><p>{report.events:,} events in {report.duration_s:,.1f} s: "
        f'{report.events_per_s:,.0f} events/s.</p><div class="charts">{chart}</div></section>'
    )


def _table(head: Iterable[str], body: Iterable[Iterable[str]], *, text_columns: int = 1) -> str:
    titles = "".join(
        f'<th scope="col"{" class=text" if number < text_columns else ""}>{escape(one)}</th>'
        for number, one in enumerate(head)
    )
    rows = "".join(
        "<tr>"
        + "".join(
            f"<th scope='row'>{escape(cell)}</th>" if number < text_columns else f"<td>{escape(cell)}</td>"
            for number, cell in enumerate(row)
        )
        + "</tr>"
        for row in body
    )
    return (
        '<div class="scroll" tabindex="0" role="region" aria-label="Table">'
        f"<table><thead><tr>{titles}</tr></thead><tbody>{rows}</tbody></table></div>"
    )


def _number(value: float | None, digits: int = 4) -> str:
    return "-" if value is None else f"{value:.{digits}f}"
