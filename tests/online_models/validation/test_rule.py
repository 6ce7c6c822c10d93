"""The hand-written rule of an objective: what it may say, and what is said when it is wrong."""

from __future__ import annotations

from typing import Any

import pytest

from online_models.errors import ConfigError
from online_models.features import compile_features
from online_models.objectives import Objective, parse_objectives
from online_models.validation import Rule

FEATURES = compile_features({"views": {"count": "page_view"}, "country": {"field": "country"}})
LAST = {"score": 0.1}


def objective(rule: Any) -> Objective:
    body = {"trigger": "page_view", "outcome": "click", "match": "user", "window": "1m", "rule": rule}
    return parse_objectives({"click": body}, features=FEATURES)[0]


@pytest.mark.parametrize(
    ("rule", "path", "message"),
    [
        ({"score": 0.1}, (), "Expected a list of cases"),
        ([{"when": {"views": {"min": 1}}, "score": 0.5}], (0,), "Expected a last case without `when`"),
        ([{"score": 0.5}, LAST], (0,), "This case applies to everybody"),
        ([{"scores": 0.5}], (0,), "Expected `score`"),
        ([{"score": 1.5}], (0, "score"), "Expected a probability above 0 and below 1"),
        ([{"score": True}], (0, "score"), "Expected a probability above 0 and below 1"),
        (
            [{"when": {"views": {"min": float("inf")}}, "score": 0.5}, LAST],
            (0, "when", "views", "min"),
            "Expected a finite",
        ),
        ([{"when": {"clicks": {"min": 1}}, "score": 0.5}, LAST], (0, "when", "clicks"), "'clicks' is not declared"),
    ],
)
def test_a_wrong_rule_is_refused_with_its_path(rule: Any, path: tuple[str | int, ...], message: str) -> None:
    with pytest.raises(ConfigError) as refused:
        objective(rule)

    assert refused.value.path == ("click", "rule", *path)
    assert refused.value.message.startswith(message)


def test_all_conditions_of_a_case_must_hold_and_a_missing_value_never_does() -> None:
    both = {"views": {"min": 2}, "country": {"in": ["DE"]}}
    rule = Rule(objective([{"when": both, "score": 0.9}, LAST]).rule, FEATURES)
    views, country = FEATURES.position("views"), FEATURES.position("country")

    def score(n: Any, where: str | None) -> float:
        values: list[Any] = [None, None]
        values[views], values[country] = n, where
        return rule.score(values)

    assert score(2, "DE") == 0.9
    assert {score(1, "DE"), score(2, "FR"), score(2, None), score(None, "DE")} == {0.1}
