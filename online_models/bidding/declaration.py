"""The section `bidding:` of the configuration: that bid requests are answered, and by which rules."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from msgspec import Struct

from online_models.bidding.pacing import build_pacer
from online_models.bidding.price_curve import PriceRules
from online_models.errors import ConfigError
from online_models.features import FeatureSet
from online_models.features.durations import parse_duration_ms
from online_models.objectives import Objective
from schemas.campaigns import Campaign

HOUR_MS = 3_600_000
# As of `PriceRules`: prices follow the hour of the day less than the market follows the month.
PRICE_HALF_LIFE_MS = 24 * HOUR_MS
# Exchanges tell of a win when the ad is rendered: within seconds mostly, at most some minutes after the bid.
NOTICE_WINDOW_MS = 5 * 60_000
# So long a repeated notice is known, and a late one is booked.
REMEMBER_MS = 24 * HOUR_MS
DEFAULT_PACER = "even"
# What a day's spend follows: the clock, the traffic that was eligible on the days before, or its value.
PLANS = ("even", "traffic", "value")

KEYS = ("campaigns", "click", "conversion", "pacers", "slices", "price_half_life", "notice_window")


class Bidding(Struct, frozen=True, kw_only=True):
    """How bid requests are answered.

    Attributes
    ----------
    click, conversion
        Objectives of campaigns that name none.
    pacers
        By name; the first is that of campaigns that name none.
    slices
        Features whose values tell apart where prices are learned.
    price_half_life_ms
        By which the win-price model forgets, event time.
    notice_window_ms
        After that a bid without a notice counts as lost, and what it had reserved is free; by stream time and Kafka's
        timestamps, see `online_models.bidding.desk`.
    campaigns
        Those of the configuration's file; a record on the topic `campaigns` takes the place of one.
    """

    click: str | None = None
    conversion: str | None = None
    pacers: Mapping[str, Mapping[str, Any]]
    slices: tuple[str, ...] = ()
    price_half_life_ms: int = PRICE_HALF_LIFE_MS
    notice_window_ms: int = NOTICE_WINDOW_MS
    campaigns: tuple[Campaign, ...] = ()

    @property
    def price_rules(self) -> PriceRules:
        """What learner and readers of win prices agree on."""
        return PriceRules(half_life_ms=self.price_half_life_ms)

    @property
    def pacer_names(self) -> list[str]:
        """In the order of their declaration."""
        return list(self.pacers)


def parse_bidding(
    declaration: object,
    *,
    features: FeatureSet,
    objectives: Sequence[Objective],
) -> Bidding:
    """Read the `bidding:` section; what stands under `campaigns` is for whoever can read files.

    Raises
    ------
    ConfigError
        With the path of the wrong value below `bidding`.
    """
    if not isinstance(declaration, Mapping):
        raise ConfigError((), "Expected a mapping, such as `{click: ad_click, pacers: {even: {kind: pid}}}`")
    for key in declaration:
        if key not in KEYS:
            raise ConfigError((str(key),), f"Unknown key; expected one of: {', '.join(KEYS)}")
    names = [one.name for one in objectives]
    for key in ("click", "conversion"):
        if declaration.get(key) is not None and declaration[key] not in names:
            raise ConfigError((key,), f"No objective is called {declaration[key]!r}; declared: {', '.join(names)}")
    return Bidding(
        click=declaration.get("click"),
        conversion=declaration.get("conversion"),
        pacers=_pacers(declaration.get("pacers")),
        slices=_slices(declaration.get("slices", []), features),
        price_half_life_ms=_duration(declaration, "price_half_life", PRICE_HALF_LIFE_MS),
        notice_window_ms=_duration(declaration, "notice_window", NOTICE_WINDOW_MS),
    )


def _pacers(declared: object) -> Mapping[str, Mapping[str, Any]]:
    if declared is None:
        return {DEFAULT_PACER: {}}
    if not isinstance(declared, Mapping) or not declared:
        raise ConfigError(("pacers",), "Expected a mapping of name to pacer, such as `even: {kind: pid}`")
    for name, body in declared.items():
        if not isinstance(body, Mapping):
            raise ConfigError(("pacers", str(name)), "Expected a mapping, such as `{kind: pid}`")
        if body.get("plan", PLANS[0]) not in PLANS:
            raise ConfigError(("pacers", str(name), "plan"), f"Expected one of: {', '.join(PLANS)}")
        try:
            build_pacer(without_plan(body))
        except ConfigError as error:
            raise error.under("pacers", str(name)) from None
    return {str(name): dict(body) for name, body in declared.items()}


def without_plan(pacer: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a declared pacer says beside the plan that it keeps to."""
    return {key: value for key, value in pacer.items() if key != "plan"}


def _slices(declared: object, features: FeatureSet) -> tuple[str, ...]:
    names: list[Any] = declared if isinstance(declared, list) else [declared]
    for name in names:
        if not isinstance(name, str):
            raise ConfigError(("slices",), f"Expected names of features, such as `[width, hour]`, got {name!r}")
        try:
            features.position(name)
        except ConfigError as error:
            raise error.under("slices") from None
    return tuple(names)


def _duration(declaration: Mapping[str, Any], key: str, default: int) -> int:
    if key not in declaration:
        return default
    try:
        found = parse_duration_ms(declaration[key])
    except ValueError as error:
        raise ConfigError((key,), str(error)) from None
    if found < 1_000:
        raise ConfigError((key,), "Expected at least one second")
    return found
