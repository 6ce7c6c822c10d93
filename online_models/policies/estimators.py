"""OffPolicy: what another policy would have earned, estimated from what a logging policy did.

A row is a decision of the logging policy: the propensity with which it chose what it chose, the reward
(0 or 1 for labels, anything between is taken), the probability with which the *target* policy would have
chosen the same; and, from a model of the reward, what the model expected of the logged action (q) and of
the target policy (v, the mean of q over the target's probabilities). The weight of a row is
w = target probability / propensity.

- ``ips``   Σ w r / n; unbiased (Horvitz & Thompson 1952).
- ``snips`` Σ w r / Σ w; slightly biased, far steadier, always within the rewards' range (Swaminathan &
  Joachims 2015). Its standard error is the delta method's, √Σ w² (r - value)² / Σ w.
- ``dm``    Σ v / n, the direct method: as good as the model is. Its interval says how the triggers that
  happened to come moved it, and *nothing* about the model being wrong.
- ``dr``    Σ (v + w (r - q)) / n, doubly robust (Dudík, Langford & Li 2011): the model's answer, put
  right by what was observed; unbiased whatever the model says, as long as q knew nothing of r.

That last condition is the caller's: q and v must be out of sample. The score given at the trigger is,
because its label came later. Intervals: see `intervals`; the rare class (rewards below a half on average,
else what is missing to 1) is what is counted as events.

Refused: clipped weights and the switch estimator. Both buy steadiness with a bias that no interval shows,
and with a threshold that somebody would have to choose after seeing the answer.

All of it is made of sums of products of (w, w r, v, w q), so memory is constant.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import isfinite, sqrt
from typing import Any

import numpy as np
from msgspec.structs import replace
from numpy.typing import ArrayLike, NDArray

from online_models.policies.intervals import (
    Interval,
    normal_interval,
    summed_interval,
    weighted_events_interval,
)
from online_models.policies.warnings import warning_of
from schemas.report import Estimate

ESTIMATORS = ("ips", "snips", "dm", "dr")

# Places in the vector of which sums are kept.
_W, _WR, _V, _WQ = range(4)
_SIZE = 4

Combination = Mapping[int, float]


class OffPolicy:
    """Estimates the value of one target policy as rows come.

    Examples
    --------
    A coin chose between two items; only the second, which the target always takes, was ever clicked:

    >>> policy = OffPolicy()
    >>> policy.update(propensity=0.5, target=0.0, reward=0.0, q=0.2, value=0.2)
    >>> policy.update(propensity=0.5, target=1.0, reward=1.0, q=0.2, value=0.2)
    >>> {name: one.value for name, one in policy.estimates().items()}
    {'ips': 1.0, 'snips': 1.0, 'dm': 0.2, 'dr': 1.0}
    """

    def __init__(self) -> None:
        self.n = 0
        self.positives = 0
        self._rewards = 0.0
        self._max_weight = 0.0
        self._sums = [0.0] * _SIZE
        self._products = [[0.0] * _SIZE for _ in range(_SIZE)]

    def update(self, *, propensity: float, target: float, reward: float, q: float, value: float) -> None:
        """Take in a row.

        Parameters
        ----------
        propensity
            Probability with which the logged action was chosen; above 0, at most 1.
        target
            Probability with which the target policy would have chosen it.
        reward
            0 to 1.
        q, value
            The model's expectation of the logged action's reward and of the target policy's, made
            before the reward was known to it.

        Raises
        ------
        ValueError
            A value is out of its range; nothing was changed.
        """
        if not (0.0 < propensity <= 1.0 and 0.0 <= target <= 1.0 and 0.0 <= reward <= 1.0):
            raise ValueError(
                "Expected a propensity above 0, a target probability and a reward, none above 1; "
                f"got {propensity!r}, {target!r}, {reward!r}"
            )
        if not (isfinite(q) and isfinite(value)):
            raise ValueError(f"Expected finite model values, got q={q!r}, value={value!r}")
        w = target / propensity
        row = (w, w * reward, value, w * q)
        self.n += 1
        self.positives += reward > 0.0 and w > 0.0
        self._rewards += reward
        self._max_weight = max(self._max_weight, w)
        for i, (x, products) in enumerate(zip(row, self._products, strict=True)):
            self._sums[i] += x
            for j in range(i, _SIZE):
                products[j] += x * row[j]

    def update_many(
        self, *, propensity: ArrayLike, target: ArrayLike, reward: ArrayLike, q: ArrayLike, value: ArrayLike
    ) -> None:
        """Take in many rows at once, each argument an array of their values; see `update`."""
        p, t, r, expected, v = (np.asarray(one, dtype=float) for one in (propensity, target, reward, q, value))
        inside = (p > 0.0) & (p <= 1.0) & (t >= 0.0) & (t <= 1.0) & (r >= 0.0) & (r <= 1.0)
        if not bool((inside & np.isfinite(expected) & np.isfinite(v)).all()):
            raise ValueError(
                "Expected propensities above 0, targets and rewards, none above 1, and finite model values"
            )
        if not p.size:
            return
        w = t / p
        rows: NDArray[np.float64] = np.stack([w, w * r, v, w * expected])
        products = rows @ rows.T
        self.n += int(p.size)
        self.positives += int(((r > 0.0) & (w > 0.0)).sum())
        self._rewards += float(r.sum())
        self._max_weight = max(self._max_weight, float(w.max()))
        for i in range(_SIZE):
            self._sums[i] += float(rows[i].sum())
            for j in range(i, _SIZE):
                self._products[i][j] += float(products[i, j])

    # ---------------------------------------------------------------- estimates

    def estimates(self) -> dict[str, Estimate]:
        """Return what each estimator says, by its name."""
        rare = {_WR: 1.0} if 2.0 * self._sums[_WR] <= self._sums[_W] else {_W: 1.0, _WR: -1.0}
        found = {
            "ips": self._linear({_WR: 1.0}, rare),
            "snips": self._self_normalized(rare),
            "dm": self._linear({_V: 1.0}, {}),
            "dr": self._linear({_V: 1.0, _WQ: -1.0, _WR: 1.0}, rare),
        }
        return {name: self._told(name, rare, *one) for name, one in found.items()}

    def _told(
        self, name: str, rare: Combination, value: float | None, error: float | None, ends: Interval | None
    ) -> Estimate:
        low, high = ends or (None, None)
        n = self.n
        weight, squares = self._sums[_W], self._products[_W][_W]
        facts = Estimate(
            value=value,
            standard_error=error,
            low=low,
            high=high,
            interval="normal, without the model's error" if name == "dm" else "weighted events",
            n=n,
            positives=self.positives,
            effective_positives=_kish(self._sums[_WR], self._products[_WR][_WR]),
            effective_sample_size=_kish(weight, squares),
            mean_weight=weight / n if n else None,
            max_weight=self._max_weight,
            logged_value=self._rewards / n if n else None,
            warning=None,
        )
        rare_events = _kish(self._sum(rare), self._product(rare, rare))
        weight_error = sqrt(self._variance({_W: 1.0}) / n) if n > 1 else 0.0
        said = warning_of(name, facts, rare_events=rare_events, weight_error=weight_error)
        return replace(facts, warning=said)

    def _linear(self, whole: Combination, rare: Combination) -> tuple[float | None, float | None, Interval | None]:
        """Return value, standard error and interval of a mean; `rare` is its part that comes as rare events."""
        n = self.n
        if not n:
            return None, None, None
        value = self._sum(whole) / n
        if n < 2:
            return value, None, None
        error = sqrt(self._variance(whole) / n)
        if not rare:
            return value, error, normal_interval(value, error)
        # whole = sign · rare + rest
        sign = 1.0 if rare == {_WR: 1.0} else -1.0
        rest = {i: whole.get(i, 0.0) - sign * rare.get(i, 0.0) for i in range(_SIZE)}
        part, remainder = self._sum(rare) / n, self._sum(rest) / n
        rare_variance, rest_variance = self._variance(rare), self._variance(rest)
        ends = weighted_events_interval(part * n, rare_variance * n, self._one_more())
        low, high = ends.low / n, ends.high / n
        signed = Interval(low, high) if sign > 0 else Interval(-high, -low)
        both = rare_variance * rest_variance
        correlation = sign * self._covariance(rare, rest) / sqrt(both) if both > 0.0 else 0.0
        other = normal_interval(remainder, sqrt(rest_variance / n))
        return value, error, summed_interval(sign * part, signed, remainder, other, max(-1.0, min(1.0, correlation)))

    def _self_normalized(self, rare: Combination) -> tuple[float | None, float | None, Interval | None]:
        weight = self._sums[_W]
        if weight <= 0.0:
            return None, None, None
        value, part = self._sums[_WR] / weight, self._sum(rare) / weight
        residual = {_WR: 1.0, _W: -value}
        variance = max(self._product(residual, residual), 0.0) / (weight * weight)
        low, high = weighted_events_interval(part, variance, self._one_more() / weight)
        ends = Interval(low, min(high, 1.0))
        return value, sqrt(variance), ends if rare == {_WR: 1.0} else Interval(1.0 - ends.high, 1.0 - ends.low)

    def _one_more(self) -> float:
        """Return the weight of the event that may have been missed, see `intervals`."""
        weight, squares = self._sums[_W], self._products[_W][_W]
        return sqrt(self._max_weight * squares / weight) if weight > 0.0 else 0.0

    def _sum(self, combination: Combination) -> float:
        return sum(factor * self._sums[i] for i, factor in combination.items())

    def _product(self, one: Combination, other: Combination) -> float:
        """Return Σ one · other over the rows."""
        return sum(
            a * b * self._products[min(i, j)][max(i, j)] for i, a in one.items() for j, b in other.items() if a and b
        )

    def _covariance(self, one: Combination, other: Combination) -> float:
        n = self.n
        return (self._product(one, other) - self._sum(one) * self._sum(other) / n) / (n - 1)

    def _variance(self, combination: Combination) -> float:
        return max(self._covariance(combination, combination), 0.0)  # rounding can leave less than nothing

    # ---------------------------------------------------------------- to go on later

    def state(self) -> list[Any]:
        """Return everything as plain values."""
        return [self.n, self.positives, self._rewards, self._max_weight, self._sums, self._products]

    def restore(self, state: Sequence[Any]) -> None:
        """Take up what `state` gave."""
        self.n, self.positives, self._rewards, self._max_weight, sums, products = state
        self._sums, self._products = list(sums), [list(row) for row in products]


def _kish(total: float, squares: float) -> float:
    return total * total / squares if squares > 0.0 else 0.0
