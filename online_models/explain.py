"""Why a score is what it is: shares of the logit, for linear models exactly, for others by omission.

A reason is (feature, share): the share is in logits, positive if the feature speaks for the outcome.
In a linear model the shares and the intercept add up to the score's logit. In any other model a share
is how much the logit falls when the feature is left out, so shares overlap and need not add up.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import log

from online_models.plain_sums import largest
from online_models.sums import score_named

Reasons = list[tuple[str, float]]

# Leaving a feature out costs a prediction each. Beyond this many, the rest is not tried: declared
# features come first in a vector, crosses last.
MAX_OMISSIONS = 24
# Trees and naive Bayes answer exactly 0 or 1; their logit is bounded so that shares stay finite.
MIN_PROBABILITY = 1e-6


def bounded_logit(p: float) -> float:
    """Turn a probability into a logit within +-13.8."""
    p = min(max(p, MIN_PROBABILITY), 1.0 - MIN_PROBABILITY)
    return log(p / (1.0 - p))


# Log odds of scores at 0 and 1 stay finite.
_EDGE = 1e-15


def log_odds(p: float) -> float:
    """Turn a probability into a logit within +-34.6: the inverse of `sigmoid` but for rounding."""
    p = min(max(p, _EDGE), 1.0 - _EDGE)
    return log(p / (1.0 - p))


def score_linear(weights: dict[str, float], intercept: float, x: Mapping[str, float], k: int) -> tuple[float, Reasons]:
    """Score a feature vector with a linear model, in one pass.

    Parameters
    ----------
    weights
        Feature name to weight; unknown names weigh 0.
    k
        How many reasons to return, >= 0.

    Returns
    -------
    (float, list of (str, float))
        The probability, and the k largest shares by magnitude, largest first; of equal ones the
        first in `x`. Shares of 0 are no reasons.

    Examples
    --------
    >>> score_linear({"a": 2.0, "b": -3.0}, 1.0, {"a": 1.0, "b": 1.0, "c": 9.0}, 1)
    (0.5, [('b', -3.0)])
    """
    return score_named(weights, [*x], [*x.values()], intercept, k)


def leave_one_out(predict: Callable[[dict[str, float]], float], x: Mapping[str, float], p: float, k: int) -> Reasons:
    """Explain a prediction by what it would be without each feature.

    Parameters
    ----------
    predict
        Feature vector to probability.
    p
        ``predict(x)``.
    k
        How many reasons to return, >= 0; 0 costs nothing.

    Examples
    --------
    >>> leave_one_out(lambda x: 0.5 if "a" in x else 0.2, {"a": 1.0, "b": 1.0}, 0.5, 3)
    [('a', 1.3862943611198906)]
    """
    if not k:
        return []
    logit = bounded_logit(p)
    names = list(x)[:MAX_OMISSIONS]
    shares: list[float] = []
    for name in names:
        rest = dict(x)
        del rest[name]
        shares.append(logit - bounded_logit(predict(rest)))
    return [reason for reason in largest(names, shares, k) if reason[1]]
