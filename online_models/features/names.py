"""Names of the features that models see."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


def one_hot(feature: str, labels: tuple[str, ...] | None) -> Callable[[Any], str]:
    """Return the function that names a category's value: ``feature=value``."""
    if labels is None:
        return lambda value: f"{feature}={value}"
    return lambda value: f"{feature}={labels[value]}"


def crossed(parts: list[Callable[[Any], str]]) -> Callable[[Any], str]:
    """Return the function that names a tuple of values: ``a=x*b=y``."""
    return lambda values: "*".join(part(value) for part, value in zip(parts, values, strict=True))
