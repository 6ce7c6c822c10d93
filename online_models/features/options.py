"""Reads the declaration of one feature, key by key, and says which key is wrong.

Every option that is read, defaults included, is kept in `canonical`: the hash of the configuration is made of it,
so that writing a default out, or ``60m`` for ``1h``, changes nothing.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

from online_models.errors import ConfigError
from online_models.features.durations import parse_duration_ms
from online_models.features.plan import SlotTable
from schemas.events import EVENT_TYPES

MAX_WINDOW_MS = 366 * 86_400_000
# Heights of decayed sums (see `decay`) stay exact to 1e-9 down to here.
MIN_HALF_LIFE_MS = 60_000


class Defaults:
    """What is declared once for all features, under the reserved name `defaults`.

    Attributes
    ----------
    inactivity_ms
        A session without a session_id ends after this long without an event.
    tz_offset_min
        UTC offset of visitors whose events do not tell theirs.
    """

    def __init__(self, inactivity_ms: int = 30 * 60_000, tz_offset_min: int = 0) -> None:
        self.inactivity_ms = inactivity_ms
        self.tz_offset_min = tz_offset_min


class Options:
    """One feature's declaration.

    Parameters
    ----------
    path
        Where it stands in the configuration, if not under `features:`.

    Attributes
    ----------
    rests_on
        Identities of what else decides its value, such as that of the sessions.
    """

    def __init__(
        self,
        name: str,
        body: Mapping[str, Any],
        slots: SlotTable,
        defaults: Defaults,
        *,
        path: tuple[str, ...] | None = None,
    ) -> None:
        self.name = name
        self._path = path or ("features", name)
        self.slots = slots
        self.defaults = defaults
        self.canonical: dict[str, Any] = {}
        self.rests_on: list[str] = []
        self._body = body
        self._known: dict[str, None] = {}

    def error(self, message: str, *keys: str | int) -> ConfigError:
        """Make the error for a value of this feature."""
        return ConfigError((*self._path, *keys), message)

    def has(self, key: str) -> bool:
        """Tell whether `key` is declared; from now on it is a known key."""
        self._known[key] = None
        return self._body.get(key) is not None

    def refuse_unknown(self) -> None:
        """Raise for the first declared key that nobody has asked for."""
        for key in self._body:
            if key not in self._known:
                raise self.error(f"Unknown key; expected one of: {', '.join(self._known)}", str(key))

    def raw(self, key: str) -> Any:
        """Return the value as declared; raise if there is none."""
        if not self.has(key):
            raise self.error(f"`{key}` is missing", key)
        return self._body[key]

    def choice(self, key: str, allowed: Iterable[str], default: str | None = None) -> str:
        """Read one of a few words."""
        value = self.raw(key) if default is None or self.has(key) else default
        if value not in (allowed := tuple(allowed)):
            raise self.error(f"Expected one of: {', '.join(allowed)}; got {value!r}", key)
        self.canonical[key] = value
        return str(value)

    def flag(self, key: str, default: bool) -> bool:
        """Read true or false."""
        value = self.raw(key) if self.has(key) else default
        if not isinstance(value, bool):
            raise self.error(f"Expected true or false, got {value!r}", key)
        self.canonical[key] = value
        return value

    def integer(self, key: str, default: int, low: int, high: int) -> int:
        """Read a whole number."""
        value = self.raw(key) if self.has(key) else default
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise self.error(f"Expected a whole number from {low} to {high}, got {value!r}", key)
        self.canonical[key] = value
        return value

    def duration(
        self, key: str, default_ms: int | None = None, low_ms: int = 1_000, high_ms: int = MAX_WINDOW_MS
    ) -> int:
        """Read a duration in ms; required if it has no default."""
        if default_ms is not None and not self.has(key):
            value = default_ms
        else:
            try:
                value = parse_duration_ms(self.raw(key))
            except ValueError as error:
                raise self.error(str(error), key) from None
        if not low_ms <= value <= high_ms:
            raise self.error(
                f"Expected a duration from {_written(low_ms)} to {_written(high_ms)}, got {self._body.get(key)!r}", key
            )
        self.canonical[key] = value
        return value

    def half_life(self, default_ms: int | None = None) -> int:
        """Read `half_life` in ms; required if it has no default."""
        return self.duration("half_life", default_ms, low_ms=MIN_HALF_LIFE_MS)

    def event_types(self, key: str, default: tuple[str, ...] | None = None) -> tuple[str, ...]:
        """Read an event type or a list of them; sorted."""
        value = self.raw(key) if default is None or self.has(key) else list(default)
        types = value if isinstance(value, list) else [value]
        if not types:
            raise self.error(f"Expected at least one event type of: {', '.join(EVENT_TYPES)}", key)
        for index, one in enumerate(types):
            place = (key, index) if isinstance(value, list) else (key,)
            if one not in EVENT_TYPES:
                raise self.error(f"Unknown event type {one!r}; expected one of: {', '.join(EVENT_TYPES)}", *place)
            if one in types[:index]:
                raise self.error(f"Event type {one!r} stands here twice; keep one", *place)
        self.canonical[key] = sorted(types)
        return tuple(sorted(types))

    def mapping(self, key: str) -> Mapping[str, Any]:
        """Read a mapping; the caller checks and keeps its content."""
        value = self.raw(key)
        if not isinstance(value, Mapping):
            raise self.error(f"Expected a mapping, got {value!r}", key)
        return value

    def number_in(
        self, value: object, *place: str | int, unit_ms: int | None = None, low: float | None = None
    ) -> float:
        """Read a finite number; in features that measure time also a duration, taken to the feature's unit."""
        if unit_ms and isinstance(value, str):
            try:
                return parse_duration_ms(value) / unit_ms
            except ValueError as error:
                raise self.error(str(error), *place) from None
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            raise self.error(f"Expected a number{' or a duration' if unit_ms else ''}, got {value!r}", *place)
        if low is not None and value < low:
            raise self.error(f"Expected a number of at least {low:g}, got {value!r}", *place)
        return float(value)


def _written(ms: int) -> str:
    for unit, size in (("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000)):
        if ms % size == 0:
            return f"{ms // size}{unit}"
    return f"{ms}ms"
