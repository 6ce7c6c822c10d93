"""How likely each of some independent normal variables is to be the largest: the chances of Thompson sampling.

The chance of the i-th is the integral of its density times the distribution functions of all others. It is taken over
one grid for all: panels of Gauss-Legendre nodes, each no wider than three of the smallest deviations that still vary
there. Where a variable leaves, its factor is divided out, so the next place costs a product and no further logarithm.

Whoever draws from these chances draws with exactly these chances: an error of the integral makes the drawing a little
different from Thompson sampling, and no propensity wrong. A finer grid differs by less than 1e-11
(tests/online_models/test_largest.py). Refused: drawing the normal variables and taking the largest, of which nobody
could tell the propensity; and estimating it by repeated draws, which says 0 of what is rare.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import log, pi, sqrt

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

# Beyond so many deviations nothing is left of a normal variable: 3e-14.
_REACH = 7.5
# Smaller deviations, as a part of the largest, would need many nodes, and count as this: nearly certain.
_SMALLEST = 0.01
# Wider panels miss a fine grid by up to 3e-8 with as many nodes; narrower ones cost more.
_WIDEST_PANEL = 3.0
_NODES = 16
# Densities so far out are no longer told from 0 by anything, but their squares and logarithms stay finite.
_FARTHEST = 37.0
# Places for which one grid is laid out; a grid reaches down to the variable that may be the largest in the last one.
_PLACES_AT_ONCE = 16
# Chances are multiples of 2^-40: what processors make different of the last bits is mostly rounded away, and none is
# so small that its inverse says nothing.
_GRAIN = float(2**40)
_LOG_SQRT_2PI = log(sqrt(2.0 * pi))
_AT, _WEIGHT = np.polynomial.legendre.leggauss(_NODES)


class Largest:
    """The chances to be the largest, of variables that leave one after another.

    Parameters
    ----------
    means, deviations
        Of the variables; deviations are >= 0. If all are 0, the largest mean is the largest, and ties are shared.
    places
        How many will leave, the last one included; so far down the chances have to be known.

    Examples
    --------
    >>> Largest([0.0, 0.0], [1.0, 2.0], places=1).chances()
    [0.5, 0.5]
    >>> Largest([0.0, 0.0, 9.0], [0.0, 0.0, 0.0], places=1).chances()
    [0.0, 0.0, 1.0]
    """

    def __init__(self, means: Sequence[float], deviations: Sequence[float], *, places: int) -> None:
        self._means = np.array(means, dtype=np.float64)
        self._deviations = np.array(deviations, dtype=np.float64)
        self._left = np.ones(len(means), dtype=bool)
        self._places = places
        self._grid: _Grid | None = None
        self._good_for = 0

    def chances(self) -> list[float]:
        """Return the chance of each variable, 0 of those that have left."""
        if self._grid is None or not self._good_for:
            who = np.flatnonzero(self._left)
            self._good_for = max(1, min(self._places, _PLACES_AT_ONCE, len(who)))
            self._grid = _Grid(who, self._means[who], self._deviations[who], self._good_for)
        chances = np.zeros(len(self._means))
        chances[self._grid.who] = self._grid.chances()
        rounded: list[float] = (np.round(chances / chances.sum() * _GRAIN) / _GRAIN).tolist()
        return rounded

    def leave(self, index: int) -> None:
        """Take a variable out."""
        self._left[index] = False
        self._places -= 1
        if self._grid is not None:
            self._good_for -= 1
            self._grid.leave(index)


class _Grid:
    """Nodes that are good for the next places, and what the variables are there; hopeless variables are left out."""

    def __init__(self, who: NDArray[np.intp], means: Floats, deviations: Floats, places: int) -> None:
        unit = float(deviations.max()) or 1.0
        at = (means - means.max()) / unit
        wide = np.maximum(deviations / unit, _SMALLEST if deviations.any() else 0.0)
        low, high = at - _REACH * wide, at + _REACH * wide
        bottom = float(np.partition(low, -places)[-places])
        hopeful = high >= bottom
        self.who, at, wide = who[hopeful], at[hopeful], wide[hopeful]
        self._left = np.ones(len(at), dtype=bool)
        self._means = at
        self._certain = not wide.any()
        if self._certain:
            return
        x, weight = _nodes(bottom, float(high.max()), low[hopeful], high[hopeful], wide)
        z = np.clip((x - at[:, None]) / wide[:, None], -_FARTHEST, _FARTHEST)
        from scipy.special import log_ndtr  # here, because a process takes long to load it, and few rankings explore so

        self._log_below = log_ndtr(z)
        # Density over distribution function: times the product of all, it is the integrand.
        self._rises = np.exp(-0.5 * z * z - _LOG_SQRT_2PI - self._log_below) / wide[:, None] * weight
        self._log_all_below = self._log_below.sum(axis=0)

    def chances(self) -> Floats:
        if self._certain:
            best = self._left & (self._means == self._means[self._left].max())
            shared: Floats = best.astype(np.float64)
            return shared
        # Row by row, not as a matrix product, whose sums depend on where a row stands: equal ones are to share equally.
        chances: Floats = (self._rises * np.exp(self._log_all_below)).sum(axis=1)
        chances[~self._left] = 0.0
        return chances

    def leave(self, index: int) -> None:
        place = np.flatnonzero(self.who == index)  # none, if it is one of the hopeless
        self._left[place] = False
        if not self._certain:
            self._log_all_below = self._log_all_below - self._log_below[place].sum(axis=0)


def _nodes(bottom: float, top: float, low: Floats, high: Floats, wide: Floats) -> tuple[Floats, Floats]:
    """Return nodes and their weights: panels are halved until none is too wide for a variable that varies there."""
    starts, ends = np.array([bottom]), np.array([top])
    done: list[tuple[Floats, Floats]] = []
    while len(starts):
        varies = (low < ends[:, None]) & (high > starts[:, None])
        finest = np.where(varies, wide, np.inf).min(axis=1)
        wanting = ends - starts > _WIDEST_PANEL * finest
        done.append((starts[~wanting], ends[~wanting]))
        starts, ends = starts[wanting], ends[wanting]
        middle = (starts + ends) / 2.0
        starts, ends = np.concatenate([starts, middle]), np.concatenate([middle, ends])
    starts, ends = (np.concatenate(some) for some in zip(*done, strict=True))
    half = (ends - starts) / 2.0
    x = ((starts + ends) / 2.0)[:, None] + half[:, None] * _AT
    return x.ravel(), (half[:, None] * _WEIGHT).ravel()
