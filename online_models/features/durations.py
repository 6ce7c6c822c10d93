"""Durations as people write them: ``30m``, ``7d``, ``1h30m``."""

from __future__ import annotations

import re

UNITS_MS: dict[str, int] = {
    "ms": 1,
    "s": 1_000,
    "m": 60_000,
    "h": 3_600_000,
    "d": 86_400_000,
    "w": 7 * 86_400_000,
}
_PART = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|m|h|d|w)\s*")
_EXPECTED = "Expected a duration such as 30s, 15m, 1h30m, 7d or 2w"
# A thousand years; larger numbers are slips, and would not fit a timestamp.
MAX_MS = 365_000 * UNITS_MS["d"]


def parse_duration_ms(value: object) -> int:
    """Read a duration.

    Parameters
    ----------
    value
        One or more numbers with a unit (ms, s, m, h, d, w). A bare number is refused, because its unit
        would be a guess; only 0 needs none.

    Returns
    -------
    int
        Milliseconds, >= 0.

    Raises
    ------
    ValueError
        With a message that says what was expected.

    Examples
    --------
    >>> parse_duration_ms("1h30m")
    5400000
    """
    if value == 0 and not isinstance(value, bool | float):
        return 0
    if not isinstance(value, str):
        raise ValueError(f"{_EXPECTED}, got {value!r}")
    text = value.strip()
    parts = list(_PART.finditer(text))
    if text == "0":
        return 0
    if not parts or "".join(part.group(0) for part in parts) != text:
        raise ValueError(f"{_EXPECTED}, got {value!r}")
    total_ms = round(sum(float(part.group(1)) * UNITS_MS[part.group(2)] for part in parts))
    if total_ms > MAX_MS:
        raise ValueError(f"{_EXPECTED}, got {value!r}, which is too long")
    return total_ms
