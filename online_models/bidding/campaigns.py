"""Campaigns as bidders see them: checked against the configuration, their days and conditions resolved."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

from online_models.bidding.declaration import Bidding
from online_models.bidding.money import micros_of, per_impression
from online_models.errors import ConfigError
from online_models.features import FeatureSet
from online_models.features.durations import parse_duration_ms
from online_models.objectives import Objective, parse_conditions
from schemas.campaigns import Campaign

DAY_MS = 86_400_000
# Why a campaign does not bid at all.
PAUSED, NOT_YET, OVER = "paused", "flight_not_begun", "flight_over"
TARGETING = "targeting"
# Impressions of this long ago are not kept with the visitor.
MAX_CAP_WINDOW_MS = 30 * DAY_MS


class Checked(NamedTuple):
    """A campaign that may bid.

    Attributes
    ----------
    click, conversion
        Names of the objectives that are asked; None: clicks are what is paid for.
    worth
        Of a click, or of a conversion, in currency.
    looks_at_item
        A condition may depend on the ad.
    conditions
        (position among the feature values, test) of the targeting.
    low, high
        Bounds of the bid, currency for one impression.
    budget
        Of a day, in micros.
    pacer
        Its number among the declared ones.
    """

    name: str
    declared: Campaign
    click: str
    conversion: str | None
    worth: float
    conditions: tuple[tuple[int, Callable[[Any], bool]], ...]
    low: float
    high: float
    budget: int
    cap_window_ms: int
    pacer: int
    looks_at_item: bool

    def day(self, ts: int) -> str:
        """Return the campaign's day at an event time, as ``2026-11-26``."""
        return day_of(ts, self.declared.tz_offset_min)

    def why_not_on(self, day: str) -> str | None:
        """Tell why the campaign does not run on a day; None: it runs."""
        declared = self.declared
        if not declared.active:
            return PAUSED
        if declared.starts is not None and day < declared.starts.isoformat():
            return NOT_YET
        if declared.ends is not None and day > declared.ends.isoformat():
            return OVER
        return None

    def is_meant(self, values: Sequence[Any]) -> bool:
        """Tell whether a request with these feature values is what the campaign wants."""
        return all(holds(values[position]) for position, holds in self.conditions)


def day_of(ts: int, tz_offset_min: int) -> str:
    """Return the day at an event time, epoch ms, where the clock is so many minutes ahead of UTC.

    >>> day_of(1_700_000_000_000, 0), day_of(1_700_000_000_000, 120)
    ('2023-11-14', '2023-11-15')
    """
    return datetime.fromtimestamp((ts + tz_offset_min * 60_000) / 1000, UTC).date().isoformat()


def check_campaign(
    declared: Campaign, bidding: Bidding, *, features: FeatureSet, objectives: Sequence[Objective]
) -> Checked:
    """Check a campaign against the configuration.

    Raises
    ------
    ConfigError
        With the path of the wrong value within the campaign.
    """
    by_click, by_conversion = declared.value_per_click, declared.value_per_conversion
    if (by_click is None) == (by_conversion is None):
        raise ConfigError(("value_per_click",), "Expected either `value_per_click` or `value_per_conversion`")
    if by_conversion is None and declared.conversion is not None:
        raise ConfigError(("conversion",), "Clicks are paid for here; with `value_per_conversion` orders would be")
    if not micros_of(declared.budget_per_day):
        raise ConfigError(("budget_per_day",), "Expected at least a millionth")
    if declared.min_bid_cpm > declared.max_bid_cpm:
        raise ConfigError(("min_bid_cpm",), "Expected at most `max_bid_cpm`")
    if declared.starts and declared.ends and declared.starts > declared.ends:
        raise ConfigError(("ends",), "Expected a day not before `starts`")
    names = [one.name for one in objectives]
    conditions = parse_conditions(declared.targeting, features)
    return Checked(
        name=declared.campaign,
        declared=declared,
        click=_objective(declared.click or bidding.click, "click", names),
        conversion=None
        if by_conversion is None
        else _objective(declared.conversion or bidding.conversion, "conversion", names),
        worth=by_click if by_click is not None else by_conversion or 0.0,
        conditions=tuple((features.position(one.feature), one.holds) for one in conditions),
        low=per_impression(declared.min_bid_cpm),
        high=per_impression(declared.max_bid_cpm),
        budget=micros_of(declared.budget_per_day),
        cap_window_ms=_cap_window(declared),
        pacer=_pacer(declared.pacer, bidding.pacer_names),
        looks_at_item=any(features.depends_on_item(one.feature) for one in conditions),
    )


def _objective(name: str | None, key: str, names: Sequence[str]) -> str:
    if name is None:
        raise ConfigError((key,), f"Expected the name of an objective, here or as `bidding: {{{key}: …}}`")
    if name not in names:
        raise ConfigError((key,), f"No objective is called {name!r}; declared: {', '.join(names)}")
    return name


def _cap_window(declared: Campaign) -> int:
    if declared.cap is None:
        return 0
    try:
        window_ms = parse_duration_ms(declared.cap.window)
    except ValueError as error:
        raise ConfigError(("cap", "window"), str(error)) from None
    if not 0 < window_ms <= MAX_CAP_WINDOW_MS:
        raise ConfigError(("cap", "window"), f"Expected a duration of up to {MAX_CAP_WINDOW_MS // DAY_MS} days")
    return window_ms


def _pacer(name: str | None, names: Sequence[str]) -> int:
    if name is None:
        return 0
    if name not in names:
        raise ConfigError(("pacer",), f"No pacer is called {name!r}; declared: {', '.join(names)}")
    return names.index(name)
