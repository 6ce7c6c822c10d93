"""Refuses feature vectors that would do lasting harm to a model.

One NaN that reaches River's linear models turns their intercept to NaN, and every later prediction
with it; an infinity or an absurd magnitude does the same through the optimizer's squared gradients.
The guard stands before `learn_one`; what it refuses is counted and passed over, and the model is left as it was.
What counts instead of fitting weights (crowd counts, the market) takes other numbers, and has a check of its own.

A prediction changes nothing, and has to be made of whatever comes. So it is not refused but kept finite: numbers are
bounded where they are extracted (`features.context`), sums that are no number all the same are made one
(`plain_sums.score_bounded`), and a model of River that fails on them gives the rate it has learned.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import hypot, isfinite

# Features are counts, rates, logs and one-hots; prices and durations are log-scaled or clipped by
# their declaration. A million leaves room for a forgotten scale, while the square of it, summed over
# 1e9 examples, is still far from the end of a double's exact integers times its exponent range.
MAX_MAGNITUDE = 1e6
# Fifty declared features with crosses make some hundred entries; ten times that is a mistake.
MAX_FEATURES = 1_000

TOO_MANY_FEATURES = "too_many_features"
NOT_A_NUMBER = "not_a_number"
NOT_FINITE = "not_finite"
OUT_OF_RANGE = "out_of_range"
REASONS = (TOO_MANY_FEATURES, NOT_A_NUMBER, NOT_FINITE, OUT_OF_RANGE)


def refusal(x: Mapping[str, float]) -> str | None:
    """Tell why a feature vector must not reach a model.

    Parameters
    ----------
    x
        Feature name to value. Not changed.

    Returns
    -------
    str or None
        One of `REASONS`; None if the vector is harmless.

    Examples
    --------
    >>> refusal({"price": 3.5, "item=7": 1.0})
    >>> refusal({"price": float("nan")})
    'not_finite'
    >>> refusal({"price": -2e6})
    'out_of_range'
    """
    if len(x) > MAX_FEATURES:
        return TOO_MANY_FEATURES
    try:
        # One call for the common case: no value is larger than the root of the sum of all squares, which is right to
        # the last digit; and a NaN or an infinity makes the comparison false as well.
        if hypot(*x.values()) < MAX_MAGNITUDE:
            return None
    except TypeError:
        return NOT_A_NUMBER
    for value in x.values():
        if not isfinite(value):
            return NOT_FINITE
        if abs(value) > MAX_MAGNITUDE:
            return OUT_OF_RANGE
    return None
