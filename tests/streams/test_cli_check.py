"""`streamscore check`: what is allowed, and seldom meant."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from streams.cli.main import app
from streams.configs import shipped_config, shipped_configs

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
    "bounded_worth": {"basket": "value", "clip": [0, 500]},
    "kinds": {"basket": "items"},
    "since": {"time_since": "click"},
    "visit": {"session": "duration"},
    "binned_visit": {"session": "duration", "bins": [60, 600]},
    "clicks": {"count": "click"},
    "item": {"field": "item_id"},
    "price_of_item": {"cross": ["price", "item"]},
    "logged_of_item": {"cross": ["logged", "item"]},
}
CLICK = {"trigger": "impression", "outcome": "click", "match": "item", "window": "30m"}


def checked(path: Path, *, segments: dict[str, Any] | None = None, **objective: Any) -> list[str]:
    """Return what a check minds of an objective, or of segments."""
    sections = {} if segments is None else {"segments": segments}
    return checked_whole(path, objectives={"click": {**CLICK, **objective}}, **sections)


def checked_whole(path: Path, **sections: Any) -> list[str]:
    """Return what a check minds of a configuration with these sections."""
    declared = {"app": "x", "features": FEATURES, **sections}
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


def test_it_takes_the_configuration_that_a_worker_would(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def looked_at(**environment: str) -> str:
        done = CliRunner().invoke(app, ["check"], env=environment)
        assert done.exit_code == 0, done.output
        return Path(done.stdout.partition(":")[0]).name

    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("STREAMSCORE_CONFIG", raising=False)
    assert looked_at() == "shop.yaml"
    (tmp_path / "scoring.yaml").write_text(shipped_config("ads").read_text())
    assert looked_at() == "scoring.yaml"
    assert looked_at(STREAMSCORE_CONFIG="globo") == "globo.yaml"


@pytest.mark.parametrize(
    ("shown", "outcomes", "minded"),
    [
        (42, ("click", "add_to_cart", "purchase"), None),
        (
            43,
            ("click", "add_to_cart", "purchase"),
            "home lets 129 triggers wait (`shown: 43`, each for click,",
        ),
        (100, ("click",), None),
        (
            100,
            ("click", "purchase"),
            "home lets 200 triggers wait (`shown: 100`, each for click, purchase), and 256",
        ),
    ],
)
def test_rankings_that_open_more_triggers_than_are_kept_are_named(
    tmp_path: Path, shown: int, outcomes: tuple[str, ...], minded: str | None
) -> None:
    objectives = {one: {**CLICK, "outcome": one, "features": ["clicks", "item"]} for one in outcomes}
    objectives["again"] = {**objectives["click"], "trigger": "click", "match": "user"}

    found = checked_whole(
        tmp_path / "c.yaml", objectives=objectives, rankings={"home": {"objective": "click", "shown": shown}}
    )

    assert [minded in line for line in found] == [True] if minded else found == []


def test_numbers_without_a_bound_that_describe_visitors_are_named(tmp_path: Path) -> None:
    declared = {
        "features": ["clicks"],
        "segments": {"of": ["spent", "clicks", "worth", "bounded_worth", "binned_visit"], "count": 2},
    }

    assert checked(tmp_path / "c.yaml", **declared) == [
        "segments see spent, worth as they come. Values that are far too large move a segment and the scale of all: "
        "declare `clip`, `bins` or `transform: log1p`"
    ]


def test_windows_beyond_what_is_remembered_of_a_visitor_are_named(tmp_path: Path) -> None:
    windows = {
        "views_30d": {"count": "page_view", "window": "30d"},
        "views_31d": {"count": "page_view", "window": "31d"},
        "visits_90d": {"visits": "90d"},
        "visits_per_day": {"visits": "per_day", "half_life": "90d"},
        "in_visit": {"count": "page_view", "window": "session"},
        "rate_1y": {"rate": "click", "over": "impression", "window": "366d"},
    }
    objectives = {
        "late": {**CLICK, "window": "30d", "grace": "1ms", "features": ["views_30d"]},
        "click": {**CLICK, "window": "29d", "features": ["views_30d"]},
    }
    declared = {"app": "x", "features": windows, "objectives": objectives, "redis": {"state_ttl": "30d"}}
    (tmp_path / "c.yaml").write_text(yaml.safe_dump(declared, sort_keys=False))

    done = CliRunner().invoke(app, ["check", str(tmp_path / "c.yaml")])

    assert [line for line in done.stdout.splitlines() if "mind:" in line] == [
        "  mind:       late, views_31d, visits_90d, rate_1y: longer than `redis.state_ttl` (30d). Who stays away for "
        "that time is forgotten, with counts and open triggers: declare a longer `state_ttl` or a shorter `window`"
    ]


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
