"""With which probabilities a policy chooses; nothing is ever drawn."""

from __future__ import annotations

from collections.abc import Sequence
from math import exp

from online_models.explain import log_odds
from online_models.policies.declarations import Policy


def probabilities(policy: Policy, scores: Sequence[float]) -> list[float]:
    """Return the probability of each candidate.

    Parameters
    ----------
    scores
        What the policy goes by, one for each candidate, at least one.

    Examples
    --------
    Who is best is chosen unless a share of `epsilon` explores; ties are shared:

    >>> policy = Policy(name="p", kind="epsilon_greedy", objective="click", epsilon=0.1)
    >>> [round(p, 3) for p in probabilities(policy, [0.2, 0.5])]
    [0.05, 0.95]
    >>> probabilities(policy, [0.2, 0.2])
    [0.5, 0.5]
    """
    if policy.kind == "uniform":
        return [1.0 / len(scores)] * len(scores)
    if policy.kind == "softmax":
        return _softmax(scores, policy.temperature)
    return _greedy(scores, policy.epsilon)


def _greedy(scores: Sequence[float], epsilon: float) -> list[float]:
    best = max(scores)
    share, explored = greedy_shares(epsilon, scores.count(best), len(scores))
    return [share + explored if score == best else explored for score in scores]


def greedy_shares(epsilon: float, best: int, candidates: int) -> tuple[float, float]:
    """Return what each of the best gets for being so, and what every candidate gets."""
    return (1.0 - epsilon) / best, epsilon / candidates


def _softmax(scores: Sequence[float], temperature: float) -> list[float]:
    logits = [log_odds(score) / temperature for score in scores]
    highest = max(logits)
    parts = [exp(logit - highest) for logit in logits]
    total = sum(parts)
    return [part / total for part in parts]
