"""The neural net: right gradients, finite for ever, the same on any machine and in any order of features."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from online_models.estimators.neural_net import NeuralNet
from schemas.codec import BadRecord

X = {"a": 1.0, "b": 0.5, "c": -3.0}
vectors = st.dictionaries(
    st.sampled_from("abcdefgh"), st.floats(allow_nan=False, allow_infinity=False, width=64), max_size=6
)


def p_of(net: NeuralNet, x: dict[str, float]) -> float:
    return float(net.predict_proba_one(x)[True])


def learned(**parameters: Any) -> NeuralNet:
    net = NeuralNet(**parameters)
    for number in range(200):
        net.learn_one({f"k={number % 7}": 1.0, f"m={number % 3}": 1.0, "n": float(number)}, number % 7 == number % 3)
    return net


def loss(net: NeuralNet, x: dict[str, float], y: bool) -> float:
    return -math.log(p_of(net, x) if y else 1 - p_of(net, x))


@pytest.mark.parametrize("y", [True, False])
def test_a_step_goes_down_the_gradient(y: bool) -> None:
    """With one step from sums of 1, each weight moves by lr * g / sqrt(1 + g * g): held against finite differences."""
    net = learned(init_scale=0.5)
    net.learn_one(X, y)  # all names are known now
    positions = [net._position[name] for name in X]
    arrays = {"rows": net._rows, "head": net._head}
    before = {name: one.copy() for name, one in arrays.items()}
    numeric = {name: np.zeros_like(one) for name, one in arrays.items()}
    for name, one in arrays.items():
        for place in np.ndindex(one.shape):
            if name == "rows" and place[0] not in positions:
                continue
            sides = []
            for sign in (1, -1):
                one[place] = before[name][place] + sign * 1e-6
                sides.append(loss(net, X, y))
            one[place] = before[name][place]
            numeric[name][place] = (sides[0] - sides[1]) / 2e-6
    net._row_squares[:] = 1.0
    net._head_squares[:] = 1.0

    net.learn_one(X, y)

    for name, one in arrays.items():
        gradient = numeric[name]
        step = net.lr * gradient / np.sqrt(1 + gradient**2)
        assert one == pytest.approx(before[name] - step, abs=1e-7)


@given(st.lists(st.tuples(vectors, st.booleans()), max_size=40))
def test_it_stays_finite_whatever_comes(stream: list[tuple[dict[str, float], bool]]) -> None:
    net = NeuralNet(units=3, lr=1.0)
    for x, y in stream:
        net.learn_one(x, y)
        assert 0.0 <= p_of(net, x) <= 1.0
    assert np.isfinite(net._rows).all()
    assert np.isfinite(net._head).all()


def test_asking_changes_nothing_and_unknown_features_are_passed_over() -> None:
    net = learned()
    blob = net.to_bytes()

    assert p_of(net, {"k=1": 1.0, "never": 5.0}) == p_of(net, {"k=1": 1.0})
    assert net.to_bytes() == blob


def test_a_features_first_weights_depend_on_its_name_and_the_seed_alone() -> None:
    one, other, third = NeuralNet(), NeuralNet(), NeuralNet(seed=8)
    one._take_on({"a": 1.0, "b": 1.0})
    other._take_on({"b": 1.0, "a": 1.0})
    third._take_on({"a": 1.0})

    assert (one._rows[one._position["a"]] == other._rows[other._position["a"]]).all()
    assert (one._rows[0] != third._rows[0]).any()
    assert (abs(one._rows[:2, :-1]) <= one.init_scale).all()
    # Drawn from a hash: the same on every machine.
    assert one._rows[0, 0] == pytest.approx(FIRST_WEIGHT_OF_A, abs=1e-12)


FIRST_WEIGHT_OF_A = 0.07779624746181071


def test_it_takes_on_no_more_features_than_it_may() -> None:
    net = NeuralNet(max_features=2)

    net.learn_one({"a": 1.0, "b": 1.0, "c": 1.0}, True)

    assert net.names == ["a", "b"]


def test_it_grows_beyond_its_first_rows_and_goes_on_bit_for_bit_when_restored() -> None:
    net, again = NeuralNet(units=2), NeuralNet(units=2)
    for number in range(700):
        net.learn_one({f"f{number}": 1.0, "all": 1.0}, number % 2 == 0)
    again.restore(net.to_bytes())

    for one in (net, again):
        for number in range(600, 900):
            one.learn_one({f"f{number}": 1.0, "all": 1.0}, number % 3 == 0)

    assert again.to_bytes() == net.to_bytes()
    assert len(net) == 901


@pytest.mark.parametrize(
    ("spoil", "why"),
    [
        (lambda blob: b"", "model: "),
        (lambda blob: blob[:-9], "model: "),
        (lambda blob: learned(units=4).to_bytes(), "expected the parameters"),
        (lambda blob: b"\x97\x02" + blob[2:], "expected format 1, got 2"),
    ],
)
def test_what_is_not_its_own_is_refused_and_changes_nothing(spoil: Any, why: str) -> None:
    net = learned()
    blob = net.to_bytes()

    with pytest.raises(BadRecord, match=why):
        net.restore(spoil(blob))

    assert net.to_bytes() == blob
