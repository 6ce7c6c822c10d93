"""One suite for every registered model: whatever is declared, the engine can rely on this."""

from __future__ import annotations

import math
import random
from collections.abc import Mapping
from typing import Any

import pytest

from online_models.closed_loop import OwnReplica
from online_models.distribution import make_distributor
from online_models.estimators import Estimator, SparseFTRL, build
from online_models.estimators.registry import OWN, SHORT_NAMES
from online_models.evaluation import ProgressiveMetrics
from online_models.guard import refusal
from online_models.replica import Follower, LinearReplica, OpaqueReplica, ReplicaSet
from online_models.uncertainty import logit_variances
from schemas.codec import BadRecord

KEY = b"sixteen bytes or more"
TREES: dict[str, Any] = {"grace_period": 50}
SMALL = {"n_models": 3, **TREES}
LOGISTIC = {"class": "river.linear_model.LogisticRegression"}

DECLARATIONS: list[Mapping[str, Any]] = [
    {"name": "ftrl", "alpha": 0.5},
    {"name": "ftrl", "alpha": 0.5, "l1": 0.1, "max_weights": 40},
    {"name": "neural_net", "lr": 0.1},
    {"name": "neural_net", "units": 4, "max_features": 5},
    {"name": "logistic_regression", "params": {"optimizer": {"class": "river.optim.SGD", "params": {"lr": 0.1}}}},
    {"name": "logistic_regression", "scale": "standard"},
    {"name": "adaptive_tree", "params": TREES},
    {"name": "adaptive_forest", "params": SMALL},
    {"name": "factorization_machine", "params": {"n_factors": 4}},
    {"name": "naive_bayes"},
    {"name": "naive_bayes", "alpha": 0.1, "max_features": 6},
    {"name": "river.naive_bayes.BernoulliNB"},
    {"name": "river.naive_bayes.GaussianNB"},
    {"name": "river.tree.HoeffdingTreeClassifier", "params": TREES},
    {"name": "river.forest.AMFClassifier", "params": {"n_estimators": 3}},
    {"name": "river.linear_model.AdPredictor"},
    {"name": "river.ensemble.ADWINBaggingClassifier", "params": {"model": LOGISTIC, "n_models": 3}},
]
Example = tuple[dict[str, float], bool]


def label_of(declared: Mapping[str, Any]) -> str:
    return "-".join(str(value) for key, value in declared.items() if key != "params")


@pytest.fixture(params=DECLARATIONS, ids=label_of)
def declared(request: pytest.FixtureRequest) -> Mapping[str, Any]:
    return dict(request.param)


def built(declared: Mapping[str, Any]) -> Estimator:
    return build(declared, key=KEY)


def toy_stream(n: int, *, seed: int = 1) -> list[Example]:
    """One-hots that decide, numbers that help, and a third of positives."""
    rng = random.Random(seed)
    stream = []
    for _ in range(n):
        good = rng.random() < 1 / 3
        kind = rng.choice(["a", "b"] if good else ["c", "d", "e"])
        x = {f"kind={kind}": 1.0, f"hour={rng.randrange(4)}": 1.0, "depth": rng.gauss(1.0 if good else -1.0, 0.5)}
        stream.append((x, good if rng.random() < 0.95 else not good))
    return stream


def probability(model: Estimator, x: dict[str, float]) -> float:
    answer = model.predict_proba_one(x)
    assert set(answer) == {True, False}
    p = answer[True]
    assert isinstance(p, float)
    assert math.isfinite(p)
    assert 0.0 <= p <= 1.0
    assert answer[False] == 1.0 - p
    return p


def path(model: Estimator, stream: list[Example]) -> list[float]:
    """Predict, then learn, each example."""
    predictions = []
    for x, y in stream:
        predictions.append(probability(model, x))
        model.learn_one(x, y)
    return predictions


def test_every_short_name_is_in_this_suite() -> None:
    assert {*OWN, *SHORT_NAMES} <= {one["name"] for one in DECLARATIONS}


def test_probabilities_are_finite_from_the_first_to_the_last(declared: Mapping[str, Any]) -> None:
    model = built(declared)
    assert probability(model, {}) == pytest.approx(0.5)
    assert probability(model, {"a": 1.0}) == pytest.approx(0.5)

    path(model, [({"a": 1.0}, True)] * 5)  # one class only
    path(model, [({}, False), ({"a": 0.0}, True), ({"a": -3.0, "b": 1e6}, False), ({"b": -1e6}, True)] * 5)


def test_the_same_order_gives_the_same_model(declared: Mapping[str, Any]) -> None:
    stream = toy_stream(400)

    assert path(built(declared), stream) == path(built(declared), stream)


def test_it_beats_the_base_rate_on_a_separable_stream(declared: Mapping[str, Any]) -> None:
    stream = toy_stream(1200)
    metrics = ProgressiveMetrics()
    for (_, y), p in zip(stream, path(built(declared), stream), strict=True):
        metrics.update(y, p)

    assert metrics.log_loss is not None
    assert metrics.base_log_loss is not None
    assert metrics.auc is not None
    assert metrics.log_loss < 0.95 * metrics.base_log_loss
    assert metrics.auc > 0.8


def test_unseen_and_vanished_features_are_survived(declared: Mapping[str, Any]) -> None:
    model = built(declared)
    path(model, toy_stream(200))

    path(model, [({f"new={i}": 1.0, "other": float(i)}, i % 2 == 0) for i in range(50)])
    probability(model, {"depth": 1.0})
    probability(model, {"never seen": 1.0})


def test_predicting_changes_nothing(declared: Mapping[str, Any]) -> None:
    asked, silent = built(declared), built(declared)
    for x, y in toy_stream(200):
        for other, _ in toy_stream(3, seed=9):
            asked.predict_proba_one(other)
        asked.learn_one(x, y)
        silent.learn_one(x, y)

    assert path(asked, toy_stream(100, seed=2)) == path(silent, toy_stream(100, seed=2))


def test_the_examples_stay_as_they_are(declared: Mapping[str, Any]) -> None:
    stream = toy_stream(50)
    model = built(declared)
    path(model, stream)

    assert stream == toy_stream(50)


@pytest.mark.parametrize("size", [1, 7, 500])
def test_a_model_restored_between_chunks_goes_on_bit_for_bit(declared: Mapping[str, Any], size: int) -> None:
    stream = toy_stream(500 if size > 1 else 60)
    expected = path(built(declared), stream)

    model, predictions = built(declared), []
    for first in range(0, len(stream), size):
        restored = built(declared)
        restored.restore(model.to_bytes())
        model = restored
        predictions += path(model, stream[first : first + size])

    assert predictions == expected


def a_replica(declared: Mapping[str, Any]) -> Follower:
    spare = built(declared)
    if isinstance(spare, SparseFTRL):
        return LinearReplica(lineage="1f0c", name=spare.name, prior=0.2, prior_precision=spare.prior_precision)
    return OpaqueReplica(lineage="1f0c", spare=spare, prior=0.2)


def test_a_replica_scores_what_the_learner_would(declared: Mapping[str, Any]) -> None:
    model, replica = built(declared), a_replica(declared)
    replicas = ReplicaSet({"click": replica})
    distributor = make_distributor("click", lineage="1f0c", estimator=model)
    assert replica.score_one({"a": 1.0}, 3) == (0.2, [])

    for version in (100, 200, 300):
        path(model, toy_stream(100, seed=version))
        for _, value in distributor.publish(version):
            replicas.apply(value)
        assert (replica.version, replica.name) == (version, declared["name"])
        for x, _ in toy_stream(30, seed=version + 1):
            p, reasons = replica.score_one(x, 2)
            assert p == pytest.approx(probability(model, x), abs=1e-12)
            assert len(reasons) <= 2
            assert all(name in x and math.isfinite(share) for name, share in reasons)


def test_a_live_replica_is_as_uncertain_as_that_of_a_replay(declared: Mapping[str, Any]) -> None:
    model, live = built(declared), a_replica(declared)
    replayed, replicas = OwnReplica(model, prior=0.2), ReplicaSet({"click": live})
    distributor = make_distributor("click", lineage="1f0c", estimator=model, informed=True)
    assert live.uncertainty() is replayed.uncertainty() is None
    vectors = [x for x, _ in toy_stream(30)]

    for version in (100, 200):
        path(model, toy_stream(100, seed=version))
        for _, value in distributor.publish(version):
            replicas.apply(value)
        replayed.version = version
        said = [one and logit_variances(one, vectors) for one in (live.uncertainty(), replayed.uncertainty())]
        assert said[0] == said[1]
        assert (said[0] is not None) == (declared["name"] == "ftrl")


def test_bytes_of_another_model_are_refused_and_change_nothing(declared: Mapping[str, Any]) -> None:
    other = built({"name": "ftrl"} if declared["name"] != "ftrl" else {"name": "naive_bayes"})
    model, untouched = built(declared), built(declared)
    for one in (model, untouched):
        path(one, toy_stream(50))

    latin = model.to_bytes().replace(b"depth", b"dept\xe9")
    assert latin != model.to_bytes()
    for blob in (other.to_bytes(), b"", model.to_bytes()[:-1], latin):
        with pytest.raises(BadRecord, match="model: "):
            model.restore(blob)

    assert path(model, toy_stream(50, seed=2)) == path(untouched, toy_stream(50, seed=2))


def test_poison_behind_the_guard_changes_nothing(declared: Mapping[str, Any]) -> None:
    poisoned, clean = built(declared), built(declared)
    for i, (x, y) in enumerate(toy_stream(100)):
        bad = {**x, "depth": (math.nan, math.inf, -math.inf, 1e9)[i % 4]}
        for vector in (bad, x):
            if refusal(vector) is None:
                poisoned.learn_one(vector, y)
        clean.learn_one(x, y)

    assert path(poisoned, toy_stream(50, seed=2)) == path(clean, toy_stream(50, seed=2))
