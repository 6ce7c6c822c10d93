"""Keeps numbers from a model that it would never get over.

One NaN turns the intercept of a River linear model NaN for good (measured on River 0.26), and one
absurd magnitude takes thousands of examples to unlearn.
"""

from __future__ import annotations

from collections.abc import Mapping

# Declared features are logs, shares, counts and flags; a million is far outside of all of them.
MAX_MAGNITUDE = 1e6
MAX_FEATURES = 1000


def refusal(x: Mapping[str, float]) -> str | None:
    """Return why an example must not be learned, None if it may.

    >>> refusal({"price": 3.5}), refusal({"price": float("nan")})
    (None, 'not a finite number below 1e+06: price')
    """
    if len(x) > MAX_FEATURES:
        return f"more than {MAX_FEATURES} features"
    for name, value in x.items():
        # Written so that NaN, which compares false to everything, is refused.
        if not -MAX_MAGNITUDE <= value <= MAX_MAGNITUDE:
            return f"not a finite number below {MAX_MAGNITUDE:g}: {name}"
    return None
