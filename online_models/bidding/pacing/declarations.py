"""The pacer that a campaign declares under `pacing:`."""

from __future__ import annotations

from collections.abc import Mapping
from math import isfinite
from typing import Any

from online_models.bidding.pacing.base import Bounds, Pacer
from online_models.bidding.pacing.dual import DualPacer
from online_models.bidding.pacing.layers import LayersPacer
from online_models.bidding.pacing.pid import PidPacer
from online_models.bidding.pacing.throttle import ThrottlePacer
from online_models.errors import ConfigError
from online_models.features.durations import parse_duration_ms

DEFAULT_KIND = "dual"
_KEYS: dict[str, tuple[str, ...]] = {
    "dual": ("kind", "start", "least", "most", "step"),
    "pid": ("kind", "start", "least", "most", "every", "kp", "ki", "kd"),
    "throttle": ("kind", "multiplier", "most", "every", "step"),
    "layers": ("kind", "multiplier", "most", "every", "gain", "layers"),
}
KINDS = tuple(_KEYS)
# Chosen on the first half of iPinYou 1458 and on made-up markets, see docs/bidding.md.
DUAL_STEP = 0.2
PID_GAINS = {"kp": 0.1, "ki": 0.1, "kd": 0.0}
THROTTLE_STEP = 0.1  # the paper's
LAYERS_GAIN = 0.2
LAYERS = 10
EVERY = "1m"
_SHORTEST_MS, _LONGEST_MS = 1_000, 3_600_000
# Wider bounds are slips; their logarithms and products stay far from what a float holds.
_SMALLEST, _LARGEST = 1e-9, 1e9


def build_pacer(declaration: Mapping[str, Any]) -> Pacer:
    """Return the pacer that a declaration asks for.

    Parameters
    ----------
    declaration
        As read from YAML, such as `{kind: dual, most: 1.0}`; without `kind` it is `dual`.

    Raises
    ------
    ConfigError
        With the path of the wrong value below the declaration.

    Examples
    --------
    >>> build_pacer({"kind": "throttle", "multiplier": 0.8}).pace
    Pace(multiplier=0.8, edges=(), rates=(1.0,))
    """
    if not isinstance(declaration, Mapping):
        raise ConfigError((), "Expected a mapping, such as `{kind: dual}`")
    kind = declaration.get("kind", DEFAULT_KIND)
    if kind not in KINDS:
        raise ConfigError(("kind",), f"Expected one of: {', '.join(KINDS)}; got {kind!r}")
    for key in declaration:
        if key not in _KEYS[kind]:
            raise ConfigError((str(key),), f"Unknown key for {kind}; expected one of: {', '.join(_KEYS[kind])}")
    return _BUILDERS[kind](_Reader(declaration))


class _Reader:
    """Reads numbers of one declaration."""

    def __init__(self, declaration: Mapping[str, Any]) -> None:
        self._declared = declaration

    def number(self, key: str, default: float, least: float, most: float) -> float:
        value = self._declared.get(key, default)
        fits = isinstance(value, int | float) and not isinstance(value, bool) and isfinite(value)
        if not fits or not least <= value <= most:
            raise ConfigError((key,), f"Expected a number from {least:g} to {most:g}; got {value!r}")
        return float(value)

    def whole(self, key: str, default: int, least: int, most: int) -> int:
        value = self._declared.get(key, default)
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
            raise ConfigError((key,), f"Expected a whole number from {least} to {most}; got {value!r}")
        return value

    def every_ms(self) -> int:
        try:
            every_ms = parse_duration_ms(self._declared.get("every", EVERY))
        except ValueError as error:
            raise ConfigError(("every",), str(error)) from None
        if not _SHORTEST_MS <= every_ms <= _LONGEST_MS:
            raise ConfigError(("every",), "Expected from 1s to 1h")
        return every_ms

    def bounds(self) -> Bounds:
        """Read the bounds of a multiplier that is controlled."""
        most = self.number("most", 1.0, _SMALLEST, _LARGEST)
        least = self.number("least", min(0.001, most), _SMALLEST, most)
        return Bounds(least, most, self.number("start", most, least, most))

    def fixed(self) -> Bounds:
        """Read the bounds of a multiplier that is only raised when all opportunities are taken."""
        start = self.number("multiplier", 1.0, _SMALLEST, _LARGEST)
        return Bounds(start, self.number("most", start, start, _LARGEST), start)


def _dual(read: _Reader) -> Pacer:
    return DualPacer(read.bounds(), step=read.number("step", DUAL_STEP, 0.001, 10.0))


def _pid(read: _Reader) -> Pacer:
    kp, ki, kd = (read.number(key, default, 0.0, 10.0) for key, default in PID_GAINS.items())
    return PidPacer(read.bounds(), every_ms=read.every_ms(), kp=kp, ki=ki, kd=kd)


def _throttle(read: _Reader) -> Pacer:
    step = read.number("step", THROTTLE_STEP, 0.001, 0.9)
    return ThrottlePacer(read.fixed(), every_ms=read.every_ms(), step=step)


def _layers(read: _Reader) -> Pacer:
    gain, layers = read.number("gain", LAYERS_GAIN, 0.001, 2.0), read.whole("layers", LAYERS, 2, 30)
    return LayersPacer(read.fixed(), every_ms=read.every_ms(), gain=gain, layers=layers)


_BUILDERS = {"dual": _dual, "pid": _pid, "throttle": _throttle, "layers": _layers}
