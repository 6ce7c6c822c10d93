"""The shipped configurations on rows in the format of their files: all accounted for, none gives its answer away.

The rows are made here; the data sets themselves are not part of the project.
"""

from __future__ import annotations

from itertools import cycle, islice
from pathlib import Path
from typing import Any, NamedTuple

import orjson
import pytest
import yaml
from typer.testing import CliRunner

from streams.cli.main import app
from streams.configs import shipped_config

RUNNER = CliRunner()
ROWS = 30
T0 = 1_506_826_800_000

Row = dict[str, object]


def criteo_rows() -> list[Row]:
    """Every third impression is clicked."""
    brands = islice(cycle(["30763035", "138937", "28928366"]), ROWS)
    return [
        {"orig_row": 7 * n, "split": "train", "cat1": brand, "cat4": 4, "cat6": 6, "cat8": 8, "cat9": n % 2}
        | {"click": int(n % 3 == 0)}
        for n, brand in enumerate(brands)
    ]


def shoppers_rows() -> list[Row]:
    """Every fifth visit ends in a purchase."""
    return [
        {"Administrative": n % 3, "Administrative_Duration": 12.5 * (n % 3), "Informational": 0}
        | {"Informational_Duration": 0.0, "ProductRelated": 3 * n, "ProductRelated_Duration": 60.5 * n}
        | {"BounceRates": 0.0, "ExitRates": 0.01 + 0.002 * n, "PageValues": 1.0, "SpecialDay": 0.4, "Month": "May"}
        | {"OperatingSystems": 2, "Browser": 1, "Region": n % 4, "TrafficType": 3, "VisitorType": "New_Visitor"}
        | {"Weekend": "true", "Revenue": int(n % 5 == 0)}
        for n in range(ROWS)
    ]


def globo_rows() -> list[Row]:
    """Ten visits of three page views, one a minute; an hour lies between two visits."""
    return [
        {"user_id": visit % 4, "sid": visit, "art": 100 + n, "ts_ms": T0 + visit * 3_600_000 + n * 60_000}
        | {"sess_start_s": T0 // 1000, "env": 4, "dev": 1, "os": 17, "country": 1, "region": 25, "ref": 2}
        | {"session_size": 3}
        for visit in range(ROWS // 3)
        for n in range(3)
    ]


def obd_rows() -> list[Row]:
    """Three items a page, a page every half hour; one item in ten is clicked."""
    return [
        {"timestamp": f"2019-11-24 {n // 6:02}:{n // 3 % 2 * 30:02}:00.{n % 3:06}+00:00", "item_id": n}
        | {"position": 1 + n % 3}
        | {"click": int(n % 10 == 0), "propensity_score": 0.03}
        | {f"user_feature_{k}": f"hash{n % (k + 2)}" for k in range(4)}
        | {"user-item_affinity_0": 0.0}
        for n in range(ROWS)
    ]


class Case(NamedTuple):
    """A configuration's rows, and what should become of them."""

    mapping: str
    rows: list[Row]
    events: int
    scored: int
    ignored: dict[str, int]


CASES = {
    "criteo": Case("criteo", criteo_rows(), 40, 30, {"no_trigger": 10}),
    "shoppers": Case("online_shoppers", shoppers_rows(), 36, 30, {"no_trigger": 6}),
    "globo": Case("globo", globo_rows(), 30, 20, {"condition_not_met": 10}),
    "globo_labels": Case("globo", globo_rows(), 30, 20, {"condition_not_met": 10}),
    "obd": Case("obd", obd_rows(), 33, 30, {"no_trigger": 3}),
}


def replayed(config: str, mapping: str, rows: list[Row], folder: Path) -> dict[str, Any]:
    """Replay the rows as a user would; return the report. Scores go to the folder."""
    folder.mkdir()
    file, report = folder / "rows.csv", folder / "report.json"
    lines = [",".join(map(str, row)) for row in (rows[0], *(row.values() for row in rows))]
    file.write_text("\n".join(lines) + "\n")
    words = ["replay", file, "-m", mapping, "-c", config, "--to", folder / "out", "--json", report]

    done = RUNNER.invoke(app, [str(word) for word in words])

    assert done.exit_code == 0, done.output
    made: dict[str, Any] = orjson.loads(report.read_bytes())
    return made


@pytest.mark.parametrize("config", CASES)
def test_rows_in_the_format_of_the_data_are_all_accounted_for(config: str, tmp_path: Path) -> None:
    case = CASES[config]

    report = replayed(config, case.mapping, case.rows, tmp_path / "replay")

    assert (report["events"], report["scored"], report["dead"]) == (case.events, case.scored, 0)
    assert report["ignored"] == case.ignored
    assert report["events"] == report["scored"] + report["dead"] + sum(report["ignored"].values())
    for candidate in report["candidates"].values():
        assert all(objective["overall"]["n"] > 0 for objective in candidate["objectives"].values())


@pytest.mark.parametrize(("config", "column"), [("shoppers", "PageValues"), ("globo", "session_size")])
def test_what_was_known_only_afterwards_moves_no_score(config: str, column: str, tmp_path: Path) -> None:
    case = CASES[config]
    changed = [row | {column: 5} for row in case.rows]

    replayed(config, case.mapping, case.rows, tmp_path / "a")
    replayed(config, case.mapping, changed, tmp_path / "b")

    scores = [one.relative_to(tmp_path / "a") for one in (tmp_path / "a").rglob("scores.jsonl")]
    assert scores
    assert all((tmp_path / "a" / one).read_bytes() == (tmp_path / "b" / one).read_bytes() for one in scores)


def test_globo_labels_is_globo_and_a_candidate_that_learns_at_once() -> None:
    plain = yaml.safe_load(shipped_config("globo").read_text())
    both = yaml.safe_load(shipped_config("globo_labels").read_text())

    assert both == plain | {"candidates": {"immediate": {"objectives": {"continue": {"labels": "immediate"}}}}}
