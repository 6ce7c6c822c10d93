"""What simple rules would have said, with labels that were known at that moment, and the start that the model has.

- *base rate*: the rate of positives among the labels known so far; before there are any, the objective's prior, as
  the model;
- *popularity*: the rate of the trigger's item among the labels known so far, drawn towards the base rate;
- *last click*: the rate among triggers of visitors whose last known label was the same: who did it last
  time does it again;
- *rule*: what the configuration says by hand, the first case that applies.

Rates are smoothed: (k + s·base) / (n + s) with s = 20. The base rate itself is (k + w·prior) / (n + w): the prior
counts as many labels as hold one of the rarer class by it, which is Laplace's rule where it is 1/2. With fewer, some
hundred negatives would take a base rate of 0.1 % for none at all; with more, a wrong prior would stay for long.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from online_models.features import FeatureSet
from online_models.features.generate import Source
from online_models.objectives import Condition, Objective
from schemas.scores import Score

SMOOTHING = 20.0
# A prior that is far too small is outgrown after some thousand labels.
MOST_LABELS_OF_PRIOR = 1_000.0
# A shop's catalogue; items that come later share one rate.
MOST_ITEMS = 200_000
MOST_VISITORS = 500_000

_REST = "\0rest"


class Rule:
    """The hand-written rule of an objective, written out as Python: it is asked at each trigger.

    Attributes
    ----------
    score
        Compact base feature values to the score of the first case that applies; the last one always does.
    """

    def __init__(self, cases: Sequence[tuple[Sequence[Condition], float]], features: FeatureSet) -> None:
        source = Source()
        source.add("def score(v):", indent=0)
        for number, (tests, score) in enumerate(cases):
            terms = [
                _term(test, f"v[{features.position(test.feature)}]", source.bind, f"{number}_{place}")
                for place, test in enumerate(tests)
            ]
            result = source.bind(f"score_{number}", score)
            source.add(f"if {' and '.join(terms) or True}: return {result}")
        self.score: Callable[[Sequence[Any]], float] = source.compiled("score")


def _term(test: Condition, value: str, bind: Callable[[str, Any], str], suffix: str) -> str:
    """Write `Condition.holds` as an expression; of numbers, only numbers and None come to it."""
    if test.one_of:
        return f"{bind(f'holds_{suffix}', test.holds)}({value})"
    low = f"{bind(f'low_{suffix}', test.minimum)} <= " if test.minimum is not None else ""
    high = f" <= {bind(f'high_{suffix}', test.maximum)}" if test.maximum is not None else ""
    return f"{value} is not None and {low}{value}{high}"


# What the baselines said at a trigger, in the order of `Baselines.names` (without a rule, the base rate again), and
# what they need to learn from its label: item_id, user_id, the visitor's last label. A plain tuple: one for each score.
Said = tuple[float, float, float, float, str, str, int]


class Baselines:
    """The baselines of one objective."""

    def __init__(self, objective: Objective, features: FeatureSet) -> None:
        self._rule = Rule(objective.rule, features) if objective.rule else None
        self._prior_n = min(1.0 / min(objective.prior, 1.0 - objective.prior), MOST_LABELS_OF_PRIOR)
        self._prior_k = self._prior_n * objective.prior
        self._total = [0, 0]
        self._items: dict[str, list[int]] = {}
        self._by_last_label = [[0, 0] for _ in range(3)]  # none yet, negative, positive
        self._last_label: dict[str, int] = {}

    @property
    def names(self) -> list[str]:
        """Names of the baselines there are."""
        return ["base_rate", "popularity", "last_click", *(["rule"] if self._rule else [])]

    def said(self, score: Score, values: Sequence[Any]) -> Said:
        """Return what each says of a trigger."""
        n, k = self._total
        base = (k + self._prior_k) / (n + self._prior_n)
        item_id, user_id = score.item_id or "", score.user_id
        seen, clicked = self._items.get(item_id) or self._items.get(_REST) or (0, 0)
        last_label = self._last_label.get(user_id, 0)
        times, hits = self._by_last_label[last_label]
        weight = SMOOTHING * base
        return (
            base,
            (clicked + weight) / (seen + SMOOTHING),
            (hits + weight) / (times + SMOOTHING),
            self._rule.score(values) if self._rule else base,
            item_id,
            user_id,
            last_label,
        )

    def learn(self, said: Said, label: bool) -> None:
        """Learn the label of a trigger of which something was said."""
        _, _, _, _, item_id, user_id, last_label = said
        counts = self._items.get(item_id)
        if counts is None:
            known = item_id if len(self._items) < MOST_ITEMS else _REST
            counts = self._items.setdefault(known, [0, 0])
        total, of_last = self._total, self._by_last_label[last_label]
        total[0] += 1
        counts[0] += 1
        of_last[0] += 1
        if label:
            total[1] += 1
            counts[1] += 1
            of_last[1] += 1
        last = self._last_label
        last.pop(user_id, None)
        last[user_id] = 2 if label else 1
        if len(last) > MOST_VISITORS:
            del last[next(iter(last))]

    def state(self) -> list[Any]:
        """Return everything as plain values."""
        return [self._total, self._items, self._by_last_label, self._last_label]

    def restore(self, state: Sequence[Any]) -> None:
        """Take up what `state` gave."""
        self._total, self._items, self._by_last_label, self._last_label = state
