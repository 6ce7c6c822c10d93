"""The pages under docs/ tell the bounds and defaults that the code has."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import msgspec
import pytest
from typer.testing import CliRunner

from online_models.calibration import Calibrating
from online_models.features.fields import ID_FIELDS, NUMBER_FIELDS
from online_models.features.sums import SUMMED_FIELDS
from online_models.objectives import MAX_WINDOW_MS
from schemas.campaigns import Campaign
from streams.cli.main import app
from streams.configs import shipped_config, shipped_configs
from streams.sections import WorkerSettings
from streams.settings import load_settings
from streams.web.api import MOST_BODY_BYTES, MOST_EVENTS

DOCS = Path(__file__).resolve().parent.parent / "docs"
CONFIGURATION = (DOCS / "configuration.md").read_text()
FEATURES = (DOCS / "features.md").read_text()


def row(page: str, name: str) -> str:
    found = re.search(rf"^\| [^|]*`{re.escape(name)}`.*$", page, re.MULTILINE)
    assert found is not None, name
    return found[0]


def schema_of(kind: Any, field: str) -> dict[str, Any]:
    [_, schemas] = msgspec.json.schema_components([kind])
    return schemas[kind.__name__]["properties"][field]  # type: ignore[no-any-return]


@pytest.mark.parametrize("name", ["window", "grace"])
def test_how_long_an_objective_may_wait(name: str) -> None:
    assert f"at most {MAX_WINDOW_MS // 86_400_000} days" in row(CONFIGURATION, name)


def test_how_soon_a_calibration_forgets() -> None:
    declared = schema_of(Calibrating, "half_life")

    told = (DOCS / "models.md").read_text().partition("- `half_life`:")[2].partition("\n-")[0]
    assert f"{declared['minimum']} to {declared['maximum']:,}. The default, {declared['default']}," in told


def test_how_many_reasons_a_score_has() -> None:
    declared = schema_of(WorkerSettings, "n_reasons")

    told = row(CONFIGURATION, "n_reasons")
    assert f"{declared['minimum']} to {declared['maximum']} | `{declared['default']}`" in told


def test_that_the_highest_bid_is_above_nothing() -> None:
    assert schema_of(Campaign, "max_bid_cpm")["exclusiveMinimum"] == 0
    assert "the second above 0" in row(CONFIGURATION, "max_bid_cpm")


def test_which_fields_a_family_takes() -> None:
    assert set(NUMBER_FIELDS) - set(SUMMED_FIELDS) == {"tz_offset_min"}
    assert "but `tz_offset_min`, not of `properties`" in row(FEATURES, "{sum: FIELD, of: TYPES}")
    visitor = FEATURES.partition("## The visitor")[2].partition("## The item")[0]
    *others, last = ID_FIELDS
    assert f"`FIELD` is {', '.join(f'`{one}`' for one in others)} or `{last}`, except under `sum`" in visitor


def test_what_an_app_is_called_that_is_given_no_name(tmp_path: Path) -> None:
    nameless = tmp_path / "scoring.yaml"
    lines = shipped_config("shop").read_text().splitlines()
    nameless.write_text("\n".join(line for line in lines if not line.startswith("app:")))

    assert f"Default: `{load_settings(nameless, {}).app}`." in CONFIGURATION.partition("`app`:")[2].partition("\n\n")[0]


def test_every_shipped_configuration_is_named() -> None:
    said = CliRunner().invoke(app, ["worker", "--help"], terminal_width=1_000).stdout

    assert [one for one in shipped_configs() if f"`{one}`" not in CONFIGURATION] == []
    assert [one for one in shipped_configs() if not re.search(rf"\b{one}\b", said)] == []


def test_how_much_a_request_may_hold() -> None:
    told = row((DOCS / "personalization.md").read_text().replace("| 413 |", "| `413` |"), "413")

    assert f"more than {MOST_EVENTS} events, or more than {MOST_BODY_BYTES >> 20} MiB" in told
