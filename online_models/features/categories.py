"""Declared rules for categories: what stands for a missing one, and which values there may be."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from zlib import crc32

from online_models.features.options import Options
from online_models.features.plan import Feature, Reading, Value

MAX_CHARS = 128
OTHER = "other"
MAX_HASH_BUCKETS = 1 << 24


def category_feature(options: Options, reading: Reading) -> Feature:
    """Read the rules of a category."""
    if reading.labels is not None:  # its values are a short list that we made
        return Feature(options.name, reading, "category", labels=reading.labels)
    missing = _missing(options)
    steps: list[Callable[[Any], Value]] = [normalized] if reading.mixed else []
    lower = options.flag("lower", False)
    if lower:
        steps.append(lambda value: value.lower() if type(value) is str else value)
    max_length = options.integer("max_length", MAX_CHARS, 1, 2048)
    if reading.max_chars is None or reading.max_chars > max_length:
        steps.append(lambda value: value[:max_length] if type(value) is str else value)
    kept = _kept(options, lower=lower, max_length=max_length)
    if kept:
        steps.append(lambda value: value if value in kept else OTHER)
    if options.has("hash"):
        buckets = options.integer("hash", 1, 2, MAX_HASH_BUCKETS)
        steps.append(lambda value: crc32(str(value).encode()) % buckets)
    return Feature(options.name, reading, "category", missing, adjust=_chained(steps))


def normalized(value: Any) -> str | int:
    """Return a scalar so that equal values are of one type: whole floats as int, other floats and bools as text.

    Python takes 1, 1.0 and True for the same key, and which of them named it first would decide its name.

    Examples
    --------
    >>> [normalized(x) for x in ("a", 1, 1.0, 1.5, True)]
    ['a', 1, 1, '1.5', 'true']
    """
    kind = type(value)
    if kind is str:
        return value  # type: ignore[no-any-return]
    if kind is bool:
        return "true" if value else "false"
    if kind is float and value.is_integer():
        value = int(value)
    # Larger ones cannot be packed.
    return value if type(value) is int and -(2**63) <= value < 2**63 else str(value)


def _missing(options: Options) -> str | None:
    if not options.has("missing"):
        return None
    value = options.raw("missing")
    if not isinstance(value, str) or not 1 <= len(value) <= MAX_CHARS:
        raise options.error(f"Expected a text of 1 to {MAX_CHARS} characters, got {value!r}", "missing")
    options.canonical["missing"] = value
    return value


def _kept(options: Options, *, lower: bool, max_length: int) -> frozenset[str | int]:
    if not options.has("keep"):
        return frozenset()
    declared = options.raw("keep")
    if not isinstance(declared, list) or not declared:
        raise options.error(f"Expected a list of values; all others become {OTHER!r}", "keep")
    kept: set[str | int] = set()
    for index, one in enumerate(declared):
        if not isinstance(one, str | int | float):
            raise options.error(f"Expected a text or a number, got {one!r}", "keep", index)
        if isinstance(one, str) and ((lower and one != one.lower()) or len(one) > max_length):
            rule = "in lower case" if lower and one != one.lower() else f"of {max_length} characters at most"
            raise options.error(f"{one!r} is never a value here: all are {rule} (`lower`, `max_length`)", "keep", index)
        if normalized(one) in kept:
            raise options.error(f"{one!r} stands here twice; keep one", "keep", index)
        kept.add(normalized(one))
    options.canonical["keep"] = sorted(map(str, kept))
    return frozenset(kept | {str(one) for one in kept})


def _chained(steps: list[Callable[[Any], Value]]) -> Callable[[Any], Value] | None:
    """Join the steps, without a loop for the usual lengths."""
    if len(steps) <= 1:
        return steps[0] if steps else None
    first, rest = steps[0], _chained(steps[1:])
    assert rest is not None
    return lambda value: rest(first(value))
