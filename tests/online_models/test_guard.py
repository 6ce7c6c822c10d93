"""What would do lasting harm to a model does not reach it."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from river import linear_model, optim

from online_models.estimators.sparse_ftrl import SparseFTRL
from online_models.guard import MAX_FEATURES, MAX_MAGNITUDE, refusal

nan, inf = math.nan, math.inf


@pytest.mark.parametrize(
    ("x", "reason"),
    [
        ({}, None),
        ({"a": 0.0, "b": -MAX_MAGNITUDE, "c": MAX_MAGNITUDE}, None),
        ({"a": nan}, "not_finite"),
        ({"a": 1.0, "b": inf}, "not_finite"),
        ({"a": -inf, "b": inf}, "not_finite"),
        ({"a": MAX_MAGNITUDE * 1.0001}, "out_of_range"),
        ({"a": -1e300}, "out_of_range"),
        ({"a": math.nextafter(MAX_MAGNITUDE, inf)}, "out_of_range"),
        ({"a": math.nextafter(-MAX_MAGNITUDE, -inf), "b": 1.0, "c": 1e-9}, "out_of_range"),
        ({"a": 0.9 * MAX_MAGNITUDE, "b": 0.9 * MAX_MAGNITUDE}, None),
        ({"a": 1e308, "b": 1e308}, "out_of_range"),
        ({"a": "1"}, "not_a_number"),
        ({"a": None}, "not_a_number"),
        ({str(i): 1.0 for i in range(MAX_FEATURES)}, None),
        ({str(i): 1.0 for i in range(MAX_FEATURES + 1)}, "too_many_features"),
    ],
)
def test_each_refusal_has_its_reason(x: dict[str, float], reason: str | None) -> None:
    assert refusal(x) == reason


@given(st.dictionaries(st.text(max_size=3), st.floats(), max_size=8))
def test_exactly_the_finite_and_moderate_vectors_pass(x: dict[str, float]) -> None:
    harmless = all(math.isfinite(value) and abs(value) <= MAX_MAGNITUDE for value in x.values())

    assert (refusal(x) is None) == harmless


def test_one_nan_poisons_a_bare_river_model_for_good() -> None:
    model = linear_model.LogisticRegression(optim.FTRLProximal())
    model.learn_one({"a": 1.0}, True)

    model.learn_one({"a": nan}, True)
    for _ in range(100):
        model.learn_one({"b": 1.0}, False)

    assert math.isnan(model.intercept)
    assert math.isnan(model.predict_proba_one({"b": 1.0})[True])


@pytest.mark.parametrize("poison", [nan, inf, -inf, 1e308])
def test_behind_the_guard_a_model_is_left_as_it_was(poison: float) -> None:
    model = SparseFTRL()
    model.learn_one({"a": 1.0}, True)
    before = model.to_bytes()

    x = {"a": poison, "b": 1.0}
    if refusal(x) is None:
        model.learn_one(x, True)

    assert model.to_bytes() == before
    assert math.isfinite(model.predict_proba_one({"a": 1.0})[True])


@given(st.lists(st.tuples(st.dictionaries(st.sampled_from("abc"), st.floats()), st.booleans()), max_size=40))
def test_behind_the_guard_every_prediction_is_finite(stream: list[tuple[dict[str, float], bool]]) -> None:
    model = SparseFTRL(alpha=1.0, l2=0.0)
    for x, y in stream:
        if refusal(x) is None:
            assert 0.0 <= model.predict_proba_one(x)[True] <= 1.0
            model.learn_one(x, y)

    assert all(map(math.isfinite, model.weights.values()))
