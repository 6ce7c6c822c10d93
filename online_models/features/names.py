"""Names of the features that models see, built once and kept in bounded caches."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

# Per feature. Names are up to 300 bytes; a site with more values than this builds some again.
MAX_CACHED = 32_768


class Names(dict[Any, str]):
    """Name by value; made on first use. Full, it starts over: names follow from values alone."""

    def __init__(self, name_of: Callable[[Any], str], limit: int = MAX_CACHED) -> None:
        super().__init__()
        self._name_of = name_of
        self._limit = limit

    def __missing__(self, value: Any) -> str:
        if len(self) >= self._limit:
            self.clear()
        name = self[value] = self._name_of(value)
        return name


def one_hot(feature: str, labels: tuple[str, ...] | None) -> Callable[[Any], str]:
    """Return the function that names a category's value: ``feature=value``."""
    if labels is None:
        return lambda value: f"{feature}={value}"
    return lambda value: f"{feature}={labels[value]}"


def crossed(parts: list[Callable[[Any], str]]) -> Callable[[Any], str]:
    """Return the function that names a tuple of values: ``a=x*b=y``."""
    return lambda values: "*".join(part(value) for part, value in zip(parts, values, strict=True))
