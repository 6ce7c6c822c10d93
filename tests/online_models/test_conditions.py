"""Conditions on features: what they may compare with, and the place of what they may not."""

from __future__ import annotations

from typing import Any

import pytest
from core_bench import CLICK, FEATURES

from online_models.errors import ConfigError
from online_models.features import compile_features
from online_models.objectives import parse_objectives


def parsed(name: str, test: Any) -> Any:
    return parse_objectives({"click": {**CLICK, "when": {name: test}}}, features=compile_features(FEATURES))


@pytest.mark.parametrize("bound", ["min", "max"])
@pytest.mark.parametrize("wrong", [True, False, "5", None, [5], {}])
def test_a_bound_that_is_no_number_is_refused_with_its_place(bound: str, wrong: Any) -> None:
    with pytest.raises(ConfigError, match=r": Expected a number$") as caught:
        parsed("clicks", {"min": 1, "max": 9, bound: wrong})

    assert caught.value.path == ("click", "when", "clicks", bound)


@pytest.mark.parametrize("bound", ["min", "max"])
@pytest.mark.parametrize("wrong", [float("nan"), float("inf"), -float("inf")])
def test_a_bound_without_an_end_is_refused_with_its_place(bound: str, wrong: float) -> None:
    with pytest.raises(ConfigError, match="Expected a finite number; leave it out for none") as caught:
        parsed("clicks", {bound: wrong})

    assert caught.value.path == ("click", "when", "clicks", bound)


@pytest.mark.parametrize("bounds", [{"min": 2}, {"max": 2.5}, {"min": 2, "max": 2}, {"min": -0.5, "max": 0}])
def test_bounds_are_kept_as_they_are(bounds: dict[str, float]) -> None:
    [objective] = parsed("clicks", bounds)
    [condition] = objective.when

    assert (condition.feature, condition.minimum, condition.maximum) == ("clicks", bounds.get("min"), bounds.get("max"))
