"""Item and context: the event's own fields, and the visitor's local time."""

from __future__ import annotations

import math
from typing import Any

from online_models.features.fields import (
    NUMBER_FIELDS,
    PROPERTIES,
    TEXT_FIELDS,
    field_source,
)
from online_models.features.options import Options
from online_models.features.plan import Read, Reading, Slots

WEEKDAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_MINUTE_MS = 60_000
_HOUR_MIN = 60
_DAY_MIN = 1440
# 1970-01-01 was a Thursday.
_EPOCH_WEEKDAY = 3
# What candidates of a ranking differ in, beside properties.
_OF_ITEM = ("item_id", "category", "price")
# Number fields that the schema keeps within a thousand.
_MODERATE = ("depth", "propensity", "tz_offset_min")
# The site's own numbers are taken to lie within this, in which nanoseconds since 1970 are as well: a cross of three of
# them, times a weight, is far from the end of a double. All other numbers are bounded by the schema.
MOST_OF_PROPERTY = 2.0**63


def field(options: Options) -> Reading:
    """``{field: NAME | properties.NAME, numeric: true | false}``: a field of the event.

    Number fields are numeric and all others categorical, unless `numeric` says otherwise.
    """
    name = options.raw("field")
    if not isinstance(name, str) or not _allowed(name):
        allowed = ", ".join((*TEXT_FIELDS, *NUMBER_FIELDS, "properties.NAME"))
        raise options.error(f"Unknown field {name!r}; expected one of: {allowed}", "field")
    options.canonical["field"] = name
    numeric = options.flag("numeric", name in NUMBER_FIELDS)
    if numeric and name in TEXT_FIELDS:
        raise options.error(f"`{name}` is text; it can only be categorical", "numeric")
    if name.startswith(PROPERTIES):
        read = _read_property(name.removeprefix(PROPERTIES))
        if numeric:
            return Reading(
                "number", lambda slots, event, now: finite_number(read(slots, event, now)), signed=True, jumps=True
            )
        return Reading("category", read, mixed=True)
    of_item = name in _OF_ITEM
    if numeric:  # finite and in bounds: the codec lets nothing else through
        return Reading(
            "number",
            expression=field_source(name),
            signed=name == "tz_offset_min",
            of_item=of_item,
            jumps=name not in _MODERATE,
        )
    if name in TEXT_FIELDS:
        return Reading("category", expression=field_source(name), max_chars=TEXT_FIELDS[name], of_item=of_item)
    return Reading("category", expression=field_source(name), mixed=True, of_item=of_item)


def _allowed(name: str) -> bool:
    return name in TEXT_FIELDS or name in NUMBER_FIELDS or (name.startswith(PROPERTIES) and len(name) > len(PROPERTIES))


def _read_property(key: str) -> Read:
    def read(slots: Slots, event: Any, now: int) -> Any:
        properties = event.properties
        return None if properties is None else properties.get(key)

    return read


def finite_number(value: Any) -> float | int | None:
    """Return a number within `MOST_OF_PROPERTY`, a bool as 0 or 1, and None for whatever is no finite number.

    Examples
    --------
    >>> [finite_number(x) for x in (3, True, "3", float("nan"), -1e308)]
    [3, 1, None, None, -9.223372036854776e+18]
    """
    if type(value) is int:
        # Beyond 64 bits it can neither be packed nor, much beyond, made a float.
        return value if -(2**63) <= value < 2**63 else None
    if type(value) is float:
        if -MOST_OF_PROPERTY <= value <= MOST_OF_PROPERTY:
            return value
        return math.copysign(MOST_OF_PROPERTY, value) if math.isfinite(value) else None
    return int(value) if isinstance(value, bool) else None


def hour(options: Options) -> Reading:
    """``{hour: cyclic | categorical}``: hour of the visitor's day, 0 to 23."""
    return _local_time(options, "hour", f"{{}} % {_DAY_MIN} // {_HOUR_MIN}", tuple(map(str, range(24))))


def weekday(options: Options) -> Reading:
    """``{weekday: cyclic | categorical}``: the visitor's day of the week."""
    return _local_time(options, "weekday", f"({{}} // {_DAY_MIN} + {_EPOCH_WEEKDAY}) % 7", WEEKDAYS)


def _local_time(options: Options, family: str, of_minute: str, labels: tuple[str, ...]) -> Reading:
    """Make the reading from `of_minute`, source with {} for the local minutes since 1970."""
    kind = options.choice(family, ("cyclic", "categorical"))
    offset = f"({options.defaults.tz_offset_min} if event.tz_offset_min is None else event.tz_offset_min)"
    source = of_minute.format(f"(ts // {_MINUTE_MS} + {offset})")
    if kind == "cyclic":
        return Reading("cycle", expression=source, always=True, period=len(labels), labels=labels, of_item=False)
    return Reading("category", expression=source, always=True, labels=labels, of_item=False)


FAMILIES = {"field": field, "hour": hour, "weekday": weekday}
