"""The table of algorithms: one command, the same labels for all, and what each costs."""

from __future__ import annotations

import json
import subprocess
import sys
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from online_models.estimators import build
from online_models.estimators.registry import OWN, SHORT_NAMES
from schemas import samples
from schemas.codec import encode_json
from streams.configs import shipped_config
from streams.replay.algorithms import ALGORITHMS, Cost, Timed, algorithm_rows, size_of, with_algorithm
from streams.settings import parse_settings
from streams.simulate import Shop

SETTINGS = """
features:
  clicks: {count: click}
  item: {field: item_id}
objectives:
  click:
    {trigger: impression, outcome: click, match: item, window: 30m, prior: 0.1, model: {name: ftrl, alpha: 0.7},
     challengers: {other: {model: {name: ftrl}}}}
  buy: {trigger: click, outcome: purchase, match: user, window: 1d, model: {name: adaptive_tree}}
"""


def test_every_kind_of_model_is_in_the_table() -> None:
    names = {str(one.model["name"]) for one in ALGORITHMS.values()}

    assert names == {*OWN, *SHORT_NAMES} - {"logistic_regression"}  # which is linear as well


@pytest.mark.parametrize("name", ALGORITHMS)
def test_the_model_alone_is_replaced(name: str) -> None:
    declared = parse_settings(SETTINGS, {"STREAMSCORE_MODEL_KEY": "a key of this test"})

    settings = with_algorithm(declared, name)

    for before, after in zip(declared.objectives, settings.objectives, strict=True):
        assert after.model["name"] == ALGORITHMS[name].model["name"]
        assert (after.trigger, after.window_ms, after.prior, after.challengers) == (
            *(before.trigger, before.window_ms, before.prior),
            (),
        )
        build(after.model, key=settings.model_key)
    assert settings.worker.n_reasons == 0
    assert settings.features is declared.features


def test_a_declared_model_of_the_kind_is_kept_and_ours_begin_at_the_prior() -> None:
    settings = parse_settings(SETTINGS, {"STREAMSCORE_MODEL_KEY": "a key of this test"})

    assert with_algorithm(settings, "linear").objectives[0].model["alpha"] == 0.7
    assert with_algorithm(settings, "neural_net").objectives[0].model["intercept_init"] == pytest.approx(
        -2.1972, abs=1e-4
    )


def test_without_a_key_one_is_drawn_for_this_replay() -> None:
    settings = parse_settings(shipped_config("shop").read_text(), {})

    assert settings.model_key is None
    build(with_algorithm(settings, "tree").objectives[0].model, key=with_algorithm(settings, "tree").model_key)


def test_a_watch_changes_no_answer_and_counts_time() -> None:
    model, plain = (build({"name": "ftrl", "alpha": 0.5}) for _ in range(2))
    timed = Timed(model)
    assert timed.cost()[:2] == (None, None)
    for number in range(50):
        x = {f"k={number % 5}": 1.0}
        assert timed.predict_proba_one(x) == plain.predict_proba_one(x)
        timed.learn_one(x, number % 5 == 0)
        plain.learn_one(x, number % 5 == 0)

    cost = timed.cost()

    assert timed.to_bytes() == plain.to_bytes()
    assert cost.predict_us is not None
    assert cost.learn_us is not None
    assert min(cost.predict_us, cost.learn_us) > 0
    assert cost.memory_bytes == size_of(model)


def test_size_counts_what_belongs_to_a_thing_once() -> None:
    shared = list(range(1000, 2000))

    assert size_of([shared, shared]) - size_of([shared]) == sys.getsizeof([1, 2]) - sys.getsizeof([1])
    assert size_of(shared) > 1000 * 8 + 1000 * 24


def test_a_time_when_the_base_rate_knew_nothing_makes_no_model_drift() -> None:
    # until the first windows closed the base rate was a prior that is wrong; the model knew better, and is as good now
    one = samples.REPORT.candidates["scoring"]
    click = one.objectives["click"]
    handicapped = replace(
        one,
        objectives={
            "click": replace(
                click,
                overall=replace(click.overall, log_loss=0.188, base_log_loss=0.365),
                second_half=replace(click.second_half, log_loss=0.174, base_log_loss=0.180),
                last_quarter=replace(click.last_quarter, log_loss=0.173, base_log_loss=0.179),
            )
        },
    )

    (row,) = algorithm_rows({"linear": handicapped}, {"linear": {"click": Cost(1.0, 1.0, 1)}})

    assert (row.log_loss, row.last_quarter_log_loss, row.verdict) == (0.188, 0.173, "settled")


def replayed(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "streams.cli.main", "replay", *words],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.fixture(scope="module")
def events(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("events") / "events.jsonl"
    path.write_bytes(b"\n".join(encode_json(event) for event in islice(Shop(seed=5, visitors=40).events(), 2000)))
    return str(path)


def test_one_command_compares_all_of_them(events: str, tmp_path: Path) -> None:
    report, page = tmp_path / "report.json", tmp_path / "report.html"
    words = ("-c", "shop", "--compare-algorithms", "--report", str(page))

    done = replayed(events, *words, "--json", str(report))
    shared_out = replayed(events, *words, "--workers", "2", "--json", "-")

    assert done.returncode == 0, done.stderr
    assert shared_out.returncode == 0, shared_out.stderr
    found = json.loads(report.read_bytes())
    assert without_times(found["algorithms"]) == without_times(json.loads(shared_out.stdout)["algorithms"])
    assert list(found["candidates"]) == list(ALGORITHMS)
    rows = [row for row in found["algorithms"] if row["objective"] == "click"]
    assert [row["algorithm"] for row in rows] == list(ALGORITHMS)
    judged = {one["objectives"]["click"]["overall"]["n"] for one in found["candidates"].values()}
    assert len(judged) == 1
    for row in rows:
        assert min(row["predict_us"], row["learn_us"], row["memory_bytes"]) > 0
        assert row["log_loss"] == found["candidates"][row["algorithm"]]["objectives"]["click"]["overall"]["log_loss"]
    assert "click: algorithms" in done.stdout
    assert "<h2>Algorithms</h2>" in page.read_text()


def without_times(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [
        {key: value for key, value in row.items() if key not in ("predict_us", "learn_us", "memory_bytes")}
        for row in rows
    ]


def test_what_it_cannot_do_it_says(events: str) -> None:
    two = replayed(events, "-c", "shop", "-c", "globo", "--compare-algorithms")
    resumed = replayed(events, "-c", "shop", "--compare-algorithms", "--resume", "--to", "nowhere")

    assert "takes one configuration" in two.stderr
    assert "needs STREAMSCORE_MODEL_KEY" in resumed.stderr
