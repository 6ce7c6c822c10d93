"""Declared rules for numbers: default for a missing one, clip for outliers, transform or bins.

The order is default, clip, bins (these make the value that an open attribution stores), then transform (on
the way to the model). So a condition on a feature, and its clip, are written in the feature's own unit.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable
from functools import partial
from itertools import pairwise
from math import log1p, sqrt

from online_models.features.options import Options
from online_models.features.plan import Feature, Reading

MAX_BINS = 64


def signed_log1p(x: float) -> float:
    """Return log(1 + |x|) with the sign of x."""
    return log1p(x) if x >= 0.0 else -log1p(-x)


def signed_sqrt(x: float) -> float:
    """Return the root of |x| with the sign of x."""
    return sqrt(x) if x >= 0.0 else -sqrt(-x)


TRANSFORMS: dict[str, Callable[[float], float]] = {
    "log1p": log1p,
    "sqrt": sqrt,
    "signed_log1p": signed_log1p,
    "signed_sqrt": signed_sqrt,
}


def number_feature(options: Options, reading: Reading) -> Feature:
    """Read the rules of a number."""
    unit_ms = reading.unit_ms
    default = None
    if options.has("default"):
        default = options.number_in(options.raw("default"), "default", unit_ms=unit_ms)
        options.canonical["default"] = default
    clip = _clip(options, unit_ms)
    if clip and default is not None:
        default = min(max(default, clip[0]), clip[1])
    transform = options.choice("transform", ("none", "log1p", "sqrt"), default="none")
    edges = _bins(options, unit_ms)
    if edges:
        if transform != "none":
            raise options.error("Expected either bins or a transform; bins are of the raw value", "transform")
        place = None if default is None else bisect_right(edges, default)
        labels = _bin_labels(edges)
        return Feature(options.name, reading, "category", place, clip, partial(bisect_right, edges), labels=labels)
    lowest_known = clip[0] if clip else (default or 0.0)
    signed = (reading.signed and not (clip and clip[0] >= 0.0)) or lowest_known < 0.0
    source = "" if transform == "none" else f"signed_{transform}" if signed else transform
    return Feature(options.name, reading, "number", default, clip, transform=source)


def _clip(options: Options, unit_ms: int | None) -> tuple[float, float] | None:
    if not options.has("clip"):
        return None
    declared = options.raw("clip")
    if not isinstance(declared, list) or len(declared) != 2:
        raise options.error(f"Expected [lowest, highest], got {declared!r}", "clip")
    low, high = (options.number_in(one, "clip", index, unit_ms=unit_ms) for index, one in enumerate(declared))
    if low >= high:
        raise options.error(f"Expected the lowest below the highest, got {declared!r}", "clip")
    options.canonical["clip"] = [low, high]
    return low, high


def _bins(options: Options, unit_ms: int | None) -> list[float]:
    if not options.has("bins"):
        return []
    declared = options.raw("bins")
    if not isinstance(declared, list) or not 1 <= len(declared) <= MAX_BINS:
        raise options.error(f"Expected a list of 1 to {MAX_BINS} rising bounds, got {declared!r}", "bins")
    edges = [options.number_in(one, "bins", index, unit_ms=unit_ms) for index, one in enumerate(declared)]
    for index in range(1, len(edges)):
        if edges[index] <= edges[index - 1]:
            raise options.error("Expected rising bounds, each once", "bins", index)
    options.canonical["bins"] = edges
    return edges


def _bin_labels(edges: list[float]) -> tuple[str, ...]:
    """Name the bins; a bound belongs to the bin above it."""
    written = [f"{edge:.0f}" if edge.is_integer() else repr(edge) for edge in edges]
    between = (f"{low}..{high}" for low, high in pairwise(written))
    return (f"<{written[0]}", *between, f">={written[-1]}")
