"""Models by name: a declaration in the configuration becomes a freshly built model.

``{name: ftrl, alpha: 0.05}`` and ``{name: neural_net}`` are our own;
``{name: river.tree.HoeffdingAdaptiveTreeClassifier, params: {grace_period: 200}}`` is any classifier of
River, with short names for the usual ones. A parameter that is itself a River object is written
``{class: river.optim.Adam, params: {lr: 0.01}}``.

A declaration is wrong where it is read, not a day later in `learn_one`: parameters are checked against
the signature, and a River model is tried on a handful of examples and sent through its own bytes.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from importlib import import_module
from math import isfinite, log
from typing import Any

from river import base

from online_models.errors import ConfigError
from online_models.estimators.base import Estimator
from online_models.estimators.naive_bayes import NaiveBayes
from online_models.estimators.neural_net import NeuralNet
from online_models.estimators.signed_pickle import MIN_KEY_BYTES
from online_models.estimators.sparse_ftrl import SparseFTRL
from schemas.codec import BadRecord

Own = SparseFTRL | NeuralNet | NaiveBayes
# Our own, which travel as plain numbers: no pickle, no key.
OWN: dict[str, type[Own]] = {one.name: one for one in (SparseFTRL, NeuralNet, NaiveBayes)}
SHORT_NAMES = {
    "logistic_regression": "river.linear_model.LogisticRegression",
    "adaptive_tree": "river.tree.HoeffdingAdaptiveTreeClassifier",
    "adaptive_forest": "river.forest.ARFClassifier",
    "factorization_machine": "river.facto.FMClassifier",
}
# Where models of River that are sums take the logit that they begin at, as long as their loss is that of a logit.
_INTERCEPTS = {
    "river.linear_model.LogisticRegression": "intercept_init",
    "river.facto.FMClassifier": "intercept",
    "river.facto.FwFMClassifier": "intercept",
}
# Without a seed a replay would not repeat the run. Any number will do, as long as it stays the same.
DEFAULT_SEED = 7

# River offers them as classes too, but they read files, download, or wrap objects of other libraries.
_REFUSED_MODULES = {"api", "checks", "compat", "datasets", "evaluate", "stream"}
_SUMMING = ("river.linear_model.", "river.facto.")
_SCALERS = {
    "standard": "StandardScaler",
    "minmax": "MinMaxScaler",
    "maxabs": "MaxAbsScaler",
}
_TRIAL = [({"a": 1.0, "b": 0.5}, True), ({"a": 0.0, "c=1": 1.0}, False), ({}, True), ({"b": -2.0}, False)]
_UNSEEN = ({"d=1": 1.0, "e": 1.0, "f": 1.0}, {"d=2": 1.0, "a": 1.0, "g": 1.0})

Path = tuple[str | int, ...]


def build(
    model: Mapping[str, Any], *, key: bytes | None = None, prior: float = 0.5, start: float | None = None
) -> Estimator:
    """Build the model that a declaration names, with nothing learned.

    Parameters
    ----------
    model
        ``name``, and for a model of River ``params`` and ``scale``.
    key
        Signs models of River, which travel pickled; at least 16 bytes.
    prior
        The rate of positives that is expected: where models of ours, River's linear ones and factorization machines
        begin, unless their declaration says so, and what others give until they have an answer.
    start
        Where they begin, if that is not the `prior`.

    Raises
    ------
    ConfigError
        With the path below `model`.

    Examples
    --------
    >>> build({"name": "ftrl", "alpha": 0.1}).name
    'ftrl'
    >>> build({"name": "ftrl", "alfa": 0.1})  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    online_models.errors.ConfigError: alfa: Unknown parameter; expected one of: alpha, beta, l1, ...
    """
    name = model.get("name")
    start = prior if start is None else start
    if name in OWN:
        return _own(model, OWN[str(name)], prior, start)
    unknown = sorted(map(str, set(model) - {"name", "params", "scale"}))
    if unknown:
        raise ConfigError((unknown[0],), "Unknown key; expected `name`, `params` and `scale`")
    classifier = _classifier(name, model.get("params", {}), start)
    scale = model.get("scale")
    if scale is not None:
        if scale not in _SCALERS:
            raise ConfigError(("scale",), f"Expected one of {', '.join(_SCALERS)}, got {scale!r}")
        classifier = getattr(import_module("river.preprocessing"), _SCALERS[scale])() | classifier
    if key is None or len(key) < MIN_KEY_BYTES:
        raise ConfigError(
            ("name",),
            "Models of River travel pickled and signed: set STREAMSCORE_MODEL_KEY to a secret of at least "
            f"{MIN_KEY_BYTES} characters, the same for every worker",
        )
    # Here, because what it needs of River takes a worker 0.7 s to load, which models of our own do without.
    from online_models.estimators.river_model import RiverModel

    _try_out(*(RiverModel(str(name), classifier.clone(), key=key, prior=prior) for _ in range(2)))
    return RiverModel(str(name), classifier, key=key, prior=prior)


def sums_up(model: Mapping[str, Any]) -> bool:
    """Tell whether a declared model is a sum of its numbers times weights, which one very large number can spoil.

    Trees compare numbers, and our neural net squashes them.

    Examples
    --------
    >>> [sums_up({"name": name}) for name in ("ftrl", "logistic_regression", "adaptive_tree", "neural_net")]
    [True, True, False, False]
    """
    name = str(model.get("name"))
    return name == SparseFTRL.name or SHORT_NAMES.get(name, name).startswith(_SUMMING)


def _own(model: Mapping[str, Any], kind: type[Own], prior: float, start: float) -> Own:
    allowed = dict(inspect.signature(kind).parameters)
    # The objective's, and no matter of the model's declaration.
    by_prior = allowed.pop("prior", None) is not None
    arguments: dict[str, Any] = {"prior": prior} if by_prior else {"intercept_init": _logit(start)}
    for name, value in model.items():
        if name == "name":
            continue
        if name not in allowed:
            raise ConfigError((name,), f"Unknown parameter; expected one of: {', '.join(allowed)}")
        whole = isinstance(allowed[name].default, int)
        if isinstance(value, bool) or not isinstance(value, int if whole else int | float) or not isfinite(value):
            raise ConfigError((name,), f"Expected a {'whole ' if whole else ''}number, got {value!r}")
        arguments[name] = value if whole else float(value)
    try:
        return kind(**arguments)
    except ValueError as error:
        named = [name for name in arguments if name in str(error).split()]
        raise ConfigError(named[:1], str(error)) from None


def _logit(prior: float) -> float:
    return log(prior / (1.0 - prior))


def _classifier(name: object, params: object, start: float) -> Any:
    if str(name).startswith("river.neural_net"):
        raise ConfigError(("name",), "River 0.26 has no neural net for classes; ours is called `neural_net`")
    path = SHORT_NAMES.get(name, name) if isinstance(name, str) else name
    intercept = _INTERCEPTS.get(str(path))
    if intercept and isinstance(params, Mapping) and "loss" not in params:
        params = {intercept: _logit(start), **params}
    classifier = _river_object(path, params, at=("name",), below=("params",))
    kind = type(classifier)
    if not isinstance(classifier, base.Classifier):
        raise ConfigError(("name",), f"{path} is no classifier")
    if kind.predict_proba_one is base.Classifier.predict_proba_one:
        raise ConfigError(("name",), f"{path} gives no probabilities")
    return classifier


def _river_object(path: object, params: object, *, at: Path, below: Path) -> Any:
    """Build a River object by its dotted path; errors about the path are `at`, about parameters `below`."""
    found = _river_class(path, at)
    if not isinstance(params, Mapping):
        raise ConfigError(below, "Expected a mapping of parameters")
    signature = inspect.signature(found).parameters
    arguments: dict[str, Any] = {}
    for name, value in params.items():
        if name not in signature:
            raise ConfigError((*below, str(name)), f"{path} takes: {', '.join(signature) or 'no parameters'}")
        arguments[str(name)] = _value(value, (*below, str(name)))
    if "seed" in signature:
        arguments.setdefault("seed", DEFAULT_SEED)
    try:
        return found(**arguments)
    except Exception as error:  # River's constructors raise what they like, and all of it is the declaration's
        raise ConfigError(below, f"{path}: {error}") from None


def _value(value: object, at: Path) -> Any:
    """Turn a declared parameter into what River takes: nested objects are built, lists item by item."""
    if isinstance(value, Mapping) and "class" in value:
        unknown = sorted(map(str, set(value) - {"class", "params"}))
        if unknown:
            raise ConfigError((*at, unknown[0]), "Unknown key; expected `class` and `params`")
        return _river_object(value["class"], value.get("params", {}), at=(*at, "class"), below=(*at, "params"))
    if isinstance(value, list):
        return [_value(one, (*at, i)) for i, one in enumerate(value)]
    return value


def _river_class(path: object, at: Path) -> type:
    known = ", ".join([*OWN, *SHORT_NAMES])
    if not isinstance(path, str) or not path.startswith("river.") or path.count(".") < 2:
        raise ConfigError(at, f"Unknown model {path!r}; expected one of {known}, or river.<module>.<Class>")
    module, _, name = path.rpartition(".")
    if module.split(".")[1] in _REFUSED_MODULES:
        raise ConfigError(at, f"{module} holds no models; expected one of {known}, or river.<module>.<Class>")
    try:
        found = getattr(import_module(module), name)
    except (ImportError, AttributeError):
        raise ConfigError(at, f"River has no {path}") from None
    # Modules also name what they import; only River's own classes can be declared.
    if not inspect.isclass(found) or not issubclass(found, base.Base) or inspect.isabstract(found):
        raise ConfigError(at, f"{path} is no class of River that can be built")
    return found


def _try_out(model: Estimator, other: Estimator) -> None:
    """Learn, send and compare; both models are used up."""
    try:
        for x, y in _TRIAL:
            model.predict_proba_one(x)
            model.learn_one(x, y)
        other.restore(model.to_bytes())
        model.predict_proba_one(_UNSEEN[0])
        answers = [one.predict_proba_one(_UNSEEN[1]) for one in (model, other)]
    except BadRecord as error:
        raise ConfigError(("name",), f"{model.name} cannot be sent to the scorers: {error.detail}") from None
    except Exception as error:  # the declaration is foreign code's input: whatever it raises, this model cannot be used
        raise ConfigError(("params",), f"{model.name} fails on an example: {type(error).__name__}: {error}") from None
    if answers[0] != answers[1]:
        raise ConfigError(("name",), f"{model.name} changes when it is asked; its scores could not be repeated")
