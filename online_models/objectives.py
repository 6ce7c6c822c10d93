"""Objectives: what is predicted, declared under `objectives:` in the configuration.

An objective names the events that are scored (trigger), the events that make a trigger positive
(outcome), what the two must share (match), and how long an outcome may take (window).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from math import inf, isfinite, log
from typing import Any, Literal, TypeVar, get_args

from msgspec import Struct, ValidationError, convert, structs

from online_models.calibration import Calibrating, Calibrator
from online_models.contest import Promoting
from online_models.errors import ConfigError
from online_models.features import FeatureSet
from online_models.features.categories import normalized
from online_models.features.durations import parse_duration_ms
from schemas.events import EVENT_TYPES

Match = Literal["item", "session", "user"]
Labels = Literal["at_window_end", "immediate"]
Credit = Literal["all", "last"]
_T = TypeVar("_T")

MAX_WINDOW_MS = 30 * 86_400_000
# Collectors deliver within seconds; an outcome may be this much out of order and still count.
GRACE_MS = 5_000


class Condition(Struct, frozen=True):
    """A test of one feature's value that a trigger must pass.

    Attributes
    ----------
    feature
        Name of a declared base feature, tested as extracted: clipped, not transformed.
    minimum, maximum
        Inclusive bounds of a number; None: unbounded.
    one_of
        Accepted values of a category; empty: not tested.
    """

    feature: str
    minimum: float | None = None
    maximum: float | None = None
    one_of: tuple[str, ...] = ()

    def holds(self, value: float | int | str | None) -> bool:
        """Tell whether `value` passes; a missing value never does."""
        if value is None:
            return False
        if self.one_of:
            return str(value) in self.one_of
        if isinstance(value, str):
            return False
        return (self.minimum is None or value >= self.minimum) and (self.maximum is None or value <= self.maximum)


class Challenger(Struct, frozen=True, kw_only=True):
    """Another model for the same triggers and labels: scored and learned, not served until it is promoted."""

    name: str
    features: tuple[str, ...] | None = None
    without: tuple[str, ...] = ()
    model: Mapping[str, Any]


class Objective(Struct, frozen=True, kw_only=True):
    """One thing to predict.

    Attributes
    ----------
    trigger, outcome
        Event types.
    match
        What trigger and outcome share: the item, the session, or just the user.
    window_ms
        An outcome counts from the trigger's event time up to and including this much later.
    grace_ms
        How much longer the window is held open in stream time for events out of order.
    labels
        "at_window_end": both classes are learned when the window has closed. "immediate": every
        trigger is learned as a negative at once and again as a positive when its outcome comes.
    credit
        "all": every open trigger that matches the outcome turns positive; "last": the latest only.
    when
        Conditions on the trigger.
    features, without
        The features its model sees: all, or those of ``features``, less those of ``without``.
    model
        Declaration of the model, see `online_models.estimators`.
    prior
        The score before anything is learned, and where its models begin; no part of what a model is.
    rule
        What somebody would write by hand, to be beaten in replays: (conditions, score), the first case
        that applies counts; the last has no conditions. Empty: nobody wrote one.
    calibration
        How the probabilities of its models are calibrated; None: not at all.
    challengers, promotion
        Models that run in the shadow of the one that is served, and when one of them takes its place.
    """

    name: str
    trigger: tuple[str, ...]
    outcome: tuple[str, ...]
    match: Match
    window_ms: int
    grace_ms: int = GRACE_MS
    labels: Labels = "at_window_end"
    credit: Credit = "all"
    when: tuple[Condition, ...] = ()
    features: tuple[str, ...] | None = None
    without: tuple[str, ...] = ()
    model: Mapping[str, Any]
    prior: float = 0.5
    rule: tuple[tuple[tuple[Condition, ...], float], ...] = ()
    calibration: Calibrating | None = None
    challengers: tuple[Challenger, ...] = ()
    promotion: Promoting = Promoting()

    @property
    def variants(self) -> dict[str, Objective]:
        """The declared model, whose name is empty, and the challengers: an objective of its own for each.

        `click~deep` is the challenger `deep` of `click` to whoever builds, learns and distributes models.
        """
        found = {"": self}
        for one in self.challengers:
            found[one.name] = structs.replace(
                self,
                name=variant_name(self.name, one.name),
                features=one.features,
                without=one.without,
                model=one.model,
                challengers=(),
            )
        return found

    @property
    def begins_at(self) -> float:
        """What its models say before they have learned: of immediate labels, what is corrected to `prior`."""
        return self.prior / (1.0 + self.prior) if self.labels == "immediate" else self.prior

    @property
    def closes_after_ms(self) -> int:
        """Event time from a trigger until stream time closes its window."""
        return self.window_ms + self.grace_ms

    def new_calibrator(self) -> Calibrator | None:
        """Return a calibrator that has learned nothing; None: the objective is not calibrated."""
        if self.calibration is None:
            return None
        # Immediate labels end a window without the features, and after the model has learned the trigger.
        by_said = self.labels == "immediate"
        return Calibrator(self.calibration, closes_after_ms=self.closes_after_ms, by_said=by_said)

    def feature_names(self, declared: Sequence[str]) -> list[str]:
        """Select, in order, the declared features that this objective's model sees."""
        chosen = declared if self.features is None else [name for name in declared if name in self.features]
        return [name for name in chosen if name not in self.without]


def variant_name(objective: str, variant: str) -> str:
    """Return the name under which a variant is learned and distributed."""
    return f"{objective}~{variant}" if variant else objective


def variant_of(variant_name: str) -> str:
    """Return the variant's own name; empty: the declared model."""
    return variant_name.partition("~")[2]


def declared_model(model: Mapping[str, Any], prior: float) -> Mapping[str, Any]:
    """Write into the declaration of a model of ours where it begins, so that it need not learn the base rate first."""
    if model["name"] in ("ftrl", "neural_net"):
        return {"intercept_init": log(prior / (1.0 - prior)), **model}
    return model


def objective_of(variant_name: str) -> str:
    """Return the objective whose examples a variant learns; the inverse of `variant_name`."""
    return variant_name.partition("~")[0]


_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,63}")
_KEYS = frozenset(
    (
        "trigger",
        "outcome",
        "match",
        "window",
        "grace",
        "labels",
        "credit",
        "when",
        "features",
        "without",
        "model",
        "prior",
        "rule",
        "calibration",
        "challengers",
        "promotion",
    )
)
# How people call the variant whose name is empty.
DECLARED = "declared"
_REQUIRED = "`trigger`, `outcome`, `match` and `window`"
_CHALLENGER_KEYS = frozenset(("model", "features", "without"))


def parse_objectives(declaration: object, *, features: FeatureSet) -> list[Objective]:
    """Read the `objectives:` section.

    Parameters
    ----------
    declaration
        Mapping of name to objective, as read from YAML.
    features
        The declared features.

    Raises
    ------
    ConfigError
        With the path of the wrong value below `objectives`.
    """
    if not isinstance(declaration, Mapping) or not declaration:
        raise ConfigError((), "Expected at least one objective, such as `click: {trigger: impression, outcome: click}`")
    return [_Reader(str(name), body, _KEYS).objective(features) for name, body in declaration.items()]


def parse_conditions(declared: object, features: FeatureSet) -> tuple[Condition, ...]:
    """Read a mapping of feature to test, as under ``when:``.

    Raises
    ------
    ConfigError
        With the path of the wrong value, below `targeting`.
    """
    return _Reader("targeting", {}, _KEYS).conditions(declared, features)


class _Reader:
    """Reads one objective's keys and says which of them is wrong."""

    def __init__(self, name: str, body: object, keys: frozenset[str], *, below: tuple[str, ...] = ()) -> None:
        self.name = name
        self._path = (*below, name)
        if not isinstance(body, Mapping):
            raise self.wrong(f"Expected a mapping with {'`model`' if below else _REQUIRED}")
        unknown = sorted(set(map(str, body)) - keys)
        if unknown:
            raise self.wrong(f"Unknown key; expected one of: {', '.join(sorted(keys))}", unknown[0])
        if not _NAME.fullmatch(name):  # names are part of keys, where / and : and ~ separate
            raise self.wrong("Expected a name of up to 64 letters, digits, underscores and dashes")
        self.body: Mapping[str, Any] = body

    def objective(self, features: FeatureSet) -> Objective:
        return Objective(
            name=self.name,
            trigger=self.event_types("trigger"),
            outcome=self.event_types("outcome"),
            match=self.choice("match", get_args(Match)),
            window_ms=self.duration("window", low=1, high=MAX_WINDOW_MS),
            grace_ms=self.duration("grace", low=0, high=MAX_WINDOW_MS, default=GRACE_MS),
            labels=self.choice("labels", get_args(Labels), default="at_window_end"),
            credit=self.choice("credit", get_args(Credit), default="all"),
            when=self.conditions(self.body.get("when", {}), features, "when"),
            **self.selection(features),
            model=self.model(),
            prior=self.prior(),
            rule=self.rule(features),
            calibration=self.calibration(features),
            challengers=self.challengers(features),
            promotion=self.promotion(),
        )

    def challengers(self, features: FeatureSet) -> tuple[Challenger, ...]:
        declared = self.body.get("challengers", {})
        if not isinstance(declared, Mapping):
            raise self.wrong("Expected a mapping of name to `{model: …, features: […], without: […]}`", "challengers")
        return tuple(self.challenger(str(name), body, features) for name, body in declared.items())

    def challenger(self, name: str, body: object, features: FeatureSet) -> Challenger:
        reader = _Reader(name, body, _CHALLENGER_KEYS, below=(self.name, "challengers"))
        if name == DECLARED:
            raise reader.wrong("This is how commands call the declared model; take another name")
        # What a challenger does not say is as in the objective.
        kept = {key: self.body[key] for key in (*_CHALLENGER_KEYS, "prior") if key in self.body}
        reader.body = {**kept, **reader.body}
        return Challenger(name=name, model=reader.model(), **reader.selection(features))

    def calibration(self, features: FeatureSet) -> Calibrating | None:
        if "calibration" not in self.body:
            return None
        calibrating = self.converted("calibration", Calibrating)
        if calibrating.by is not None:
            try:
                kind = features.condition_kind(calibrating.by)
            except ConfigError as error:
                raise self.wrong(error.message, "calibration", "by") from None
            if kind == "number":
                raise self.wrong(f"{calibrating.by!r} is a number; expected a category", "calibration", "by")
        return calibrating

    def converted(self, key: str, kind: type[_T]) -> _T:
        try:
            return convert(self.body.get(key, {}), kind)
        except ValidationError as error:
            raise self.wrong(str(error).replace(" - at `$", f" - at `{key}"), key) from None

    def promotion(self) -> Promoting:
        if self.body.get("promotion") and not self.body.get("challengers"):
            raise self.wrong("There are no `challengers` to promote", "promotion")
        promoting = self.converted("promotion", Promoting)
        if not 0.0 < promoting.false_promotions <= 0.5:
            raise self.wrong("Expected a probability above 0, of at most 0.5", "promotion", "false_promotions")
        if promoting.after < 0:
            raise self.wrong("Expected a number of judged triggers", "promotion", "after")
        return promoting

    def selection(self, features: FeatureSet) -> dict[str, Any]:
        return {
            "features": self.names("features", features.names) if "features" in self.body else None,
            "without": self.names("without", features.names) if "without" in self.body else (),
        }

    def wrong(self, message: str, *path: str | int) -> ConfigError:
        return ConfigError((*self._path, *path), message)

    def required(self, key: str) -> Any:
        if key not in self.body:
            raise self.wrong(f"`{key}` is missing")
        return self.body[key]

    def strings(self, key: str, value: object) -> tuple[str, ...]:
        values = value if isinstance(value, list) else [value]
        if not values or not all(isinstance(one, str) for one in values):
            raise self.wrong("Expected a name or a list of names", key)
        return tuple(values)

    def event_types(self, key: str) -> tuple[str, ...]:
        types = self.strings(key, self.required(key))
        for one in types:
            if one not in EVENT_TYPES:
                raise self.wrong(f"Unknown event type {one!r}; expected one of: {', '.join(EVENT_TYPES)}", key)
        if len(set(types)) < len(types):
            raise self.wrong("An event type stands here twice; keep one", key)
        return types

    def choice(self, key: str, allowed: tuple[str, ...], default: str | None = None) -> Any:
        value = self.required(key) if default is None else self.body.get(key, default)
        if value not in allowed:
            raise self.wrong(f"Expected one of {', '.join(allowed)}, got {value!r}", key)
        return value

    def duration(self, key: str, *, low: int, high: int, default: int | None = None) -> int:
        if default is not None and key not in self.body:
            return default
        try:
            value = parse_duration_ms(self.required(key))
        except ValueError as error:
            raise self.wrong(str(error), key) from None
        if not low <= value <= high:
            raise self.wrong(f"Expected a duration from {low} ms to {high // 86_400_000} days, got {value} ms", key)
        return value

    def names(self, key: str, features: Sequence[str]) -> tuple[str, ...]:
        chosen = self.strings(key, self.body[key])
        for name in chosen:
            if name not in features:
                raise self.wrong(f"No feature is called {name!r}", key)
        return chosen

    def conditions(self, declared: object, features: FeatureSet, *path: str | int) -> tuple[Condition, ...]:
        if not isinstance(declared, Mapping):
            raise self.wrong("Expected a mapping of feature to test, such as `visit_views: {min: 2}`", *path)
        return tuple(self.condition(str(name), test, features, *path) for name, test in declared.items())

    def condition(self, name: str, test: object, features: FeatureSet, *path: str | int) -> Condition:
        try:
            kind = features.condition_kind(name)
        except ConfigError as error:
            raise self.wrong(error.message, *path, name) from None
        if not isinstance(test, Mapping) or not test or set(test) - {"min", "max", "in"}:
            raise self.wrong("Expected `{min: …}`, `{max: …}`, both, or `{in: […]}`", *path, name)
        if ("in" in test) == (kind == "number"):
            raise self.wrong(
                f"{name!r} is a {kind}; expected `min` or `max` for numbers, `in` for categories", *path, name
            )
        accepted = test.get("in", [])
        if not isinstance(accepted, list):
            raise self.wrong("Expected a list", *path, name, "in")
        for bound in ("min", "max"):
            if bound in test and (isinstance(test[bound], bool) or not isinstance(test[bound], int | float)):
                raise self.wrong("Expected a number", *path, name, bound)
            if not isfinite(test.get(bound, 0)):
                raise self.wrong("Expected a finite number; leave it out for none", *path, name, bound)
        for index, one in enumerate(accepted):
            if not isinstance(one, str | int | float):
                raise self.wrong(f"Expected a text or a number, got {one!r}", *path, name, "in", index)
        if "in" in test and not accepted:
            raise self.wrong("Expected at least one value; with none it never holds", *path, name, "in")
        if test.get("min", -inf) > test.get("max", inf):
            raise self.wrong("`min` is above `max`; so it never holds", *path, name)
        return Condition(name, test.get("min"), test.get("max"), tuple(str(normalized(one)) for one in accepted))

    def model(self) -> Mapping[str, Any]:
        model = self.body.get("model", {"name": "ftrl"})
        if not isinstance(model, Mapping) or not isinstance(model.get("name"), str):
            raise self.wrong("Expected a mapping with a `name`, such as `{name: ftrl, alpha: 0.05}`", "model")
        return model

    def rule(self, features: FeatureSet) -> tuple[tuple[tuple[Condition, ...], float], ...]:
        declared = self.body.get("rule", [])
        if not isinstance(declared, list):
            raise self.wrong("Expected a list of cases, such as `- {when: {clicks: {min: 3}}, score: 0.2}`", "rule")
        cases = [self.case(number, case, features) for number, case in enumerate(declared)]
        for number, (tests, _) in enumerate(cases):
            last = number == len(cases) - 1
            if last and tests:
                raise self.wrong("Expected a last case without `when`, for everybody else", "rule", number)
            if not last and not tests:
                raise self.wrong("This case applies to everybody; those below it would never count", "rule", number)
        return tuple(cases)

    def case(self, number: int, case: object, features: FeatureSet) -> tuple[tuple[Condition, ...], float]:
        if not isinstance(case, Mapping) or set(case) - {"when", "score"} or "score" not in case:
            raise self.wrong("Expected `score`, and `when` for all cases but the last", "rule", number)
        score = case["score"]
        if isinstance(score, bool) or not isinstance(score, int | float) or not 0.0 < score < 1.0:
            raise self.wrong("Expected a probability above 0 and below 1", "rule", number, "score")
        return self.conditions(case.get("when", {}), features, "rule", number, "when"), float(score)

    def prior(self) -> float:
        value = self.body.get("prior", 0.5)
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0.0 < value < 1.0:
            raise self.wrong("Expected a probability above 0 and below 1", "prior")
        return float(value)
