"""What can be asked about, and how wrong declarations are answered."""

from __future__ import annotations

from typing import Any

import pytest

from online_models.errors import ConfigError
from online_models.features import compile_features
from online_models.objectives import parse_objectives
from online_models.policies import Policy, parse_policies

OBJECTIVES = parse_objectives(
    {
        "click": {"trigger": "impression", "outcome": "click", "match": "item", "window": "30m"},
        "stay": {"trigger": "page_view", "outcome": "page_view", "match": "session", "window": "30m"},
    },
    features=compile_features({"item": {"field": "item_id"}}),
)


def parsed(**body: Any) -> Policy:
    [one] = parse_policies({"p": body}, objectives=OBJECTIVES)
    return one


def test_what_is_not_said_has_a_default() -> None:
    assert parsed(kind="uniform", objective="click") == Policy(
        name="p", kind="uniform", objective="click", recent=50, items=(), item_fields=("category", "price")
    )
    assert parse_policies(None, objectives=OBJECTIVES) == []


def test_everything_can_be_said() -> None:
    greedy = parsed(
        kind="epsilon_greedy",
        objective="click",
        epsilon=0.1,
        candidates=["i1", 2],
        item_fields=["category", "properties.brand"],
    )
    softmax = parsed(kind="softmax", objective="click", temperature=0.5, candidates={"recent": 20})

    assert (greedy.epsilon, greedy.items, greedy.recent) == (0.1, ("i1", "2"), 0)
    assert greedy.item_fields == ("category", "properties.brand")
    assert (softmax.temperature, softmax.recent) == (0.5, 20)
    assert parsed(kind="logged", objective="click").recent == 0


@pytest.mark.parametrize(
    ("body", "path", "message"),
    [
        ({"kind": "best", "objective": "click"}, ("p", "kind"), "Expected one of: uniform, popularity"),
        ({"kind": "uniform", "objective": "buy"}, ("p", "objective"), "Expected one of the objectives: click, stay"),
        ({"kind": "uniform", "objective": "stay"}, ("p", "objective"), "nothing else has a propensity"),
        ({"kind": "uniform", "objective": "click", "epsilon": 0.1}, ("p", "epsilon"), "Unknown key for uniform"),
        ({"kind": "epsilon_greedy", "objective": "click"}, ("p",), "without exploration it is `greedy`"),
        ({"kind": "popularity", "objective": "click", "epsilon": 2}, ("p", "epsilon"), "Expected a number from 0 to 1"),
        ({"kind": "softmax", "objective": "click", "temperature": 0}, ("p", "temperature"), "Expected a number above"),
        (
            {"kind": "greedy", "objective": "click", "candidates": {"last": 5}},
            ("p", "candidates"),
            "Expected `{recent: 50}` or a list",
        ),
        (
            {"kind": "greedy", "objective": "click", "candidates": {"recent": 1}},
            ("p", "candidates", "recent"),
            "from 2 to 1000",
        ),
        (
            {"kind": "greedy", "objective": "click", "candidates": ["a", "a"]},
            ("p", "candidates"),
            "from 2 to 1000 different item ids",
        ),
        (
            {"kind": "greedy", "objective": "click", "item_fields": ["price", "user_id"]},
            ("p", "item_fields", 1),
            "got 'user_id'",
        ),
    ],
)
def test_a_wrong_declaration_is_named_with_its_place(
    body: dict[str, Any], path: tuple[str | int, ...], message: str
) -> None:
    with pytest.raises(ConfigError) as error:
        parsed(**body)

    assert error.value.path == path
    assert message in error.value.message


@pytest.mark.parametrize("declared", [["uniform"], {"p": "uniform"}, {"no name!": {"kind": "uniform"}}])
def test_what_is_no_policy_at_all_is_refused(declared: Any) -> None:
    with pytest.raises(ConfigError, match="Expected a"):
        parse_policies(declared, objectives=OBJECTIVES)
