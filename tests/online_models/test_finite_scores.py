"""Whatever numbers come, what is scored, ranked and told is finite and can be read back."""

from __future__ import annotations

from math import inf, nan
from typing import Any

import pytest
from builders import HOUR, EventLog, a_click, an_event, an_impression
from core_bench import CLICK, Bench
from hypothesis import given
from hypothesis import strategies as st

from online_models.exploration import Chance, drawn_order
from online_models.features import compile_features
from online_models.objectives import parse_objectives
from online_models.policies import Policy
from online_models.rankings import parse_rankings
from schemas.codec import decode_example, decode_score, encode_json
from schemas.events import Candidate, RankRequest

FEATURES: dict[str, Any] = {
    "item": {"field": "item_id"},
    "a": {"field": "properties.a", "numeric": True},
    "b": {"field": "properties.b", "numeric": True},
    "c": {"field": "properties.c", "numeric": True, "transform": "sqrt"},
    "all": {"cross": ["a", "b", "c"]},
    "a_x_item": {"cross": ["a", "item"]},
}
HUGE = {"a": 1e308, "b": -1e308, "c": 1.7e308}
WEIGHTS = [
    {"a": 2.0},
    {"a": 20.0, "b": 20.0, "item=i1": 0.5},
    {"a": 20.0, "b": 20.0, "c": -30.0, "a*b*c": 1.0, "a*item=i1": -7.0},
    {"a": 1e300, "b": 1e300, "a*b*c": 1e300, "a*item=i1": -1e300},  # of no learner of ours
]
KINDS: list[dict[str, Any]] = [
    {"kind": "greedy"},
    {"kind": "epsilon_greedy", "epsilon": 0.1},
    {"kind": "softmax", "temperature": 0.1},
    {"kind": "uniform"},
    {"kind": "thompson"},
    {"kind": "lin_ucb"},
]


def a_bench(weights: dict[str, float], **ranking: Any) -> Bench:
    objectives = parse_objectives({"click": CLICK}, features=compile_features(FEATURES))
    declared = {"home": {"objective": "click", "shown": 3, **ranking}} if ranking else {}
    bench = Bench({"click": CLICK}, features=FEATURES, rankings=parse_rankings(declared, objectives=objectives))
    bench.replicas["click"].weights = weights
    return bench


@pytest.mark.parametrize("weights", WEIGHTS)
def test_scores_and_examples_of_huge_numbers_can_be_read_back(weights: dict[str, float]) -> None:
    log = EventLog()
    log.add(an_impression("i1", 0, properties=HUGE), a_click("i1", 1000), an_impression("i9", 2 * HOUR))

    bench = a_bench(weights).run(log)

    for score in bench.scores:
        assert decode_score(encode_json(score)) == score
    [example] = bench.examples
    assert decode_example(encode_json(example)) == example
    bound = 2.0**63
    assert example.features["a"] == -example.features["b"] == bound
    assert example.features["a*b*c"] == bound * -bound * bound**0.5


@pytest.mark.parametrize("weights", WEIGHTS)
@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind["kind"])
@pytest.mark.parametrize("of_all", [True, False], ids=["request", "candidate"])
def test_a_ranking_of_huge_numbers_has_each_item_once(
    weights: dict[str, float], kind: dict[str, Any], of_all: bool
) -> None:
    bench = a_bench(weights, **kind)
    bench.replicas["click"].information = {"a": 1.0}
    middle = "i2" if of_all else Candidate(item_id="i2", properties=HUGE)
    log = EventLog().add(
        an_event(RankRequest, 10, candidates=["i1", middle, "i3"], properties=HUGE if of_all else None)
    )

    [answer] = bench.run(log).scores

    assert sorted(one.item_id for one in answer.ranked) == ["i1", "i2", "i3"]
    assert all(0.0 < one.propensity <= 1.0 for one in answer.ranked)
    assert decode_score(encode_json(answer)) == answer


@pytest.mark.parametrize("kind", [kind["kind"] for kind in KINDS])
@given(
    scores=st.lists(st.sampled_from([0.0, 0.2, 0.5, 1.0, nan, inf, -inf]), min_size=1, max_size=6),
    variances=st.lists(st.sampled_from([0.1, 1.0, nan, inf]), min_size=6, max_size=6),
    seed=st.text(max_size=3),
)
def test_an_order_comes_of_whatever_was_computed(
    kind: Any, scores: list[float], variances: list[float], seed: str
) -> None:
    policy = Policy(name="p", kind=kind, objective="click", epsilon=0.2, temperature=0.5)

    order = drawn_order(policy, scores, len(scores), Chance(seed), variances[: len(scores)])

    assert sorted(index for index, _ in order) == [*range(len(scores))]
    assert all(0.0 < propensity <= 1.0 + 1e-9 for _, propensity in order)
