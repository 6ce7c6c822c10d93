"""`streamscore check`: what is allowed, and seldom meant."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from streams.cli.main import app
from streams.configs import shipped_configs

FEATURES = {
    "price": {"field": "price"},
    "clipped": {"field": "price", "clip": [0, 200]},
    "binned": {"field": "price", "bins": [10, 50]},
    "logged": {"field": "price", "transform": "log1p"},
    "named": {"field": "price", "numeric": False},
    "own": {"field": "properties.size", "numeric": True},
    "depth": {"field": "depth"},
    "spent": {"sum": "value", "of": "purchase"},
    "spent_7d": {"sum": "value", "of": "purchase", "half_life": "7d"},
    "worth": {"basket": "value"},
    "kinds": {"basket": "items"},
    "since": {"time_since": "click"},
    "visit": {"session": "duration"},
    "clicks": {"count": "click"},
    "item": {"field": "item_id"},
    "price_of_item": {"cross": ["price", "item"]},
    "logged_of_item": {"cross": ["logged", "item"]},
}
CLICK = {"trigger": "impression", "outcome": "click", "match": "item", "window": "30m"}


def checked(path: Path, **objective: Any) -> list[str]:
    """Return what a check minds of an objective."""
    declared = {"app": "x", "features": FEATURES, "objectives": {"click": {**CLICK, **objective}}}
    path.write_text(yaml.safe_dump(declared, sort_keys=False))
    done = CliRunner().invoke(app, ["check", str(path)])
    assert done.exit_code == 0, done.output
    return [line.removeprefix("  mind:       ") for line in done.stdout.splitlines() if "mind:" in line]


def test_numbers_that_one_event_can_make_very_large_are_named(tmp_path: Path) -> None:
    assert checked(tmp_path / "c.yaml", model={"name": "ftrl"}) == [
        "click (ftrl) sees price, own, spent, spent_7d, worth, since, visit, price_of_item as they come. One value "
        "that is far too large spoils a weight for good: declare `clip`, `bins` or `transform: log1p`"
    ]


def test_a_model_that_squashes_numbers_may_see_them_and_a_challenger_may_not(tmp_path: Path) -> None:
    challenger = {"model": {"name": "ftrl", "alpha": 0.1}, "features": ["price", "item"]}

    found = checked(tmp_path / "c.yaml", model={"name": "neural_net"}, challengers={"deep": challenger})

    assert [line.split(" as they")[0] for line in found] == ["click~deep (ftrl) sees price"]


def test_what_the_model_does_not_see_is_not_minded(tmp_path: Path) -> None:
    features = ["clipped", "binned", "logged", "clicks"]

    assert checked(tmp_path / "c.yaml", model={"name": "ftrl"}, features=features) == []


@pytest.mark.parametrize(
    ("declared", "minded"),
    [
        ({"prior": 0.05}, []),
        ({"prior": 0.3}, []),
        ({"prior": 0.31}, ["click (ftrl)"]),
        ({}, ["click (ftrl)"]),
        ({"prior": 0.05, "model": {"name": "naive_bayes"}}, ["click (naive_bayes)"]),
        ({"prior": 0.05, "challengers": {"nb": {"model": {"name": "naive_bayes"}}}}, ["click~nb (naive_bayes)"]),
        ({"prior": 0.5, "labels": "at_window_end"}, []),
    ],
)
def test_fake_negatives_of_common_outcomes_are_minded(
    tmp_path: Path, declared: dict[str, Any], minded: list[str]
) -> None:
    found = checked(tmp_path / "c.yaml", **{"labels": "immediate", "features": ["clicks"], **declared})

    assert [line.split(" has `labels: immediate`")[0] for line in found] == minded


@pytest.mark.parametrize("name", shipped_configs())
def test_nothing_is_minded_of_what_is_shipped(name: str) -> None:
    done = CliRunner().invoke(app, ["check", name])

    assert done.exit_code == 0
    assert "mind:" not in done.stdout
