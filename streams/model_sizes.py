"""Shows how large the models of a learner are, and says once of each that is full: no score tells that it is."""

from __future__ import annotations

import logging

from online_models.learning import LearningCore
from streams.logs import log_event
from streams.telemetry import Telemetry

logger = logging.getLogger("streamscore.learner")


class ModelSizes:
    """The sizes of the models of one partition of `examples`."""

    def __init__(self, telemetry: Telemetry) -> None:
        self._telemetry = telemetry
        self._full: set[str] = set()

    def show(self, core: LearningCore) -> None:
        """Show a model's size, if it has a bound."""
        size, name = core.size, core.objective
        if size is None:
            return
        self._telemetry.model_sized(name, size)
        if size.features >= size.most and name not in self._full:
            self._full.add(name)
            log_event(
                logger,
                logging.WARNING,
                "the model is full and never learns features that are new; raise its max_weights or max_features, or "
                "leave out features of very many values",
                objective=name,
                features=size.features,
            )
