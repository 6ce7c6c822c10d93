"""Models begin at the rate that is expected, and forget about it once they know better."""

from __future__ import annotations

import math
import random
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from online_models.estimators import Estimator, build
from online_models.estimators.first_rate import rate_learned
from online_models.estimators.naive_bayes import NaiveBayes

KEY = b"a key that only these tests know"
TREE = {"name": "adaptive_tree"}
BAYES = {"name": "naive_bayes"}
LOGISTIC = {"name": "logistic_regression"}
MODELS: list[Mapping[str, Any]] = [
    {"name": "ftrl"}, {"name": "neural_net"}, BAYES, LOGISTIC, LOGISTIC | {"scale": "standard"}, TREE,
    {"name": "factorization_machine"}, {"name": "river.facto.FwFMClassifier"},
    {"name": "adaptive_forest", "params": {"n_models": 2}},
]  # fmt: skip
PRIOR = 0.005


def built(declared: Mapping[str, Any], prior: float = PRIOR) -> Estimator:
    return build(declared, key=KEY, prior=prior)


def an_auction(chance: random.Random) -> dict[str, float]:
    return {f"ad={chance.randrange(20)}": 1.0, f"site={chance.randrange(50)}": 1.0, "bias": 1.0}


@pytest.mark.parametrize("prior", [PRIOR, 0.3, 0.97])
@pytest.mark.parametrize("declared", MODELS, ids=str)
def test_a_model_begins_at_the_prior(declared: Mapping[str, Any], prior: float) -> None:
    # A neural net's first weights say something of their own.
    assert built(declared, prior).predict_proba_one({})[True] == pytest.approx(prior)


@pytest.mark.parametrize("declared", MODELS, ids=str)
def test_the_first_labels_of_a_rare_outcome_make_nobody_bid_more(declared: Mapping[str, Any]) -> None:
    model, chance = built(declared), random.Random(1)

    for _ in range(200):
        model.learn_one(an_auction(chance), False)

        assert PRIOR / 5 < model.predict_proba_one(an_auction(chance))[True] < 1.5 * PRIOR


def test_the_first_positive_of_naive_bayes_is_one_of_many_that_are_expected() -> None:
    model = built(BAYES, 0.01)
    for label in (True, False):
        model.learn_one({}, label)

    assert model.predict_proba_one({})[True] == pytest.approx(1 / 100)


@given(st.integers(0, 500), st.integers(0, 500), st.floats(1e-4, 1 - 1e-4))
def test_the_rate_is_between_the_prior_and_what_was_counted(positives: int, negatives: int, prior: float) -> None:
    n = positives + negatives

    rate = rate_learned(positives, n, prior)

    assert rate_learned(0, 0, prior) == pytest.approx(prior)
    low, high = sorted((prior, positives / n if n else prior))
    assert low - 1e-12 <= rate <= high + 1e-12
    # What is taken for granted weighs as much as one of the rarer class.
    assert (
        abs(rate - positives / max(n, 1)) <= 1.0 / min(prior, 1.0 - prior) / (n + 1.0 / min(prior, 1.0 - prior)) + 1e-12
    )


def test_at_a_half_it_is_laplaces_rule() -> None:
    assert [rate_learned(k, n, 0.5) for k, n in ((0, 0), (0, 3), (2, 3))] == [1 / 2, 1 / 5, 3 / 5]


@pytest.mark.parametrize(
    ("params", "expected"), [({"intercept_init": -1.0}, -1.0), ({}, math.log(PRIOR / (1 - PRIOR)))]
)
def test_a_declared_intercept_goes_before_the_prior(params: dict[str, float], expected: float) -> None:
    p = built(LOGISTIC | {"params": params}).predict_proba_one({})[True]

    assert math.log(p / (1 - p)) == pytest.approx(expected)


def test_another_loss_has_no_logit_to_begin_at() -> None:
    hinge = {"loss": {"class": "river.optim.losses.Hinge"}}

    assert built(LOGISTIC | {"params": hinge}).predict_proba_one({}) == built(
        LOGISTIC | {"params": hinge}, prior=0.5
    ).predict_proba_one({})


@pytest.mark.parametrize("declared", MODELS, ids=str)
def test_a_model_that_was_stored_under_another_prior_goes_on(declared: Mapping[str, Any]) -> None:
    stored, chance = built(declared, prior=0.5), random.Random(2)
    for number in range(400):
        stored.learn_one(an_auction(chance), number % 20 == 0)

    restored = built(declared)
    restored.restore(stored.to_bytes())

    x = an_auction(chance)
    p = stored.predict_proba_one(x)[True]
    assert restored.predict_proba_one(x)[True] == pytest.approx(p, rel=0.6 if declared is BAYES else 1e-12)


def test_what_naive_bayes_takes_for_granted_fades() -> None:
    chance, models = random.Random(3), [NaiveBayes(prior=prior) for prior in (0.5, 0.05)]
    for model in models:
        chance.seed(3)
        for _ in range(20_000):
            model.learn_one({f"ad={chance.randrange(5)}": 1.0}, chance.random() < 0.05)

    said = [model.predict_proba_one({"ad=1": 1.0})[True] for model in models]

    assert said[1] == pytest.approx(said[0], rel=0.002)


def test_the_prior_is_the_objectives_and_no_parameter_of_the_model() -> None:
    with pytest.raises(ValueError, match="Unknown parameter; expected one of: alpha, max_features"):
        build({**BAYES, "prior": 0.1})
