"""The rate of positives while little is known."""

from __future__ import annotations


def more_of_the_common(prior: float) -> tuple[float, float]:
    """Return how many negatives and positives Laplace's rule needs beforehand to begin at a prior.

    That is 1 of the rarer class for each `1 / prior` examples: it weighs as much as the first one that comes, whatever
    the rate is, and makes no difference where many have come.

    >>> [round(count, 6) for prior in (0.5, 0.01, 0.8) for count in more_of_the_common(prior)]
    [0.0, 0.0, 98.0, 0.0, 0.0, 3.0]
    """
    return max(1.0 / prior - 2.0, 0.0), max(1.0 / (1.0 - prior) - 2.0, 0.0)


def rate_learned(positives: int, examples: int, prior: float) -> float:
    """Return the rate of positives by Laplace's rule, but that it begins at a prior (above 0, below 1).

    >>> rate_learned(0, 2, prior=0.5), rate_learned(0, 0, prior=0.01), rate_learned(0, 100, prior=0.01)
    (0.25, 0.01, 0.005)
    """
    negative, positive = more_of_the_common(prior)
    return (positives + positive + 1.0) / (examples + negative + positive + 2.0)
