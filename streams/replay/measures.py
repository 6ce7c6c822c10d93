"""What is to be found out about a candidate while it runs, and what was."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from heapq import nsmallest
from typing import Any

from online_models.closed_loop import ClosedLoop, Watcher
from online_models.estimators import Estimator, SparseFTRL
from online_models.features import FeatureSet
from online_models.objectives import Objective
from online_models.policies import PolicyEvaluation
from online_models.validation import Judge, OperatingPoint
from schemas.metrics import Promotion, Standing
from streams.replay.algorithms import Cost, Timed
from streams.replay.tally import Tally
from streams.settings import Settings

# Weights shown of a linear model: the largest by magnitude.
_SHOWN_WEIGHTS = 40


@dataclass
class Results:
    """What was found out about a candidate; plain values, to be handed from process to process.

    Attributes
    ----------
    objectives
        By name, what `Judge.report` tells, and ``weights``: the largest of a linear model.
    models
        Declared name of the model, by objective.
    policies
        By objective, what `PolicyEvaluation.report` tells; objectives without policies are missing.
    promotions
        (event time in epoch ms, `Promotion`) of every change of what was served.
    standings
        By objective, how its challengers stood at the end.
    costs
        By objective, of the model; empty if nobody asked for the time.
    questions
        By objective, what was asked: figures of two candidates say something of their models only if it is the same.
    bad_rows, n_bad_rows, notes
        What the source had to say, see `ReplaySource`; the same for all candidates.
    """

    label: str
    tally: Tally
    scored: int
    ignored: dict[str, int]
    objectives: dict[str, dict[str, Any]]
    models: dict[str, str]
    policies: dict[str, dict[str, Any]]
    promotions: list[tuple[int, Promotion]]
    standings: dict[str, dict[str, Standing]]
    costs: dict[str, Cost]
    questions: dict[str, str] = field(default_factory=dict)
    bad_rows: list[tuple[str, int, str]] = field(default_factory=list)
    n_bad_rows: int = 0
    notes: list[str] = field(default_factory=list)


class Measures:
    """The judges of one candidate."""

    def __init__(self, settings: Settings, point: OperatingPoint, *, timing: bool = False) -> None:
        self.settings = settings
        self._watches: dict[str, Timed] | None = {} if timing else None
        self._judges = {one.name: Judge(one, settings.features, point) for one in settings.objectives}
        self._models: dict[str, Estimator] = {}
        asked = {policy.objective for policy in settings.policies}
        self._policies = {
            one.name: PolicyEvaluation(one, settings.policies) for one in settings.objectives if one.name in asked
        }
        self.watchers: Mapping[str, list[Watcher]] = {
            name: [judge, *([self._policies[name]] if name in asked else [])] for name, judge in self._judges.items()
        }

    def timed(self, objective: str, model: Estimator) -> Estimator:
        """Take note of an objective's model; return it, to be timed if that was asked for."""
        self._models[objective] = model
        if self._watches is None:
            return model
        watch = self._watches[objective] = Timed(model)
        return watch

    def results(self, label: str, tally: Tally, loop: ClosedLoop) -> Results:
        """Return what was found out."""
        return Results(
            label=label,
            tally=tally,
            scored=loop.scored,
            ignored=dict(loop.ignored),
            objectives={
                name: {**judge.report(), "weights": _largest_weights(self._models[name], self.settings.features)}
                for name, judge in self._judges.items()
            },
            models={one.name: str(one.model["name"]) for one in self.settings.objectives},
            policies={name: evaluation.report() for name, evaluation in self._policies.items()},
            promotions=loop.promotions,
            standings=loop.standings(),
            costs={name: watch.cost() for name, watch in (self._watches or {}).items()},
            questions={one.name: _question(one) for one in self.settings.objectives},
        )


def _question(one: Objective) -> str:
    """Return what decides which triggers are judged, and by which label."""
    return repr(
        (sorted(one.trigger), sorted(one.outcome), one.match, one.window_ms, one.grace_ms, one.credit, one.when)
    )


def _largest_weights(model: Estimator, features: FeatureSet) -> list[tuple[str, float]]:
    """Return what may be shown: no weight of a single visitor's id, address or words, alone or in a cross."""
    if not isinstance(model, SparseFTRL):
        return []
    personal = re.compile("|".join(rf"(^|\*){re.escape(name)}=" for name in sorted(features.personal)) or r"(?!)")
    shown = ((name, weight) for name, weight in model.weights.items() if not personal.search(name))
    return nsmallest(_SHOWN_WEIGHTS, shown, key=lambda one: (-abs(one[1]), one[0]))
