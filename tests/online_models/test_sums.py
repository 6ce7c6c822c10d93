"""The compiled sums are the plain ones, bit for bit."""

from __future__ import annotations

from collections.abc import Callable
from math import inf, isfinite, nan
from types import ModuleType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from online_models import plain_sums, sums
from online_models.estimators import sparse_ftrl
from online_models.estimators.sparse_ftrl import SparseFTRL

needs_compiled = pytest.mark.skipif(not sums.COMPILED, reason="not compiled here: make setup, with Python.h there")
BOTH = [pytest.param(plain_sums, id="plain"), pytest.param(sums, id="compiled", marks=needs_compiled)]

names = st.sampled_from([f"f{i}" for i in range(12)])
numbers = st.one_of(
    st.sampled_from([0.0, -0.0, 1.0, -1.0, 0.5]), st.floats(-1e6, 1e6), st.integers(-9, 9), st.booleans()
)
vectors = st.dictionaries(names, numbers, max_size=9)
weights = st.dictionaries(names, st.one_of(st.sampled_from([0.0, 0.5, -0.5]), st.floats(-40, 40)))
streams = st.lists(st.tuples(vectors, st.booleans(), st.sampled_from([1.0, 0.3, 7.0])), max_size=40)


def bits(value: Any) -> str:
    """Tell floats apart to the last bit, and 0.0 from -0.0."""
    return repr(value)


@needs_compiled
@given(weights, vectors, st.lists(st.booleans(), min_size=9, max_size=9), st.floats(-50, 50), st.integers(0, 12))
def test_scores_and_reasons_are_the_plain_ones(
    weights: dict[str, float], x: dict[str, float], there: list[bool], logit: float, k: int
) -> None:
    asked = [name if is_there else None for name, is_there in zip(x, there, strict=False)], [*x.values()]

    compiled = sums.score_named(weights, *asked, logit, k)

    assert bits(compiled) == bits(plain_sums.score_named(weights, *asked, logit, k))


@needs_compiled
@given(streams, st.sampled_from([0.0, 0.05, 1.0]), st.sampled_from([1e12, 0.2]))
def test_a_model_learns_the_plain_one(
    stream: list[tuple[dict[str, float], bool, float]], l1: float, clip: float
) -> None:
    learned = []
    for module in (plain_sums, sums):
        with pytest.MonkeyPatch.context() as patched:
            for name in ("Coordinate", "move", "sum_up"):
                patched.setattr(sparse_ftrl, name, getattr(module, name))
            model = SparseFTRL(alpha=0.3, l1=l1, l2=0.5, clip_gradient=clip)
            for x, y, w in stream:
                model.learn_one(x, y, w)
            learned.append((model.to_bytes(), model.take_changed()))

    assert learned[0] == learned[1]


@needs_compiled
@given(st.floats(allow_nan=False))
def test_the_logistic_function_is_the_plain_one(logit: float) -> None:
    assert bits(sums.sigmoid(logit)) == bits(plain_sums.sigmoid(logit))


@pytest.mark.parametrize("module", BOTH)
def test_a_logit_that_is_no_number_is_undecided(module: ModuleType) -> None:
    assert [module.sigmoid(logit) for logit in (nan, inf, -inf)] == [0.5, 1.0, 0.0]


@pytest.mark.parametrize("module", BOTH)
@given(
    weights=st.dictionaries(names, st.floats()),
    x=st.dictionaries(names, st.floats(), max_size=9),
    logit=st.floats(),
    k=st.integers(0, 12),
)
def test_whatever_is_summed_up_is_finite(
    module: ModuleType, weights: dict[str, float], x: dict[str, float], logit: float, k: int
) -> None:
    p, reasons = module.score_named(weights, [*x], [*x.values()], logit, k)

    assert 0.0 <= p <= 1.0
    assert all(isfinite(share) for _, share in reasons)
    assert bits((p, reasons)) == bits(plain_sums.score_named(weights, [*x], [*x.values()], logit, k))


@pytest.mark.parametrize("module", BOTH)
def test_lists_of_two_lengths_are_refused_and_nothing_is_learned(module: ModuleType) -> None:
    one = module.Coordinate(0, 1.0, 2.0, 3.0)

    for call in (
        lambda: module.sum_up([one], [], 0.0),
        lambda: module.score_named({}, ["a"], [], 0.0, 3),
        lambda: module.move([], [1.0], [], 0.1, 1.0, 1.0, 0.0),
    ):
        with pytest.raises(ValueError, match=r"length|shorter|longer"):
            call()
    assert (one.w, one.z, one.n, one.changed) == (1.0, 2.0, 3.0, False)


@pytest.mark.parametrize("module", BOTH)
@pytest.mark.parametrize(
    "call",
    [
        lambda module: module.sum_up([module.Coordinate(0)], ["text"], 0.0),
        lambda module: module.sum_up([None], [1.0], 0.0),
        lambda module: module.move([module.Coordinate(0)], [None], [], 0.1, 1.0, 1.0, 0.0),
        lambda module: module.score_named({"a": 1.0}, ["a"], [None], 0.0, 3),
        lambda module: module.score_named({}, [["not a name"]], [1.0], 0.0, 3),
    ],
)
def test_what_is_no_number_is_an_error_and_no_crash(module: ModuleType, call: Callable[[ModuleType], Any]) -> None:
    with pytest.raises((TypeError, AttributeError)):
        call(module)


@pytest.mark.parametrize("module", BOTH)
def test_a_coordinate_is_noted_once_as_changed(module: ModuleType) -> None:
    ones = [module.Coordinate(0), module.Coordinate(1)]
    changed: list[Any] = []

    for _ in range(2):
        module.move(ones, [1.0, 2.0], changed, -0.5, 10.0, 11.0, 0.0)

    assert [one.position for one in changed] == [0, 1]
    assert all(one.changed for one in ones)
