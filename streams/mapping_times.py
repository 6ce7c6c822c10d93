"""How a mapping file reads times: epoch numbers, ISO 8601, patterns, or a clock for files without any."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from online_models.errors import ConfigError
from schemas.codec import MAX_TS_MS, MIN_TS_MS, epoch_ms

ReadTime = Callable[[Any], int]

_UNITS_PER_MS = {"epoch_s": 0.001, "epoch_ms": 1, "epoch_us": 1_000, "epoch_ns": 1_000_000}
FORMATS = (*_UNITS_PER_MS, "iso")


def compile_time(time_format: str, zone: str | None) -> ReadTime:
    """Return a function from a value to epoch milliseconds.

    Parameters
    ----------
    time_format
        ``epoch_s``, ``epoch_ms``, ``epoch_us``, ``epoch_ns``, ``iso`` (ISO 8601, which RFC 3339 is
        part of), or a `strptime` pattern with ``%`` in it.
    zone
        For times without an offset: an IANA name, ``UTC`` or an offset such as ``+02:00``.

    Raises
    ------
    ConfigError
        Its path is relative to the declaration: ``format`` or ``timezone``.

    Examples
    --------
    >>> compile_time("epoch_s", None)("1506826800.5")
    1506826800500
    >>> compile_time("%d.%m.%Y %H:%M", "+02:00")("01.10.2017 05:00")
    1506826800000
    """
    tz = _zone(zone) if zone is not None else None
    if time_format in _UNITS_PER_MS:
        if tz is not None:
            raise ConfigError(("timezone",), f"`{time_format}` counts in UTC already; remove the timezone")
        return _checked(_epoch(_UNITS_PER_MS[time_format]))
    if time_format == "iso":
        return _checked(_calendar(datetime.fromisoformat, tz, "an ISO 8601 time"))
    if "%" in time_format:
        return _checked(_calendar(lambda text: datetime.strptime(text, time_format), tz, f"a time like {time_format}"))
    raise ConfigError(("format",), f"Expected {', '.join(FORMATS)} or a pattern such as '%Y-%m-%d %H:%M:%S'")


def compile_clock(start: Any, step_ms: Any) -> Callable[[int], int]:
    """Return a function from a line number to a made-up time, for files that hold none."""
    if isinstance(step_ms, bool) or not isinstance(step_ms, int) or step_ms < 1:
        raise ConfigError(("step_ms",), "Expected whole milliseconds >= 1 between two lines")
    try:
        moment = start if isinstance(start, datetime) else datetime.fromisoformat(start)
    except (TypeError, ValueError):
        raise ConfigError(("start",), "Expected a time such as 2024-01-01T00:00:00Z") from None
    first_ms = epoch_ms(moment if moment.tzinfo else moment.replace(tzinfo=UTC))
    return lambda line: first_ms + line * step_ms


def check_range(ts_ms: int) -> int:
    """Return `ts_ms` if it can be the time of an event; raises ValueError."""
    if ts_ms < MIN_TS_MS:
        raise ValueError("this is before the year 2000; is the `format` of `ts` right (epoch_s, epoch_ms, epoch_us)?")
    if ts_ms > MAX_TS_MS:
        raise ValueError("this is after the year 2100; is the `format` of `ts` right (epoch_s, epoch_ms, epoch_us)?")
    return ts_ms


def _checked(read: ReadTime) -> ReadTime:
    def checked(value: Any) -> int:
        ts_ms = read(value)
        # Twice the range check, but a call less in the common case.
        return ts_ms if MIN_TS_MS <= ts_ms <= MAX_TS_MS else check_range(ts_ms)

    return checked


def _epoch(units_per_ms: float) -> ReadTime:
    def read(value: Any) -> int:
        try:
            number = int(value) if not isinstance(value, float) else value
        except (ValueError, TypeError):
            number = _number(value)
        if units_per_ms == 1 and isinstance(number, int):
            return number
        if units_per_ms > 1 and isinstance(number, int):
            return number // int(units_per_ms)
        try:
            return round(number / units_per_ms)
        except (OverflowError, ValueError):
            raise ValueError("Expected a finite number") from None

    return read


def _number(value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        raise ValueError("Expected an epoch number; for text such as 2017-10-01T03:00:00Z use `format: iso`") from None


def _calendar(parse: Callable[[str], datetime], tz: tzinfo | None, expected: str) -> ReadTime:
    def read(value: Any) -> int:
        try:
            moment = parse(value)
        except (TypeError, ValueError):
            raise ValueError(f"Expected {expected}") from None
        if moment.tzinfo is None:
            if tz is None:
                raise ValueError("Expected a UTC offset; say `timezone:` in the mapping for times without one")
            moment = moment.replace(tzinfo=tz)
        return epoch_ms(moment)

    return read


def _zone(name: str) -> tzinfo:
    try:
        if name[:1] in "+-":
            sign = -1 if name[0] == "-" else 1
            hours, _, minutes = name[1:].partition(":")
            return timezone(sign * timedelta(hours=int(hours), minutes=int(minutes or 0)))
        return UTC if name.upper() == "UTC" else ZoneInfo(name)
    except (ValueError, ZoneInfoNotFoundError, OSError):
        raise ConfigError(("timezone",), "Expected an offset such as +02:00 or a name such as Europe/Berlin") from None
