"""What is to be found out about a candidate while it runs, and what was."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from online_models.closed_loop import ClosedLoop, Watcher
from online_models.estimators import Estimator
from streams.replay.tally import Tally
from streams.settings import Settings


@dataclass
class Results:
    """What was found out about a candidate; plain values, to be handed from process to process."""

    label: str
    tally: Tally
    scored: int
    ignored: dict[str, int]
    models: dict[str, str]


class Measures:
    """The judges of one candidate."""

    def __init__(self, settings: Settings, plan: Any) -> None:
        self.settings = settings
        self.watchers: Mapping[str, list[Watcher]] = {}

    def timed(self, objective: str, model: Estimator) -> Estimator:
        """Return the model, to be timed if that was asked for."""
        return model

    def results(self, label: str, tally: Tally, loop: ClosedLoop) -> Results:
        """Return what was found out."""
        return Results(
            label=label,
            tally=tally,
            scored=loop.scored,
            ignored=dict(loop.ignored),
            models={one.name: str(one.model["name"]) for one in self.settings.objectives},
        )
