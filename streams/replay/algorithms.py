"""The table of algorithms: the same objectives, features and labels with each kind of model in turn.

What is compared is the model alone, so nobody gives reasons: of any model but the linear one they cost
predictions. Challengers are left out.
"""

from __future__ import annotations

import gc
import secrets
import sys
import time
from collections.abc import Iterable, Mapping
from types import BuiltinFunctionType, FunctionType, MethodType, ModuleType
from typing import Any, NamedTuple

from msgspec import structs

from online_models.estimators import Estimator
from online_models.objectives import Objective, declared_model
from online_models.validation.verdict import fit
from schemas.report import AlgorithmRow, CandidateReport
from streams.settings import Settings


class Algorithm(NamedTuple):
    """A kind of model: its declaration, and what has to be known of it."""

    model: Mapping[str, Any]
    note: str


ALGORITHMS: dict[str, Algorithm] = {
    "linear": Algorithm({"name": "ftrl"}, "the declared models where they are of this kind"),
    "tree": Algorithm({"name": "adaptive_tree"}, "River's defaults"),
    "forest": Algorithm({"name": "adaptive_forest", "params": {"n_models": 5}}, "5 trees"),
    "factorization_machine": Algorithm({"name": "factorization_machine"}, "River's defaults"),
    "neural_net": Algorithm({"name": "neural_net"}, "16 hidden units beside a linear path"),
    "naive_bayes": Algorithm({"name": "naive_bayes"}, "takes features for independent evidence"),
}


def with_algorithm(settings: Settings, name: str) -> Settings:
    """Return the settings with an algorithm's model for every objective."""
    return structs.replace(
        settings,
        objectives=[_with_model(one, name) for one in settings.objectives],
        worker=structs.replace(settings.worker, n_reasons=0),
        model_key=settings.model_key or secrets.token_bytes(32),  # nothing of a replay travels
    )


def _with_model(objective: Objective, name: str) -> Objective:
    model = ALGORITHMS[name].model
    if objective.model["name"] == model["name"]:
        model = objective.model
    return structs.replace(objective, model=declared_model(model, objective.begins_at), challengers=())


class Cost(NamedTuple):
    """Mean time of a prediction and of a learned label, in microseconds, and the model's memory at the end."""

    predict_us: float | None
    learn_us: float | None
    memory_bytes: int


class Timed:
    """A model with a stop watch."""

    def __init__(self, model: Estimator) -> None:
        self.model = model
        self.name = model.name
        self._predicted = self._learned = 0
        self._predicting_ns = self._learning_ns = 0

    def predict_proba_one(self, x: Mapping[str, float]) -> dict[bool, float]:
        """Ask the model."""
        started = time.perf_counter_ns()
        answer = self.model.predict_proba_one(x)
        self._predicting_ns += time.perf_counter_ns() - started
        self._predicted += 1
        return answer

    def learn_one(self, x: Mapping[str, float], y: bool) -> None:
        """Let the model learn."""
        started = time.perf_counter_ns()
        self.model.learn_one(x, y)
        self._learning_ns += time.perf_counter_ns() - started
        self._learned += 1

    def to_bytes(self) -> bytes:
        """Return all of the model; not of the watch, which times one process."""
        return self.model.to_bytes()

    def restore(self, blob: bytes) -> None:
        """Restore the model; raises BadRecord."""
        self.model.restore(blob)

    def cost(self) -> Cost:
        """Return what the model has cost in this process."""
        return Cost(
            _mean_us(self._predicting_ns, self._predicted),
            _mean_us(self._learning_ns, self._learned),
            size_of(self.model),
        )


def _mean_us(total_ns: int, count: int) -> float | None:
    return total_ns / count / 1000 if count else None


# What a model refers to and does not own.
_NOT_OWN = (type, ModuleType, FunctionType, BuiltinFunctionType, MethodType)


def size_of(thing: object) -> int:
    """Return the bytes of an object and of all that it refers to, classes and code left out."""
    seen: set[int] = set()
    waiting: list[object] = [thing]
    total = 0
    while waiting:
        one = waiting.pop()
        if id(one) in seen or isinstance(one, _NOT_OWN):
            continue
        seen.add(id(one))
        total += sys.getsizeof(one)
        waiting += gc.get_referents(one)
    return total


def algorithm_rows(
    candidates: Mapping[str, CandidateReport], costs: Mapping[str, Mapping[str, Cost]]
) -> Iterable[AlgorithmRow]:
    """Yield the table's lines, objective by objective.

    Parameters
    ----------
    candidates, costs
        By algorithm; costs then by objective.
    """
    objectives = dict.fromkeys(name for one in candidates.values() for name in one.objectives)
    for objective in objectives:
        for algorithm, cost in costs.items():
            one, spent = candidates[algorithm].objectives[objective], cost[objective]
            yield AlgorithmRow(
                algorithm=algorithm,
                objective=objective,
                log_loss=one.overall.log_loss,
                auc=one.overall.auc,
                last_quarter_log_loss=one.last_quarter.log_loss,
                last_quarter_auc=one.last_quarter.auc,
                predict_us=spent.predict_us,
                learn_us=spent.learn_us,
                memory_bytes=spent.memory_bytes,
                verdict=fit(one.second_half, one.last_quarter),
                note=ALGORITHMS[algorithm].note,
            )
