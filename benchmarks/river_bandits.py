"""River's bandits on the simulated site of `benchmarks.regret`: an arm for each item.

`ThompsonSampling` knows of an item how often it was clicked, and nothing of the visitor. `LinUCBDisjoint` has a
Bayesian linear regression for each item; its context is what share of the visitor's clicks each category has, which is
what our own engine is told as `taste`. Three places are three pulls among the items that are left.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

from river import bandit, proba


class RiverBandit:
    """Answers requests with one of River's bandits, and learns from the clicks at once."""

    def __init__(self, policy: Any, *, contextual: bool) -> None:
        self._policy = policy
        self._contextual = contextual
        self._clicks: dict[str, Counter[str]] = {}
        self._context: dict[str, float] = {}

    def show(self, number: int, visitor: str, candidates: Sequence[tuple[str, str]], places: int) -> list[str]:
        """Return the items to show, the first place first."""
        clicks = self._clicks.get(visitor, Counter())
        total = sum(clicks.values())
        self._context = {"always": 1.0, **{category: count / total for category, count in clicks.items()}}
        left = [item for item, _ in candidates]
        shown = []
        for _ in range(places):
            item = self._policy.pull(left, *([self._context] if self._contextual else []))
            left.remove(item)
            shown.append(item)
        return shown

    def saw(self, number: int, visitor: str, categories: dict[str, str], shown: Sequence[str], taken: set[str]) -> None:
        """Learn which items were clicked."""
        for item in shown:
            self._policy.update(item, *([self._context] if self._contextual else []), item in taken)
            if item in taken:
                self._clicks.setdefault(visitor, Counter())[categories[item]] += 1


RIVER: dict[str, Callable[[int], RiverBandit]] = {
    "river ThompsonSampling": lambda seed: RiverBandit(
        bandit.ThompsonSampling(reward_obj=proba.Beta(1, 9), seed=seed), contextual=False
    ),
    "river LinUCBDisjoint": lambda seed: RiverBandit(bandit.LinUCBDisjoint(seed=seed), contextual=True),
}
