"""A declaration becomes a model, or an error that says where it is wrong."""

from __future__ import annotations

from typing import Any

import pytest
from river import linear_model, optim, tree

from online_models.errors import ConfigError
from online_models.estimators import SparseFTRL, build
from online_models.estimators.registry import DEFAULT_SEED, SHORT_NAMES
from online_models.estimators.river_model import RiverModel
from schemas.codec import BadRecord

KEY = b"sixteen bytes or more"
LOGISTIC = "river.linear_model.LogisticRegression"


def rivers(declared: dict[str, Any]) -> Any:
    """The River object behind a built model."""
    model = build(declared, key=KEY)
    assert isinstance(model, RiverModel)
    return model.classifier


def test_ftrl_takes_its_parameters_beside_the_name() -> None:
    model = build({"name": "ftrl", "alpha": 0.1, "l2": 2, "max_weights": 10})

    assert isinstance(model, SparseFTRL)
    assert (model.name, model.alpha, model.l2, model.max_weights) == ("ftrl", 0.1, 2.0, 10)


@pytest.mark.parametrize("name", SHORT_NAMES)
def test_short_names_are_classifiers_of_river(name: str) -> None:
    assert SHORT_NAMES[name].endswith(f".{type(rivers({'name': name})).__name__}")
    assert build({"name": name}, key=KEY).name == name


def test_a_dotted_path_takes_parameters_and_nested_objects() -> None:
    optimizer = {
        "class": "river.optim.Adam",
        "params": {"lr": {"class": "river.optim.schedulers.Constant", "params": {"learning_rate": 0.3}}},
    }
    model = rivers({"name": LOGISTIC, "params": {"l2": 0.1, "optimizer": optimizer}})

    assert isinstance(model, linear_model.LogisticRegression)
    assert isinstance(model.optimizer, optim.Adam)
    assert (model.l2, model.optimizer.learning_rate) == (0.1, 0.3)


def test_lists_of_models_can_be_nested() -> None:
    members = [{"class": "river.tree.HoeffdingTreeClassifier", "params": {"max_depth": 3}}, {"class": LOGISTIC}]
    model = rivers(
        {
            "name": "river.ensemble.StackingClassifier",
            "params": {"models": members, "meta_classifier": {"class": LOGISTIC}},
        }
    )

    assert [type(one) for one in model.models] == [tree.HoeffdingTreeClassifier, linear_model.LogisticRegression]
    assert model.models[0].max_depth == 3


def test_a_seed_is_always_set_and_may_be_declared() -> None:
    bagging = {"name": "river.ensemble.BaggingClassifier", "params": {"model": {"class": "river.forest.ARFClassifier"}}}

    assert rivers({"name": "adaptive_forest"}).seed == DEFAULT_SEED
    assert rivers({"name": "adaptive_forest", "params": {"seed": 3}}).seed == 3
    assert (rivers(bagging).seed, rivers(bagging).model.seed) == (DEFAULT_SEED, DEFAULT_SEED)


def test_a_scaler_stands_before_the_model() -> None:
    pipeline = rivers({"name": LOGISTIC, "scale": "standard"})

    assert [type(step).__name__ for step in pipeline.steps.values()] == ["StandardScaler", "LogisticRegression"]


@pytest.mark.parametrize(
    ("declared", "path", "message"),
    [
        ({}, ("name",), "Unknown model None; expected one of ftrl, neural_net, naive_bayes"),
        ({"name": "ftlr"}, ("name",), "Unknown model 'ftlr'"),
        ({"name": 3}, ("name",), "Unknown model 3"),
        ({"name": "ftrl", "alfa": 1}, ("alfa",), "Unknown parameter; expected one of: alpha, beta"),
        ({"name": "ftrl", "alpha": "x"}, ("alpha",), "Expected a number, got 'x'"),
        ({"name": "ftrl", "alpha": True}, ("alpha",), "Expected a number, got True"),
        ({"name": "ftrl", "alpha": float("nan")}, ("alpha",), "Expected a number, got nan"),
        ({"name": "ftrl", "alpha": 0}, ("alpha",), "Expected alpha > 0"),
        ({"name": "ftrl", "l1": -1}, ("l1",), "Expected l1 >= 0"),
        ({"name": "ftrl", "max_weights": 1.5}, ("max_weights",), "Expected a whole number, got 1.5"),
        ({"name": "ftrl", "clip_gradient": -1}, ("clip_gradient",), "Expected clip_gradient > 0, got -1"),
        ({"name": "ftrl", "clip_gradient": 0}, ("clip_gradient",), "Expected clip_gradient > 0, got 0"),
        ({"name": "ftrl", "max_weights": 0}, ("max_weights",), "Expected max_weights > 0, got 0"),
        ({"name": "ftrl", "max_weights": -1}, ("max_weights",), "Expected max_weights > 0, got -1"),
        ({"name": LOGISTIC, "parms": {}}, ("parms",), "Unknown key"),
        ({"name": LOGISTIC, "params": [1]}, ("params",), "Expected a mapping"),
        ({"name": LOGISTIC, "params": {"lr": 1}}, ("params", "lr"), "LogisticRegression takes: optimizer, loss"),
        ({"name": LOGISTIC, "params": {"l2": "x"}}, ("params",), "fails on an example: TypeError"),
        ({"name": LOGISTIC, "params": {"l1": 1, "l2": 1}}, ("params",), "joint use of L1 and L2"),
        (
            {"name": LOGISTIC, "params": {"optimizer": {"class": "river.optim.Adan"}}},
            ("params", "optimizer", "class"),
            "River has no river.optim.Adan",
        ),
        (
            {"name": LOGISTIC, "params": {"optimizer": {"class": "river.optim.Adam", "params": {"x": 1}}}},
            ("params", "optimizer", "params", "x"),
            "Adam takes: lr, beta_1",
        ),
        (
            {"name": LOGISTIC, "params": {"optimizer": {"class": "river.optim.Adam", "parms": {}}}},
            ("params", "optimizer", "parms"),
            "Unknown key",
        ),
        (
            {"name": "river.ensemble.StackingClassifier", "params": {"models": [{"class": "os.system"}]}},
            ("params", "models", 0, "class"),
            "Unknown model 'os.system'",
        ),
        ({"name": LOGISTIC, "scale": "std"}, ("scale",), "Expected one of standard, minmax, maxabs, got 'std'"),
        ({"name": "river.linear_model.LinearRegression"}, ("name",), "is no classifier"),
        ({"name": "river.linear_model.base.GLM"}, ("name",), "is no class of River"),
        ({"name": "river.datasets.Phishing"}, ("name",), "holds no models"),
        ({"name": "river.stream.iter_csv"}, ("name",), "holds no models"),
        ({"name": "river.linear_model.Nothing"}, ("name",), "River has no"),
        ({"name": "river.nothing.Nothing"}, ("name",), "River has no"),
        ({"name": "os.system"}, ("name",), "Unknown model"),
        (
            {"name": "river.multiclass.OneVsOneClassifier", "params": {"classifier": {"class": LOGISTIC}}},
            ("name",),
            "gives no probabilities",
        ),
        ({"name": "river.neural_net.MLP"}, ("name",), "ours is called `neural_net`"),
        ({"name": "neural_net", "units": 0}, ("units",), "Expected units from 1 to 1024, got 0"),
        ({"name": "neural_net", "lr": -1.0}, ("lr",), "Expected lr > 0"),
        ({"name": "neural_net", "width": 8}, ("width",), "Unknown parameter; expected one of: units"),
        ({"name": "river.facto.HOFMClassifier"}, ("name",), "changes when it is asked"),
        (
            {"name": "river.ensemble.LeveragingBaggingClassifier", "params": {"model": {"class": LOGISTIC}}},
            ("name",),
            "cannot be sent to the scorers: model: builtins.getattr",
        ),
    ],
)  # fmt: skip
def test_a_wrong_declaration_is_refused_with_its_place(
    declared: dict[str, Any], path: tuple[str | int, ...], message: str
) -> None:
    with pytest.raises(ConfigError) as refused:
        build(declared, key=KEY)

    assert refused.value.path == path
    assert message in refused.value.message


@pytest.mark.parametrize("key", [None, b"short"])
def test_models_of_river_need_a_key(key: bytes | None) -> None:
    with pytest.raises(ConfigError, match="STREAMSCORE_MODEL_KEY to a secret of at least 16"):
        build({"name": "adaptive_tree"}, key=key)


def test_trying_a_model_out_leaves_no_trace() -> None:
    model = build({"name": LOGISTIC}, key=KEY)

    assert isinstance(model, RiverModel)
    assert model.classifier.weights == {}
    assert model.predict_proba_one({"a": 1.0}) == {False: 0.5, True: 0.5}


class TestFiniteProbabilities:
    """What River may answer, and what becomes of it."""

    class Says:
        def __init__(self, answer: dict[bool, float]) -> None:
            self.answer = answer

        def predict_proba_one(self, x: dict[str, float]) -> dict[bool, float]:
            return self.answer

        def learn_one(self, x: dict[str, float], y: bool) -> None:
            pass

    @pytest.mark.parametrize("answer", [{}, {False: 1.0}, {True: float("nan")}, {True: float("inf")}, {True: -0.1}])
    def test_no_answer_is_the_rate_that_was_learned(self, answer: dict[bool, float]) -> None:
        model = RiverModel("says", self.Says(answer), key=KEY)
        assert model.predict_proba_one({})[True] == 0.5

        for label in (True, False, False):
            model.learn_one({}, label)

        assert model.predict_proba_one({})[True] == pytest.approx(2 / 5)

    @pytest.mark.parametrize("error", [OverflowError, ZeroDivisionError])
    def test_numbers_that_it_cannot_sum_up_get_the_rate_as_well(self, error: type[ArithmeticError]) -> None:
        class Fails(self.Says):  # type: ignore[name-defined,misc]
            def predict_proba_one(self, x: dict[str, float]) -> dict[bool, float]:
                raise error

        assert RiverModel("fails", Fails({}), key=KEY).predict_proba_one({"a": 1e308})[True] == 0.5

    @pytest.mark.parametrize(("said", "given"), [(0.0, 1e-6), (1.0, 1 - 1e-6), (0.3, 0.3)])
    def test_certainty_is_bounded(self, said: float, given: float) -> None:
        assert RiverModel("says", self.Says({True: said}), key=KEY).predict_proba_one({})[True] == given


def test_bytes_of_another_class_leave_the_model_as_it_was() -> None:
    model = RiverModel("m", linear_model.LogisticRegression(), key=KEY)
    other = RiverModel("m", tree.HoeffdingTreeClassifier(), key=KEY)
    other.learn_one({"a": 1.0}, True)

    with pytest.raises(BadRecord, match="expected a LogisticRegression"):
        model.restore(other.to_bytes())

    assert model.predict_proba_one({"a": 1.0})[True] == 0.5
