"""How uncertain a linear model's logits are, from what it has learned of each weight.

The posterior of the weights is taken to be normal and diagonal, around the weights that were learned: a Laplace
approximation, kept up as in Chapelle and Li, "An Empirical Evaluation of Thompson Sampling" (NIPS 2011), algorithm 3.
The precision of a weight is what is known before anything is learned, plus its information: the sum of p(1-p)x² of the
examples there, in place of which stands the sum of squared gradients, whose expectation is the same and which FTRL
keeps anyway. Before anything is learned a weight is pulled to 0 with ``beta / alpha + l2``: that is the ridge of FTRL's
own objective (its proximal terms included), so the prior needs no option that could contradict the model's.

A logit's variance is the sum of x²/precision over its features. Features that the model has never met count with the
prior's precision, so new items are the most uncertain ones. Features that have the same value for all candidates are
left out: whatever their weights are, they move all candidates alike, and the order says nothing about them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

# Values far outside of what the guard lets a model learn; deviations stay finite.
MAX_VARIANCE = 1e12


class Uncertainty(NamedTuple):
    """What is known of a model's weights.

    Attributes
    ----------
    information_of
        Tells a feature's information, 0 of a feature that was never met.
    prior_precision
        Precision of a weight of which nothing is learned; > 0.
    """

    information_of: Callable[[str], float]
    prior_precision: float


def logit_variances(uncertainty: Uncertainty, vectors: Sequence[Mapping[str, float]]) -> list[float]:
    """Return the variance of each candidate's logit, without what all of them share.

    Parameters
    ----------
    vectors
        What the model sees of each candidate, at least one.

    Examples
    --------
    >>> known = Uncertainty({"item=1": 6.0}.__getitem__, 2.0)
    >>> logit_variances(known, [{"hour": 7.0, "item=1": 1.0}, {"hour": 7.0, "item=1": 2.0}])
    [0.125, 0.5]
    """
    first, *others = vectors
    shared = {name for name, value in first.items() if all(one.get(name) == value for one in others)}
    information_of, prior = uncertainty
    variances = []
    for x in vectors:
        total = 0.0
        for name, value in x.items():
            if name not in shared:
                total += value * value / (prior + information_of(name))
        variances.append(total if total < MAX_VARIANCE else MAX_VARIANCE)
    return variances
