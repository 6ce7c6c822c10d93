"""Our FTRL equals River's, step by step, and survives being saved."""

from __future__ import annotations

import math
import random
import struct
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from river import checks, datasets, linear_model, optim, preprocessing

from online_models.estimators.sparse_ftrl import SparseFTRL
from schemas.codec import BadRecord

Example = tuple[dict[str, float], bool]

names = st.sampled_from([f"f{i}" for i in range(12)])
values = st.one_of(st.just(0.0), st.just(1.0), st.floats(-50, 50, allow_subnormal=False))
vectors = st.dictionaries(names, values, max_size=8)
streams = st.lists(st.tuples(vectors, st.booleans()), max_size=60)
parameters = st.fixed_dictionaries(
    {
        "alpha": st.floats(0.01, 2.0),
        "beta": st.floats(0.1, 2.0),
        "l1": st.sampled_from([0.0, 0.05, 1.0]),
        "l2": st.sampled_from([0.0, 0.5, 1.0]),
        "intercept_init": st.floats(-3, 3),
        "intercept_lr": st.sampled_from([0.0, 0.01, 0.3]),
        "clip_gradient": st.sampled_from([1e12, 0.2]),
    }
)


def rivers(
    *,
    alpha: float = 0.05,
    beta: float = 1.0,
    l1: float = 0.0,
    l2: float = 1.0,
    intercept_init: float = 0.0,
    intercept_lr: float = 0.01,
    clip_gradient: float = 1e12,
) -> linear_model.LogisticRegression:
    return linear_model.LogisticRegression(
        optimizer=optim.FTRLProximal(alpha=alpha, beta=beta, l1=l1, l2=l2),
        intercept_init=intercept_init,
        intercept_lr=intercept_lr,
        clip_gradient=clip_gradient,
    )


class PlainFTRL:
    """The algorithm as the module's docstring tells it: the slow, obvious one that every bit is held against."""

    def __init__(self, **declared: float) -> None:
        self.p = SparseFTRL(**declared).parameters()  # type: ignore[arg-type]
        self.intercept = float(self.p["intercept_init"])
        self.w: dict[str, float] = {}
        self.z: dict[str, float] = {}
        self.n: dict[str, float] = {}
        self.changed: set[str] = set()

    def learn_one(self, x: dict[str, float], y: bool) -> None:
        alpha, beta, l1, l2 = (self.p[name] for name in ("alpha", "beta", "l1", "l2"))
        for name in x:
            if name not in self.w and len(self.w) < self.p["max_weights"]:
                self.w[name] = self.z[name] = self.n[name] = 0.0
        known = {name: value for name, value in x.items() if name in self.w}
        logit = self.intercept
        for name, value in known.items():
            logit += self.w[name] * value
        gradient = self.loss_gradient(logit if y else -logit) * (-1.0 if y else 1.0)
        self.intercept -= self.p["intercept_lr"] * gradient
        for name, value in known.items():
            root, rate, z = math.sqrt(self.n[name]), 1.0 / alpha, self.z[name]
            if abs(z) > l1:
                self.w[name] = (math.copysign(l1, z) - z) / (root * rate + (beta * rate + l2))
            g = gradient * value
            self.n[name] += g * g
            self.z[name] += g - (math.sqrt(self.n[name]) - root) * rate * self.w[name]
        self.changed.update(known)

    def loss_gradient(self, margin: float) -> float:
        size = math.exp(-margin) if margin > 18.0 else 1.0 if margin < -18.0 else 1.0 / (math.exp(margin) + 1.0)
        return min(size, self.p["clip_gradient"])

    def take_changed(self) -> list[str]:
        changed = [name for name in self.w if name in self.changed]
        self.changed = set()
        return changed


def sparse_stream(n: int, *, seed: int, items: int = 300) -> list[Example]:
    """Feature sets that differ from example to example, with a skewed choice of names and real values."""
    rng = random.Random(seed)
    stream = []
    for _ in range(n):
        x = {f"item={int(items * rng.random() ** 2)}": 1.0, f"hour={rng.randrange(24)}": 1.0}
        x |= {f"n{i}": rng.gauss(0, 2) for i in range(6) if rng.random() < 0.7}
        logit = x.get("n0", 0.0) - 0.5 * x.get("n1", 0.0) - 2 + (hash_of(next(iter(x))) % 5) / 2
        stream.append((x, rng.random() < 1 / (1 + math.exp(-logit))))
    return stream


def hash_of(name: str) -> int:
    return sum(name.encode())


def assert_same_weights(ours: SparseFTRL, theirs: linear_model.LogisticRegression) -> None:
    expected = {name: float(w) for name, w in theirs.weights.items() if w}
    assert ours.weights == pytest.approx(expected, rel=1e-9, abs=1e-9)
    assert ours.intercept == pytest.approx(theirs.intercept, rel=1e-9, abs=1e-9)


def assert_same_path(stream: list[Example], **declared: Any) -> None:
    ours, theirs = SparseFTRL(**declared), rivers(**declared)
    for x, y in stream:
        expected = theirs.predict_proba_one(x)[True]
        assert ours.predict_proba_one(x)[True] == pytest.approx(expected, rel=1e-9, abs=1e-9)
        ours.learn_one(x, y)
        theirs.learn_one(x, y)
    assert_same_weights(ours, theirs)


@settings(max_examples=150, deadline=None)
@given(streams, parameters)
def test_it_equals_river_on_any_stream(stream: list[Example], declared: dict[str, float]) -> None:
    assert_same_path(stream, **declared)


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(vectors, st.booleans(), st.booleans()), max_size=60), parameters, st.sampled_from([5, 1000]))
def test_it_equals_the_plain_algorithm_in_every_bit(
    stream: list[tuple[dict[str, float], bool, bool]], declared: dict[str, float], max_weights: int
) -> None:
    ours, plain = (kind(**declared, max_weights=max_weights) for kind in (SparseFTRL, PlainFTRL))
    for x, y, published in stream:
        ours.learn_one(x, y)
        plain.learn_one(x, y)
        if published:
            assert ours.take_changed() == plain.take_changed()

    assert (ours.intercept, ours.take_changed()) == (plain.intercept, plain.take_changed())
    expected = [struct.pack(f"<{len(one)}d", *one.values()) for one in (plain.w, plain.z, plain.n)]
    assert msgspec.msgpack.decode(ours.to_bytes())[3:] == [[*plain.w], *expected]


@pytest.mark.parametrize("declared", [{}, {"alpha": 0.5, "l1": 0.3, "l2": 0.0}, {"beta": 0.2, "intercept_lr": 0.1}])
def test_it_equals_river_on_sparse_streams(declared: dict[str, float]) -> None:
    assert_same_path(sparse_stream(3000, seed=11), **declared)


def test_it_equals_river_on_rivers_own_data() -> None:
    scaler = preprocessing.StandardScaler()
    stream = []
    for x, y in datasets.Phishing():
        scaler.learn_one(x)
        stream.append((scaler.transform_one(x), y))

    assert_same_path(stream, alpha=0.1, l1=0.01)


def test_sample_weights_equal_rivers() -> None:
    ours, theirs = SparseFTRL(clip_gradient=1.5), rivers(clip_gradient=1.5)
    rng = random.Random(3)
    for x, y in sparse_stream(500, seed=3):
        weight = rng.choice([0.0, 0.5, 1.0, 4.0])
        ours.learn_one(x, y, w=weight)
        theirs.learn_one(x, y, w=weight)

    assert_same_weights(ours, theirs)


def test_rivers_own_checks_pass() -> None:
    checks.check_estimator(SparseFTRL())


@settings(max_examples=60, deadline=None)
@given(streams, streams, parameters)
def test_a_restored_model_goes_on_bit_for_bit(
    before: list[Example], after: list[Example], declared: dict[str, float]
) -> None:
    model = SparseFTRL(**declared)
    for x, y in before:
        model.learn_one(x, y)

    restored = SparseFTRL.from_bytes(model.to_bytes())
    taken_up = SparseFTRL(**declared)
    taken_up.restore(model.to_bytes())

    for x, y in after:
        assert model.predict_proba_one(x) == restored.predict_proba_one(x) == taken_up.predict_proba_one(x)
        for one in (model, restored, taken_up):
            one.learn_one(x, y)
    assert model.to_bytes() == restored.to_bytes() == taken_up.to_bytes()


@pytest.mark.parametrize(
    ("blob", "message"),
    [
        (b"", "model: "),
        (b"\x93\x01\x02\x03", "model: "),
        (SparseFTRL().to_bytes()[:-1], "model: "),
        (SparseFTRL().to_bytes().replace(b"\x97\x01", b"\x97\x02", 1), "expected format 1, got 2"),
    ],
)
def test_bytes_that_are_no_model_are_refused(blob: bytes, message: str) -> None:
    model = SparseFTRL()

    with pytest.raises(BadRecord, match=message):
        model.restore(blob)

    assert model.to_bytes() == SparseFTRL().to_bytes()


def test_a_model_of_other_parameters_is_refused() -> None:
    with pytest.raises(BadRecord, match="expected the parameters"):
        SparseFTRL(alpha=0.1).restore(SparseFTRL(alpha=0.2).to_bytes())


def test_changes_since_the_last_time_rebuild_weights_and_information() -> None:
    model = SparseFTRL(l1=0.2)
    weights: dict[str, float] = {}
    information: dict[str, float] = {}
    for i, (x, y) in enumerate(sparse_stream(600, seed=5)):
        model.learn_one(x, y)
        if i % 37 == 0:
            changed = model.take_changed()
            assert len(changed) < len(model) or i < 40
            weights |= model.weights_of(changed)
            information |= model.information_of(changed)
    changed = model.take_changed()
    weights |= model.weights_of(changed)
    information |= model.information_of(changed)

    assert weights == model.weights
    assert information == model.information_of(model.names)
    assert model.take_changed() == []


def test_information_is_the_sum_of_squared_gradients() -> None:
    model = SparseFTRL(alpha=0.1, beta=1.0, l2=1.0, intercept_lr=0.0)
    model.learn_one({"a": 2.0}, True)  # p = 0.5, so the gradient is -0.5 * 2
    model.learn_one({"b": 1.0}, False)

    uncertainty = model.uncertainty()

    assert [uncertainty.information_of(name) for name in ("a", "b", "never met")] == [1.0, 0.25, 0.0]
    assert uncertainty.prior_precision == 11.0


def test_shares_and_intercept_add_up_to_the_logit() -> None:
    model = SparseFTRL(alpha=0.5)
    stream = sparse_stream(500, seed=6)
    for x, y in stream:
        model.learn_one(x, y)

    for x, _ in stream[:50]:
        p, shares = model.predict_with_contributions(x, 100)
        assert p == model.predict_proba_one(x)[True]
        assert model.intercept + sum(share for _, share in shares) == pytest.approx(math.log(p / (1 - p)))
        assert [abs(share) for _, share in shares] == sorted((abs(share) for _, share in shares), reverse=True)
        assert model.predict_with_contributions(x, 2) == (p, shares[:2])


def test_a_full_model_takes_on_no_further_names() -> None:
    model = SparseFTRL(max_weights=2)
    for _ in range(3):
        model.learn_one({"a": 1.0, "b": 1.0, "c": 1.0}, True)
        model.learn_one({"d": 1.0}, False)

    assert set(model.weights) == {"a", "b"}
    assert model.predict_proba_one({"c": 5.0}) == model.predict_proba_one({})


@pytest.mark.parametrize("declared", [{"alpha": 0.0}, {"alpha": -1.0}, {"l1": -0.1}, {"beta": 0.0, "l2": 0.0}])
def test_senseless_parameters_are_refused(declared: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="Expected"):
        SparseFTRL(**declared)
