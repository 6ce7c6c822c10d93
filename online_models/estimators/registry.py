"""Models by name: a declaration in the configuration becomes a freshly built model.

``{name: ftrl, alpha: 0.05}`` is our own; ``{name: river.tree.HoeffdingAdaptiveTreeClassifier, params:
{grace_period: 200}}`` is any classifier of River, with short names for the usual ones. A parameter that
is itself a River object is written ``{class: river.optim.Adam, params: {lr: 0.01}}``.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from importlib import import_module
from typing import Any

from river import base, preprocessing

from online_models.errors import ConfigError
from online_models.estimators.base import Estimator
from online_models.estimators.river_model import RiverModel
from online_models.estimators.sparse_ftrl import SparseFTRL

SHORT_NAMES = {
    "logistic_regression": "river.linear_model.LogisticRegression",
    "adaptive_tree": "river.tree.HoeffdingAdaptiveTreeClassifier",
    "adaptive_forest": "river.forest.ARFClassifier",
    "factorization_machine": "river.facto.FMClassifier",
    "naive_bayes": "river.naive_bayes.BernoulliNB",
}
_SEED = 7


def build(model: Mapping[str, Any], *, key: bytes | None = None) -> Estimator:
    """Build the model that a declaration names, with nothing learned.

    Parameters
    ----------
    key
        Signs models of River, which travel pickled.

    Raises
    ------
    ConfigError
        With the path below `model`.
    """
    if model["name"] == "ftrl":
        return _ftrl(model)
    unknown = set(model) - {"name", "params", "scale"}
    if unknown:
        raise ConfigError((min(unknown),), "Unknown key; expected `name`, `params` and `scale`")
    classifier = _object(SHORT_NAMES.get(model["name"], model["name"]), model.get("params", {}), ("name",))
    if not isinstance(classifier, base.Classifier):
        raise ConfigError(("name",), f"{model['name']} is no classifier")
    if model.get("scale", "none") not in ("none", "standard"):
        raise ConfigError(("scale",), "Expected `standard` or `none`")
    if key is None:
        raise ConfigError(
            ("name",),
            "Models of River travel pickled and signed: set STREAMSCORE_MODEL_KEY, the same for every worker",
        )
    pipeline = preprocessing.StandardScaler() | classifier if model.get("scale") == "standard" else classifier
    return RiverModel(model["name"], pipeline, key=key)


def _ftrl(model: Mapping[str, Any]) -> SparseFTRL:
    allowed = inspect.signature(SparseFTRL).parameters
    for name, value in model.items():
        if name != "name" and name not in allowed:
            raise ConfigError((name,), f"Unknown parameter; expected one of: {', '.join(allowed)}")
        if name != "name" and (isinstance(value, bool) or not isinstance(value, int | float) or value < 0):
            raise ConfigError((name,), f"Expected a number >= 0, got {value!r}")
    parameters = {name: float(value) for name, value in model.items() if name != "name"}
    if parameters.get("alpha", 1.0) == 0.0:
        raise ConfigError(("alpha",), "Expected a number > 0")
    return SparseFTRL(**parameters)


def _object(path: object, params: object, where: tuple[str | int, ...]) -> Any:
    """Build a River object by its dotted path."""
    if not isinstance(path, str) or not path.startswith("river.") or path.count(".") != 2:
        known = ", ".join(["ftrl", *SHORT_NAMES])
        raise ConfigError(where, f"Unknown model {path!r}; expected one of {known}, or river.<module>.<Class>")
    _, module, name = path.split(".")
    try:
        found = getattr(import_module(f"river.{module}"), name)
    except (ImportError, AttributeError):
        raise ConfigError(where, f"River has no {path}") from None
    if not inspect.isclass(found) or not issubclass(found, base.Base):
        raise ConfigError(where, f"{path} is no River class")
    if not isinstance(params, Mapping):
        raise ConfigError(("params",), "Expected a mapping")
    allowed = inspect.signature(found).parameters
    arguments: dict[str, Any] = {}
    for parameter, value in params.items():
        if parameter not in allowed:
            raise ConfigError(("params", str(parameter)), f"{path} takes: {', '.join(allowed)}")
        if isinstance(value, Mapping) and "class" in value:
            value = _object(value["class"], value.get("params", {}), ("params", str(parameter)))
        arguments[str(parameter)] = value
    if "seed" in allowed:
        arguments.setdefault("seed", _SEED)
    try:
        return found(**arguments)
    except (TypeError, ValueError) as error:
        raise ConfigError(("params",), f"{path}: {error}") from None
