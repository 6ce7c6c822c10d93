"""What is summed over features most often: the step of FTRL, and a linear model's score with its reasons.

Twice written: here in Python, and in `compiled_sums.pyx` for those who have a compiler at installation. Both take the
same steps in the same order and come to the same bits; `online_models.sums` chooses.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import exp, isfinite, isnan, sqrt

# What a share or an intercept is taken to that is not finite, or whose sum is not: a model sums up a thousand of them.
_MOST_SHARE = 1e300


class Coordinate:
    """What FTRL knows of a feature.

    Attributes
    ----------
    w, z, n
        Weight; FTRL's sums z and n.
    position
        Its place among the model's names.
    changed
        It is among the changed ones already, see `move`.
    """

    __slots__ = ("changed", "n", "position", "w", "z")

    def __init__(self, position: int, w: float = 0.0, z: float = 0.0, n: float = 0.0) -> None:
        self.position = position
        self.w = w
        self.z = z
        self.n = n
        self.changed = False


def sigmoid(logit: float) -> float:
    """Turn a logit into a probability; beyond 30 it is 0 or 1, as in River, and of NaN 0.5."""
    if logit > 30.0:
        return 1.0
    if logit >= -30.0:
        return 1.0 / (1.0 + exp(-logit))
    return 0.0 if logit < -30.0 else 0.5


def sum_up(ones: list[Coordinate], values: list[float], logit: float) -> float:
    """Add the features' shares to a logit; `values` are those of `ones`, raises ValueError otherwise."""
    for one, value in zip(ones, values, strict=True):
        logit += one.w * value
    return logit


def move(
    ones: list[Coordinate],
    values: list[float],
    changed: list[Coordinate],
    gradient: float,
    rate: float,
    curvature: float,
    l1: float,
) -> None:
    """Take FTRL's step for the features of one example, see `SparseFTRL`.

    Parameters
    ----------
    ones, values
        Features and their values, of one length; raises ValueError otherwise.
    changed
        Gets those of `ones` that are not in it.
    gradient
        Of the loss, to the logit.
    rate, curvature, l1
        ``1 / alpha``; ``beta / alpha + l2``, > 0; l1.
    """
    minus_l1 = -l1
    for one, value in zip(ones, values, strict=True):
        g = gradient * value
        z = one.z
        n = one.n
        root = sqrt(n)
        if z > l1:
            one.w = weight = (l1 - z) / (root * rate + curvature)
        elif z < minus_l1:
            one.w = weight = (minus_l1 - z) / (root * rate + curvature)
        else:
            weight = one.w
        one.n = n = n + g * g
        one.z = z + (g - (sqrt(n) - root) * rate * weight)
        if not one.changed:
            one.changed = True
            changed.append(one)


def score_named(
    weights: dict[str, float], names: list[str | None], values: list[float], logit: float, k: int
) -> tuple[float, list[tuple[str, float]]]:
    """Score features with a linear model, in one pass.

    Parameters
    ----------
    weights
        Feature name to weight; unknown names weigh 0.
    names, values
        The features, of one length, raises ValueError otherwise; those named None are passed over.
    logit
        The intercept.
    k
        How many reasons to return, >= 0.

    Returns
    -------
    (float, list of (str, float))
        The probability, and the k largest shares by magnitude, largest first; of equal ones the first. Shares of 0
        are no reasons. All are finite, see `score_bounded`.
    """
    intercept = logit
    weight_of = weights.get
    moved: list[str] = []
    shares: list[float] = []
    for name, value in zip(names, values, strict=True):
        if name is None:
            continue
        weight = weight_of(name)
        if weight is not None:
            share = weight * value
            logit += share
            if share:
                moved.append(name)
                shares.append(share)
    if not isfinite(logit):
        return score_bounded(weights, names, values, intercept, k)
    return sigmoid(logit), largest(moved, shares, k) if k else []


def score_bounded(
    weights: dict[str, float], names: list[str | None], values: list[float], logit: float, k: int
) -> tuple[float, list[tuple[str, float]]]:
    """Score as `score_named` what comes to no finite sum there: with shares of at most 1e300, and none for NaN.

    Features are bounded where they are extracted, and a weight is learned from moderate ones alone. So this is for
    models that were not learned here, and for values of before features were bounded.
    """
    logit = _bounded(logit)
    moved: list[str] = []
    shares: list[float] = []
    for name, value in zip(names, values, strict=True):
        if name is None or name not in weights:
            continue
        share = _bounded(weights[name] * value)
        logit += share
        if share:
            moved.append(name)
            shares.append(share)
    return sigmoid(logit), largest(moved, shares, k) if k else []


def _bounded(share: float) -> float:
    return 0.0 if isnan(share) else min(max(share, -_MOST_SHARE), _MOST_SHARE)


def largest(names: Sequence[str], shares: Sequence[float], k: int) -> list[tuple[str, float]]:
    """Return the k largest shares by magnitude with their names, largest first; of equal ones the first."""
    magnitudes = [*map(abs, shares)]
    # By position, so that the sort never calls back into Python.
    order = sorted(range(len(shares)), key=magnitudes.__getitem__, reverse=True)
    return [(names[index], shares[index]) for index in order[:k]]
