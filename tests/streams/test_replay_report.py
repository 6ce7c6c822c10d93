"""The report: the verdict first, figures that add up, a page that needs nothing else and shows no visitor."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from html.parser import HTMLParser
from io import StringIO
from itertools import islice
from pathlib import Path
from typing import Any

import msgspec
import orjson
import pytest
from jsonschema import Draft202012Validator
from rich.console import Console

from schemas import samples
from schemas.codec import encode_json
from schemas.documents import json_schema
from schemas.report import BadRow, Metrics, Report
from streams.configs import shipped_config
from streams.replay.html import render
from streams.replay.plan import CandidateSpec, Plan
from streams.replay.report import make_report, report_json, show
from streams.replay.run import run
from streams.replay.spec import parse_spec
from streams.simulate import Shop

EVENTS = 6_000
DOCS = Path(__file__).resolve().parents[2] / "docs" / "report.md"

# One candidate knows its visitors by name, which no report may tell.
CANDIDATES = """
candidates:
  by_name:
    features: {visitor: {field: user_id}, visitor_x_device: {cross: [visitor, device]}}
    objectives: {click: {features: [visitor, visitor_x_device, position], model: {name: ftrl, alpha: 0.5}}}
"""


@pytest.fixture(scope="module")
def visitors() -> list[str]:
    return sorted({event.user_id for event in islice(Shop(seed=5, visitors=60).events(), EVENTS)})


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Report:
    folder = tmp_path_factory.mktemp("replayed")
    events, config = folder / "events.jsonl", folder / "shop.yaml"
    events.write_bytes(b"\n".join(encode_json(event) for event in islice(Shop(seed=5, visitors=60).events(), EVENTS)))
    config.write_text(shipped_config("shop").read_text() + CANDIDATES)
    specs = (CandidateSpec("shop", config), CandidateSpec("shop.by_name", config, candidate="by_name"))
    plan = Plan(sources=(parse_spec(str(events)),), candidates=specs)
    results = asyncio.run(run(plan, on_progress=lambda share, records: None))
    return make_report(results, source=["events.jsonl"], duration_s=2.0)


# ---------------------------------------------------------------- as JSON


def test_a_report_is_valid_by_its_schema_and_read_back_the_same(report: Report) -> None:
    written = report_json(report)

    Draft202012Validator(json_schema("report")).validate(orjson.loads(written))
    assert msgspec.json.decode(written, type=Report) == report


@pytest.mark.parametrize("missing", ["verdict", "objectives", "baselines", "candidates", "events_per_s"])
def test_a_report_without_one_of_its_parts_is_not_valid(missing: str) -> None:
    written = orjson.loads(msgspec.json.encode(samples.REPORT))
    del written[missing]

    assert not Draft202012Validator(json_schema("report")).is_valid(written)


def test_records_add_up_and_every_objective_has_its_figures(report: Report) -> None:
    assert report.events == EVENTS == report.scored + report.dead + sum(report.ignored.values())
    assert report.events_per_s == EVENTS / 2.0
    assert list(report.objectives) == list(report.baselines) == ["click", "purchase", "continue"]
    assert report.objectives == report.candidates["shop"].objectives
    for name, one in report.objectives.items():
        assert set(report.baselines[name]) == {"base_rate", "popularity", "last_click", "rule"}
        assert {rule.n for rule in report.baselines[name].values()} == {one.overall.n}
        assert sum(window.n for window in one.windows) == one.overall.n > 0
        assert sum(point.n for point in one.calibration_curve) == one.overall.n
        assert one.overall.base_log_loss == report.baselines[name]["base_rate"].log_loss


def test_the_documentation_names_every_field() -> None:
    text = DOCS.read_text()

    missing = [field for field in sorted(set(_fields(msgspec.json.schema(Report)))) if f"`{field}`" not in text]

    assert missing == []


def _fields(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        yield from node.get("properties", {})
        for value in node.values():
            yield from _fields(value)
    elif isinstance(node, list):
        for value in node:
            yield from _fields(value)


# ---------------------------------------------------------------- on the terminal


def test_the_terminal_shows_the_verdict_first(report: Report) -> None:
    out = StringIO()

    show(report, Console(file=out, width=200))

    lines = out.getvalue().splitlines()
    assert lines[0].startswith("click: the model ")
    assert " ".join(" ".join(lines).split()).startswith(report.verdict)
    assert f"{report.events:,} events" in out.getvalue()


# ---------------------------------------------------------------- as a page


class Page(HTMLParser):
    """What is in a page: its tags with their attributes, its text; complains of tags that do not match."""

    VOID = frozenset(("meta", "line", "circle"))

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self._open: list[str] = []
        self.feed(page)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data

    def named(self, tag: str) -> list[dict[str, str | None]]:
        return [attrs for name, attrs in self.tags if name == tag]


def test_the_page_is_one_file_that_loads_nothing(report: Report) -> None:
    page = Page(render(report))

    loading = {"src", "href", "srcset", "data", "action", "poster"}
    assert [attrs for _, attrs in page.tags if loading & set(attrs)] == []
    assert not {"script", "link", "iframe", "img", "object", "form"} & {tag for tag, _ in page.tags}
    assert "url(" not in page.text
    assert "@import" not in page.text


def test_the_page_begins_with_the_verdict(report: Report) -> None:
    page = render(report)

    body = page[page.index("<body>") :]
    first = body.index("click: the model ")
    assert first < body.index("<table")
    assert first < body.index("<svg")


def test_every_plot_has_a_name_and_its_figures_as_a_table(report: Report) -> None:
    page = Page(render(report))

    assert page.named("svg")
    drawn = [svg for svg in page.named("svg") if svg.get("aria-hidden") != "true"]  # bars are rows of a table
    assert all(svg.get("role") == "img" and svg.get("aria-label") for svg in drawn)
    bars = [table for table in page.named("table") if table.get("class") == "bars"]
    assert len(page.named("details")) == len(drawn)
    assert len(page.named("figure")) == len(drawn) + len(bars)


def test_no_visitor_appears_in_any_form_of_the_report(report: Report, visitors: list[str]) -> None:
    # the model has learned their names ...
    weights = [feature for feature, _ in report.candidates["shop.by_name"].objectives["click"].weights]
    assert any(feature.startswith("position") for feature in weights)
    out = StringIO()
    show(report, Console(file=out, width=300))

    for shown in (report_json(report).decode(), render(report), out.getvalue()):
        assert [one for one in visitors if one in shown] == []


def test_whatever_is_named_like_markup_is_text() -> None:
    evil = "<img src=x onerror=alert(1)>\"'&"
    sample = samples.REPORT
    replace = msgspec.structs.replace
    objectives = {evil: replace(sample.objectives["click"], weights=[(evil, 1.0)])}
    rules = sample.baselines["click"]
    report = replace(
        sample,
        verdict=evil,
        source=[evil],
        ignored={evil: 1},
        objectives=objectives,
        baselines={evil: {**rules, evil: rules["popularity"]}},
        candidates={evil: replace(sample.candidates["scoring"], objectives=objectives, models={evil: evil})},
        policies={evil: {evil: {evil: replace(sample.policies["click"]["popular"]["snips"], warning=evil)}}},
        algorithms=[replace(sample.algorithms[0], algorithm=evil, objective=evil, note=evil, verdict=evil)],
        first_bad_rows=[BadRow(file=evil, line=1, message=evil)],
        notes=[evil],
    )

    page = Page(render(report))

    assert page.named("img") == []
    assert [attrs for _, attrs in page.tags if any(name.startswith("on") for name in attrs)] == []
    assert evil in page.text


def test_a_replay_of_nothing_has_a_page() -> None:
    replace = msgspec.structs.replace
    fields = {name: 0 if name in ("n", "positives") else None for name in Metrics.__struct_fields__}
    nothing = Metrics(**fields)  # type: ignore[arg-type]
    one = replace(
        samples.REPORT.objectives["click"],
        overall=nothing,
        second_half=nothing,
        last_quarter=nothing,
        windows=[],
        calibration_curve=[],
        weights=[],
    )
    report = replace(
        samples.REPORT,
        verdict="click: no label has come, nothing can be said.",
        events=0,
        from_ms=0,
        to_ms=0,
        objectives={"click": one},
        baselines={"click": {"base_rate": nothing}},
        candidates={"scoring": replace(samples.REPORT.candidates["scoring"], objectives={"click": one})},
    )

    assert "nothing can be said" in Page(render(report)).text
