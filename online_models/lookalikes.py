"""Look-alikes: how much a visitor is like those of a seed group, rather than like everybody.

Gaussian naive Bayes of two classes that are as likely as each other: the seed group, and everybody (Hastie, Tibshirani,
Friedman, The Elements of Statistical Learning, 2nd edition, section 6.6.3). A small group says little of its own mean
and variance, so both are those of a posterior whose prior is everybody, weighing as much as `PRIOR_VISITORS` (normal
and inverse gamma: Murphy, Conjugate Bayesian analysis of the Gaussian distribution, 2007). A number in which the group
is like everybody then says nothing.

Naive: numbers that go together count twice. The order of visitors is to be trusted, the score is no probability.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import log
from typing import NamedTuple

from online_models.features.segments import Description
from online_models.segments import Population
from online_models.sums import sigmoid

PRIOR_VISITORS = 5.0
# Standard deviations from everybody: beyond, tails are no longer those of a Gaussian, and one number would decide.
_FURTHEST = 4.0
MOST_REASONS = 3


class Likeness(NamedTuple):
    """How much a visitor is like the group.

    Attributes
    ----------
    score
        0 to 1; at 0.5 as much like the group as like everybody.
    reasons
        What speaks for it, largest first: (feature, its share of the logit).
    """

    score: float
    reasons: list[tuple[str, float]]


class SeedGroup:
    """Visitors whose like is looked for.

    Parameters
    ----------
    features
        Names of the numbers of a description.
    seed
        Their descriptions, at least one.
    """

    def __init__(self, features: Sequence[str], everybody: Population, seed: Sequence[Description]) -> None:
        self._features = tuple(features)
        self._everybody = everybody
        columns = zip(*(self._placed(one) for one in seed), strict=True)
        self._of_group = [_posterior([z for z in column if z is not None]) for column in columns]

    def likeness(self, description: Description) -> Likeness:
        """Return how much a visitor of this description is like the group."""
        logits = [
            0.0 if z is None else (z * z - (z - mean) ** 2 / variance - log(variance)) / 2.0
            for z, (mean, variance) in zip(self._placed(description), self._of_group, strict=True)
        ]
        found = sorted(zip(self._features, logits, strict=True), key=lambda one: -one[1])
        return Likeness(sigmoid(sum(logits)), [one for one in found[:MOST_REASONS] if one[1] > 0.0])

    def _placed(self, description: Description) -> Description:
        """Return a description in standard deviations from everybody."""
        return [
            None if x is None else min(max((x - mean) / deviation, -_FURTHEST), _FURTHEST)
            for x, mean, deviation in zip(description, *self._everybody, strict=True)
        ]


def _posterior(known: Sequence[float]) -> tuple[float, float]:
    """Return the expected mean and variance of a group, given some of it and that everybody has 0 and 1."""
    n = len(known)
    if not n:
        return 0.0, 1.0
    mean = sum(known) / n
    squares = sum((z - mean) ** 2 for z in known)
    weight = n + PRIOR_VISITORS
    away = n * PRIOR_VISITORS / weight * mean * mean
    return n * mean / weight, (squares + PRIOR_VISITORS + away) / weight
