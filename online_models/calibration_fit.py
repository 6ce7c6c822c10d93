"""Calibration curves, fitted to counts: a line of the logit, or a monotone curve around one.

*Line* (Platt, "Probabilistic Outputs for Support Vector Machines", 1999; of logits instead of margins): shift and
slope of highest likelihood, with a ridge that pulls them to a line that was there before.

*Monotone* (Zadrozny, Elkan, "Transforming Classifier Scores into Accurate Multiclass Probability Estimates", KDD
2002): neighbouring counts are pooled where their rates fall (pool adjacent violators), and between the centres of the
pools the curve is interpolated (Oron, Flournoy, "Centered Isotonic Regression", Stat. Biopharm. Res. 9, 2017). A curve
without steps keeps the order of what it maps, and the AUC with it. A pool counts as if some positives more had come at
the rate of the curve that was there before, as in a gamma-Poisson model: where there is little, that one holds.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Sequence
from math import exp, log, log1p
from typing import NamedTuple

from schemas.models import Curve

# Logits of what is told lie within this: 2e-9 from 0 and 1.
MOST_LOGIT = 20.0

# What is believed of a model before anything is known: that its log odds are off by 1, and its slope by 0.5.
MODEL_BELIEF = (1.0, 4.0)
# And of a slice beside the whole: by 0.3 each.
SLICE_BELIEF = (10.0, 10.0)
# A line that is flatter, or falls, would undo what the model knows; it is the model that has to be mended then.
MIN_SLOPE = 0.1
# Positives at the rate of the curve before, that each pool has beside its own.
BELIEVED_POSITIVES = 20.0
# No pool of fewer positives, expected or come; and no more pools than this, so that a curve stays small.
POOLED_POSITIVES = 20.0
MOST_POOLS = 32

_MOST_ITERATIONS = 50
# A step of Newton's that is smaller than this leaves an error of about its square.
_CONVERGED = 1e-4


class Bin(NamedTuple):
    """Labelled scores that lie close together: the mean of their raw logits, their weight, and that of positives."""

    x: float
    weight: float
    positives: float


class Line(NamedTuple):
    """A line from raw logits to calibrated ones."""

    intercept: float
    slope: float

    def at(self, x: float) -> float:
        """Return the calibrated logit of a raw one."""
        return self.intercept + self.slope * x

    def curve(self) -> Curve:
        """Return it by its ends."""
        return Curve([-MOST_LOGIT, MOST_LOGIT], [self.at(-MOST_LOGIT), self.at(MOST_LOGIT)])


IDENTITY = Line(0.0, 1.0)


def bounded(logit: float) -> float:
    """Return a logit that is neither that of 0 nor that of 1."""
    return min(max(logit, -MOST_LOGIT), MOST_LOGIT)


def logit_of(p: float) -> float:
    """Turn a probability into a bounded logit."""
    return bounded(log(p / (1.0 - p))) if 0.0 < p < 1.0 else MOST_LOGIT if p >= 1.0 else -MOST_LOGIT


def probability_of(logit: float) -> float:
    """Turn a logit into a probability, never 0 or 1."""
    return 1.0 / (1.0 + exp(-bounded(logit)))


def on_curve(curve: Curve, x: float) -> float:
    """Return the calibrated logit of a raw one.

    >>> on_curve(Curve([-20.0, -4.0, 20.0], [-21.0, -5.0, 20.0]), -8.0)
    -9.0
    """
    xs, ys = curve.raw, curve.calibrated
    i = min(max(bisect_right(xs, x), 1), len(xs) - 1)
    left, right = xs[i - 1], xs[i]
    return ys[i - 1] + (ys[i] - ys[i - 1]) * ((x - left) / (right - left))


def fitted_line(bins: Sequence[Bin], before: Line, belief: tuple[float, float]) -> Line:
    """Return the line of highest penalized likelihood.

    Parameters
    ----------
    before
        What holds where nothing has come.
    belief
        Precisions of shift and slope around `before`, both > 0.

    Examples
    --------
    A model that says 2.9 % where 1.45 % come, on both sides of its mean:

    >>> bins = [Bin(-4.5, 1e6, 5.525e3), Bin(-3.5, 1e6, 1.4897e4)]
    >>> line = fitted_line(bins, IDENTITY, MODEL_BELIEF)
    >>> round(line.slope, 2), round(line.at(-4.0), 2)
    (1.0, -4.69)
    """
    total = sum(one.weight for one in bins)
    if not total:
        return before
    centre = sum(one.weight * one.x for one in bins) / total
    # Around the mean, shift and slope hardly depend on each other.
    rows = [(one.x - centre, before.at(one.x), one.weight, one.positives) for one in bins]
    shift = turn = 0.0
    least = MIN_SLOPE - before.slope
    loss = _penalized(rows, shift, turn, belief)
    for _ in range(_MOST_ITERATIONS):
        by_shift, by_turn = _newton(rows, shift, turn, belief)
        step = 1.0
        while True:
            after = shift + step * by_shift, max(turn + step * by_turn, least)
            reached = _penalized(rows, *after, belief)
            if reached <= loss or step < _CONVERGED:
                break
            step /= 2.0
        moved = max(abs(after[0] - shift), abs(after[1] - turn))
        if reached > loss:
            break
        (shift, turn), loss = after, reached
        if moved < _CONVERGED:
            break
    return Line(before.intercept + shift - turn * centre, before.slope + turn)


_Row = tuple[float, float, float, float]


def _penalized(rows: Sequence[_Row], shift: float, turn: float, belief: tuple[float, float]) -> float:
    loss = 0.5 * (belief[0] * shift * shift + belief[1] * turn * turn)
    for x, before, weight, positives in rows:
        logit = before + shift + turn * x
        # log(1 + e^logit) without overflow.
        loss += weight * (max(logit, 0.0) + log1p(exp(-abs(logit)))) - positives * logit
    return loss


def _newton(rows: Sequence[_Row], shift: float, turn: float, belief: tuple[float, float]) -> tuple[float, float]:
    """Return Newton's step."""
    g0, g1 = belief[0] * shift, belief[1] * turn
    h00, h01, h11 = belief[0], 0.0, belief[1]
    for x, before, weight, positives in rows:
        p = probability_of(before + shift + turn * x)
        error, curvature = weight * p - positives, weight * p * (1.0 - p)
        g0 += error
        g1 += error * x
        h00 += curvature
        h01 += curvature * x
        h11 += curvature * x * x
    determinant = h00 * h11 - h01 * h01
    return (h01 * g1 - h11 * g0) / determinant, (h01 * g0 - h00 * g1) / determinant


def fitted_curve(bins: Sequence[Bin], before: Callable[[float], float]) -> Curve:
    """Return a monotone curve through pooled bins; outside of them it goes on as `before` does.

    Parameters
    ----------
    bins
        With growing x.
    before
        What holds where nothing has come: raw logit to calibrated logit, increasing.
    """
    points = pooled([_moved(pool, before) for pool in _pools(bins, before)])
    if not points:
        return Curve([-MOST_LOGIT, MOST_LOGIT], [before(-MOST_LOGIT), before(MOST_LOGIT)])
    (first, low, _), (last, high, _) = points[0], points[-1]
    xs, ys = [x for x, _, _ in points], [y for _, y, _ in points]
    if first > -MOST_LOGIT:
        xs.insert(0, -MOST_LOGIT)
        ys.insert(0, low - (before(first) - before(-MOST_LOGIT)))  # in this order it cannot round above `low`
    if last < MOST_LOGIT:
        xs.append(MOST_LOGIT)
        ys.append(high + (before(MOST_LOGIT) - before(last)))
    return Curve(xs, ys)


class _Pool:
    """Bins taken together: what came, and what the curve before would have expected."""

    def __init__(self) -> None:
        self.weight = self.positives = self.expected = self.moment = 0.0

    def add(self, one: Bin, expected: float) -> None:
        self.weight += one.weight
        self.positives += one.positives
        self.expected += expected
        self.moment += one.weight * one.x


def _pools(bins: Sequence[Bin], before: Callable[[float], float]) -> list[_Pool]:
    """Take bins together until each pool holds enough to tell a rate."""
    least = sum(one.weight for one in bins) / MOST_POOLS
    pools: list[_Pool] = []
    full = True
    for one in bins:
        if full:
            pools.append(_Pool())
        pool = pools[-1]
        pool.add(one, one.weight * probability_of(before(one.x)))
        full = pool.weight >= least and max(pool.expected, pool.positives) >= POOLED_POSITIVES
    if not full and len(pools) > 1:
        rest, last = pools.pop(), pools[-1]
        last.weight += rest.weight
        last.positives += rest.positives
        last.expected += rest.expected
        last.moment += rest.moment
    return pools


_Point = tuple[float, float, float]  # raw logit, calibrated logit, weight


def _moved(pool: _Pool, before: Callable[[float], float]) -> _Point:
    x = pool.moment / pool.weight
    expected = pool.expected / pool.weight
    believed = BELIEVED_POSITIVES / expected
    rate = (pool.positives + BELIEVED_POSITIVES) / (pool.weight + believed)
    # By how much the curve before was off; not the rate itself, which is not that at the mean of a wide pool.
    return x, before(x) + logit_of(rate) - logit_of(expected), pool.weight + believed


def pooled(points: Sequence[_Point]) -> list[_Point]:
    """Pool neighbours (raw logit, calibrated logit, weight) whose calibrated logits do not grow."""
    kept: list[_Point] = []
    for point in points:
        x, y, weight = point
        while kept and kept[-1][1] >= y:
            left, rate, mass = kept.pop()
            both = mass + weight
            pooled = (mass * probability_of(rate) + weight * probability_of(y)) / both
            x, y, weight = (mass * left + weight * x) / both, logit_of(pooled), both
        kept.append((x, y, weight))
    return kept
