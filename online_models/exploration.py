"""Puts candidates into order by chance, and tells how likely each choice was.

Places are filled one after another: a policy says how likely each candidate that is left is to get the next place, and
one is drawn. For a softmax that is the Plackett-Luce model. Chance is seeded by the event, so a replay draws the same.

Two policies go by how uncertain the logits are (`online_models.uncertainty`). `lin_ucb` orders by logit plus `alpha`
standard deviations: LinUCB (Li, Chu, Langford, Schapire, WWW 2010) with one model for all items in place of one for
each, the logit in place of the linear payoff, and a diagonal in place of the inverse of A. `thompson` is Thompson
sampling at each place: a candidate gets it with the probability that its logit, drawn from its own normal distribution,
is the largest among those left (Chapelle and Li, NIPS 2011, section 4 and algorithm 3). They draw one weight vector,
which all candidates share; logits that are drawn apart explore a little more, and their chances can be told.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b
from math import inf, isfinite, sqrt
from typing import Protocol

from msgspec.structs import replace

from online_models.explain import log_odds
from online_models.policies import Policy
from online_models.policies.choosing import greedy_shares, probabilities


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


class _Chances(Protocol):
    """How likely each candidate is to get the next place; 0 of those that have left."""

    def chances(self) -> Sequence[float]: ...
    def leave(self, index: int) -> None: ...


class _ByScore:
    """Chances of the policies that look at scores alone."""

    def __init__(self, policy: Policy, scores: Sequence[float]) -> None:
        self._policy = policy
        self._scores = scores
        self._left = list(range(len(scores)))

    def chances(self) -> list[float]:
        chances = [0.0] * len(self._scores)
        likely = probabilities(self._policy, [self._scores[index] for index in self._left])
        for index, one in zip(self._left, likely, strict=True):
            chances[index] = one
        return chances

    def leave(self, index: int) -> None:
        self._left.remove(index)


class _Greedy:
    """The same chances of a greedy policy, without looking at each candidate in Python: they are asked at each place.

    Parameters
    ----------
    scores
        Finite.
    """

    def __init__(self, policy: Policy, scores: Sequence[float]) -> None:
        self._epsilon = policy.epsilon
        self._scores = list(scores)
        self._gone: list[int] = []

    def chances(self) -> list[float]:
        scores = self._scores
        best = max(scores)
        share, explored = greedy_shares(self._epsilon, scores.count(best), len(scores) - len(self._gone))
        chances = [explored] * len(scores)
        for index in self._gone:
            chances[index] = 0.0
        index = -1
        for _ in range(scores.count(best)):
            index = scores.index(best, index + 1)
            chances[index] = share + explored
        return chances

    def leave(self, index: int) -> None:
        self._scores[index] = -inf
        self._gone.append(index)


def drawn_order(
    policy: Policy, scores: Sequence[float], places: int, chance: Chance, variances: Sequence[float] = ()
) -> list[tuple[int, float]]:
    """Fill places with candidates.

    Parameters
    ----------
    scores
        What the policy goes by, one for each candidate; one that is not finite counts as 0.
    places
        How many to fill; fewer if there are fewer candidates.
    variances
        Of the logits, for policies that go by them; empty: nothing is known of them, and such a policy is greedy.

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
    places = min(places, len(scores))
    source = _chances(policy, _finite(scores), _finite(variances), places)
    order: list[tuple[int, float]] = []
    for _ in range(places):
        likely = source.chances()
        index = _drawn(likely, chance.number())
        source.leave(index)
        order.append((index, likely[index]))
    return order


def _finite(numbers: Sequence[float]) -> Sequence[float]:
    """Return the numbers, 0 in the place of those that are not finite: an order must come of whatever was computed."""
    return numbers if isfinite(sum(numbers)) else [one if isfinite(one) else 0.0 for one in numbers]


def _chances(policy: Policy, scores: Sequence[float], variances: Sequence[float], places: int) -> _Chances:
    if policy.kind in ("greedy", "epsilon_greedy"):
        return _Greedy(policy, scores)
    if not policy.by_uncertainty:
        return _ByScore(policy, scores)
    greedy = replace(policy, kind="greedy")
    if not variances:
        return _Greedy(greedy, scores)
    deviations = [policy.alpha * sqrt(variance) for variance in variances]
    logits = [*map(log_odds, scores)]
    if policy.kind == "lin_ucb":
        return _Greedy(greedy, [logit + some for logit, some in zip(logits, deviations, strict=True)])
    return _largest(logits, deviations, places)


def _largest(means: Sequence[float], deviations: Sequence[float], places: int) -> _Chances:
    # Here, because SciPy takes a worker 0.25 s to load, which all other policies do without.
    from online_models.largest import Largest

    return Largest(means, deviations, places=places)


def prepare(policy: Policy) -> None:
    """Load what the policy needs, so that the first request does not wait for it."""
    if policy.kind == "thompson":
        _largest([0.0], [1.0], 1).chances()


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
