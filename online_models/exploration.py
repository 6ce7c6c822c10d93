"""Puts candidates into order by chance, and tells how likely each choice was.

Places are filled one after another: a policy says how likely each candidate that is left is to get the next place, and
one is drawn. For a softmax that is the Plackett-Luce model. Chance is seeded by the event, so a replay draws the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b

from online_models.policies import Policy
from online_models.policies.choosing import probabilities


class Chance:
    """Numbers from 0 up to 1, decided by a text: uniform, and the same wherever and whenever they are drawn again.

    Examples
    --------
    >>> Chance("home:e1").number() == Chance("home:e1").number() != Chance("home:e2").number()
    True
    """

    def __init__(self, seed: str) -> None:
        self._hash = blake2b(seed.encode(), digest_size=8)

    def number(self) -> float:
        """Return the next number."""
        self._hash.update(b"+")
        return (int.from_bytes(self._hash.digest(), "big") >> 11) / (1 << 53)


def drawn_order(policy: Policy, scores: Sequence[float], places: int, chance: Chance) -> list[tuple[int, float]]:
    """Fill places with candidates.

    Parameters
    ----------
    scores
        What the policy goes by, one for each candidate.
    places
        How many to fill; fewer if there are fewer candidates.

    Returns
    -------
    list of (int, float)
        Index of the candidate and its propensity: the probability that it got this place, given those above it. The
        product of the first k is the probability of the first k places.

    Examples
    --------
    >>> policy = Policy(name="p", kind="greedy", objective="click")
    >>> drawn_order(policy, [0.1, 0.3, 0.2], 2, Chance("e1"))
    [(1, 1.0), (2, 1.0)]
    """
    left = list(range(len(scores)))
    order: list[tuple[int, float]] = []
    while left and len(order) < places:
        likely = probabilities(policy, [scores[index] for index in left])
        at = _drawn(likely, chance.number())
        order.append((left.pop(at), likely[at]))
    return order


def _drawn(likely: Sequence[float], point: float) -> int:
    """Return the part of a line of length 1 that a point lies in; never one of length 0."""
    last = 0
    for index, length in enumerate(likely):
        if length > 0.0:
            last = index
            if point < length:
                return index
            point -= length
    return last  # the lengths add up to a little less than 1
