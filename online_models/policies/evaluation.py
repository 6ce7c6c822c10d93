"""PolicyEvaluation: what other policies would have earned at the triggers of one objective.

At a trigger with a propensity each policy says with which probability it would have shown what was shown,
and the model says what it expects of every candidate: that is the last moment at which neither has seen
anything of the label. When the label comes, it becomes the reward of the row. So the model of the direct
and the doubly robust method is out of sample, and policies that follow the model or the rates so far are
judged as they were then: the value is that of a policy that learns as it goes, over this stream.

Where positives are known before their window has closed (`labels: immediate`), they wait for it: else the
last triggers of a stream would count when they are positive and be missing when they are not.

What waits for its label is bounded by the objective's window, what is remembered of items by the
candidates; the estimators are sums.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from online_models.held_back import HeldBack
from online_models.objectives import Objective
from online_models.policies.choosing import probabilities
from online_models.policies.declarations import Policy
from online_models.policies.estimators import OffPolicy
from online_models.policies.items import ShownItems
from online_models.step import Probe
from online_models.validation.baselines import MOST_ITEMS, SMOOTHING
from schemas.events import EventBase
from schemas.examples import Example
from schemas.scores import Score

# How long a trigger is remembered after its window has closed; labels come with the next publication.
_MARGIN_MS = 3_600_000
# Triggers that got no label are looked for when this many have come since the last time.
_LOOKED_FOR_EVERY = 4096

# At a trigger: probability of the logged item, and the model's value of the policy; None: no candidates.
Choice = tuple[float, float] | None
# End of the window (epoch ms), a number that makes rows unlike, item, propensity, reward, score, choices.
Row = tuple[int, int, str, float, float, float, list[Choice]]


class PolicyEvaluation:
    """Estimates the values of the policies of one objective, beside one model.

    Parameters
    ----------
    policies
        Those of other objectives are passed over.

    Attributes
    ----------
    triggers, without_propensity, unlabelled
        Triggers that were seen; those that had no propensity (or no item), and were passed over; and
        those that had one and got no label.
    """

    def __init__(self, objective: Objective, policies: Sequence[Policy]) -> None:
        self._policies = [one for one in policies if one.objective == objective.name]
        self._closes_after_ms = objective.closes_after_ms
        self._kept_ms = objective.closes_after_ms + _MARGIN_MS
        self._items = ShownItems(
            most=max((one.recent for one in self._policies), default=0),
            declared=[item for one in self._policies for item in one.items],
            fields=list(dict.fromkeys(field for one in self._policies for field in one.item_fields)),
        )
        self._rates = _Rates() if any(one.kind == "popularity" for one in self._policies) else None
        self._estimators = {one.name: OffPolicy() for one in self._policies}
        self._waiting: dict[str, tuple[int, str, float, float, list[Choice]]] = {}
        self._early: HeldBack[Row] = HeldBack()
        self._early_seen = 0
        self._latest_ms = 0
        self.triggers = 0
        self.without_propensity = 0
        self.unlabelled = 0

    def scored(self, score: Score, event: EventBase, values: Sequence[Any], probe: Probe) -> None:
        """Take note of what each policy would have done at a trigger.

        Parameters
        ----------
        values
            Not used.
        probe
            Gives the model's score of another item; asked once for each candidate.
        """
        if not self._policies:
            return
        self.triggers += 1
        if score.propensity is None or score.item_id is None:
            self.without_propensity += 1
            return
        known: dict[tuple[str, tuple[str, ...]], float] = {}

        def expected(item: str, fields: tuple[str, ...]) -> float:
            if item == score.item_id:
                return score.score
            found = known.get((item, fields))
            if found is None:
                found = known[item, fields] = probe(self._items.instead(event, item, fields))
            return found

        choices: list[Choice] = []
        for policy in self._policies:
            if policy.kind == "logged":
                choices.append((score.propensity, score.score))
                continue
            candidates = list(policy.items) or self._items.recent(event, policy.recent)
            scores = [expected(item, policy.item_fields) for item in candidates]
            choices.append(self._choice(policy, score.item_id, candidates, scores))
        self._items.add(event)
        self._waiting[score.score_id] = (score.ts, score.item_id, score.propensity, score.score, choices)
        self._latest_ms = max(self._latest_ms, score.ts)
        if self.triggers % _LOOKED_FOR_EVERY == 0:
            self._forget()

    def _choice(self, policy: Policy, logged: str, candidates: Sequence[str], scores: Sequence[float]) -> Choice:
        if not candidates:
            return None
        by = scores
        if policy.kind == "popularity" and self._rates is not None:
            by = [self._rates.of(item) for item in candidates]
        chances = probabilities(policy, by)
        target = chances[candidates.index(logged)] if logged in candidates else 0.0
        return target, sum(chance * score for chance, score in zip(chances, scores, strict=True))

    def labelled(self, example: Example) -> None:
        """Take the label of a trigger as the reward of what was decided there."""
        self._latest_ms = max(self._latest_ms, example.released_ts)
        if example.use == "learn":
            return
        waiting = self._waiting.pop(example.score_id, None)
        if waiting is None:
            return
        ts, item, propensity, score, choices = waiting
        due_ms = ts + self._closes_after_ms
        row = (due_ms, self._early_seen, item, propensity, float(example.label), score, choices)
        if example.released_ts < due_ms:
            self._early_seen += 1
            self._early.add(example, row)
        else:
            self._count(row)
        for one in self._early.released(example):
            self._count(one)

    def _count(self, row: Row) -> None:
        _, _, item, propensity, reward, score, choices = row
        if self._rates is not None:  # no earlier: of those that wait for their windows only positives are known
            self._rates.learn(item, bool(reward))
        for policy, choice in zip(self._policies, choices, strict=True):
            if choice is not None:
                target, value = choice
                self._estimators[policy.name].update(
                    propensity=propensity, target=min(target, 1.0), reward=reward, q=score, value=value
                )

    def _forget(self) -> None:
        """Give up triggers whose window is long over."""
        before_ms = self._latest_ms - self._kept_ms
        stale = [score_id for score_id, (ts, *_) in self._waiting.items() if ts < before_ms]
        for score_id in stale:
            del self._waiting[score_id]
        self.unlabelled += len(stale)

    def report(self) -> dict[str, dict[str, Any]]:
        """Return what was estimated: policy to estimator to the fields of `Estimate`."""
        return {
            policy: {name: msgspec.to_builtins(one) for name, one in estimator.estimates().items()}
            for policy, estimator in self._estimators.items()
        }

    # ---------------------------------------------------------------- to go on later

    def state(self) -> list[Any]:
        """Return everything as plain values."""
        return [
            self._items.state(),
            self._rates.state() if self._rates else None,
            [one.state() for one in self._estimators.values()],
            [[score_id, *waiting] for score_id, waiting in self._waiting.items()],
            self._early.state(),
            [self._early_seen, self._latest_ms, self.triggers, self.without_propensity, self.unlabelled],
        ]

    def restore(self, state: Sequence[Any]) -> None:
        """Take up what `state` gave, of the same policies."""
        items, rates, estimators, waiting, early, counts = state
        self._items.restore(items)
        if self._rates is not None:
            self._rates.restore(rates)
        for one, saved in zip(self._estimators.values(), estimators, strict=True):
            one.restore(saved)
        self._waiting = {
            score_id: (ts, item, propensity, score, _choices(choices))
            for score_id, ts, item, propensity, score, choices in waiting
        }
        self._early.restore([[*row, _choices(choices)] for *row, choices in early])
        self._early_seen, self._latest_ms, self.triggers, self.without_propensity, self.unlabelled = counts


def _choices(saved: Sequence[Sequence[float] | None]) -> list[Choice]:
    return [None if one is None else (one[0], one[1]) for one in saved]


class _Rates:
    """Rates of items among the labels so far, drawn towards the rate of all, as the baselines' popularity."""

    def __init__(self) -> None:
        self._total = [0, 0]
        self._items: dict[str, list[int]] = {}

    def of(self, item: str) -> float:
        n, k = self._total
        base = (k + 1.0) / (n + 2.0)
        seen, positive = self._items.get(item, (0, 0))
        return (positive + SMOOTHING * base) / (seen + SMOOTHING)

    def learn(self, item: str, label: bool) -> None:
        counts = [self._total]
        if item in self._items or len(self._items) < MOST_ITEMS:
            counts.append(self._items.setdefault(item, [0, 0]))
        for one in counts:
            one[0] += 1
            one[1] += label

    def state(self) -> list[Any]:
        return [self._total, self._items]

    def restore(self, state: Sequence[Any]) -> None:
        self._total, self._items = list(state[0]), {item: list(counts) for item, counts in state[1].items()}
