"""A model that is full is seen: its size beside its bound, and one warning."""

from __future__ import annotations

import logging

import learner_bench
import pytest
from learner_bench import Deployment

from streams.settings import parse_settings
from streams.telemetry import Telemetry


def declare(monkeypatch: pytest.MonkeyPatch, model: str) -> None:
    settings = parse_settings(
        f"""
features:
  price: {{field: price, transform: log1p}}
objectives:
  click: {{trigger: impression, outcome: click, window: 30m, match: user, model: {model}}}
""",
        {"STREAMSCORE_MODEL_KEY": "sixteen bytes or more"},
    )
    monkeypatch.setattr(learner_bench, "SETTINGS", settings)


def shown(telemetry: Telemetry) -> tuple[float | None, float | None]:
    of = {"objective": "click"}
    value = telemetry.registry.get_sample_value
    return value("streamscore_model_features", of), value("streamscore_model_features_limit", of)


def warnings(caplog: pytest.LogCaptureFixture) -> int:
    return sum("the model is full" in one.getMessage() for one in caplog.records if one.levelno == logging.WARNING)


@pytest.mark.parametrize(
    "model", ["ftrl, max_weights: 5", "neural_net, max_features: 5", "naive_bayes, max_features: 5"]
)
async def test_a_model_shows_its_size_and_its_bound_and_says_once_that_it_is_full(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, model: str
) -> None:
    declare(monkeypatch, f"{{name: {model}}}")
    deployment = Deployment()
    session = await deployment.open()
    assert (shown(session._telemetry), session._telemetry.snapshot()["model_sizes"]) == (
        (0, 5),
        {"click": {"features": 0, "most": 5}},
    )

    deployment.topic.produce("click", 2)  # of three features: the price and two items
    await deployment.read(session)
    assert (shown(session._telemetry), warnings(caplog)) == ((3, 5), 0)
    deployment.topic.produce("click", 40)  # of twelve
    await deployment.read(session)
    await session.save()

    assert (shown(session._telemetry), warnings(caplog)) == ((5, 5), 1)
    session = await deployment.open()  # nothing has come since
    assert (shown(session._telemetry), warnings(caplog)) == ((5, 5), 2)


async def test_a_model_without_a_bound_shows_none(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    declare(monkeypatch, "{name: logistic_regression}")
    deployment = Deployment()
    deployment.topic.produce("click", 40)
    session = await deployment.open()

    await deployment.read(session)

    assert (shown(session._telemetry), session._telemetry.snapshot()["model_sizes"]) == ((None, None), {})
    assert warnings(caplog) == 0
