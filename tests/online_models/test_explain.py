"""Reasons are shares of the logit."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from online_models.explain import MAX_OMISSIONS, bounded_logit, leave_one_out, score_linear
from online_models.sums import sigmoid

finite = st.floats(-20, 20)
vectors = st.dictionaries(st.sampled_from("abcdefgh"), finite)


@given(vectors, finite, vectors)
def test_intercept_and_all_shares_are_the_logit(
    weights: dict[str, float], intercept: float, x: dict[str, float]
) -> None:
    p, shares = score_linear(weights, intercept, x, 100)

    assert p == pytest.approx(sigmoid(intercept + math.fsum(share for _, share in shares)), abs=1e-9)
    assert dict(shares) == {name: weights[name] * x[name] for name in x if name in weights and weights[name] * x[name]}


@given(vectors, finite, vectors, st.integers(0, 5))
def test_the_k_largest_are_returned_whatever_their_sign(
    weights: dict[str, float], intercept: float, x: dict[str, float], k: int
) -> None:
    p, shares = score_linear(weights, intercept, x, 100)

    assert score_linear(weights, intercept, x, k) == (p, shares[:k])
    sizes = [abs(share) for _, share in shares]
    assert sizes == sorted(sizes, reverse=True)


@given(st.floats(-1e300, 1e300))
def test_probabilities_are_probabilities(logit: float) -> None:
    assert 0.0 <= sigmoid(logit) <= 1.0
    assert sigmoid(logit) + sigmoid(-logit) == pytest.approx(1.0)


@pytest.mark.parametrize("p", [0.0, 1e-300, 0.5, 1.0])
def test_logits_of_certainties_stay_finite(p: float) -> None:
    assert abs(bounded_logit(p)) < 14


def test_leaving_out_finds_a_linear_models_own_shares() -> None:
    weights, x = {"a": 2.0, "b": -1.0, "c": 0.0}, {"a": 1.0, "b": 0.5, "c": 3.0}

    def predict(vector: dict[str, float]) -> float:
        return score_linear(weights, -0.3, vector, 0)[0]

    p, shares = score_linear(weights, -0.3, x, 3)
    by_omission = leave_one_out(predict, x, p, 3)

    assert [name for name, _ in by_omission[:2]] == ["a", "b"]
    assert dict(by_omission[:2]) == pytest.approx(dict(shares))


def test_leaving_out_costs_a_bounded_number_of_predictions_and_none_without_need() -> None:
    asked = []

    def predict(vector: dict[str, float]) -> float:
        asked.append(vector)
        return 0.1

    x = {str(i): 1.0 for i in range(MAX_OMISSIONS + 10)}
    assert leave_one_out(predict, x, 0.5, 0) == []
    assert asked == []
    leave_one_out(predict, x, 0.5, 3)
    assert len(asked) == MAX_OMISSIONS
