"""What a learner needs of a model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol


class Estimator(Protocol):
    """A binary classifier that learns one example at a time; River's verbs, plus a way to be kept."""

    @property
    def name(self) -> str:
        """How scores name the model."""

    def predict_proba_one(self, x: Mapping[str, float]) -> dict[bool, float]:
        """Return {True: p, False: 1 - p}; p is finite and between 0 and 1."""

    def learn_one(self, x: Mapping[str, float], y: bool) -> None:
        """Learn an example; `x` holds finite numbers (`online_models.guard`)."""

    def to_bytes(self) -> bytes:
        """Return all of the model; `restore` goes on from it bit for bit the same."""

    def restore(self, blob: bytes) -> None:
        """Take up what `to_bytes` gave; raises BadRecord, and is then unchanged, if it is something else."""
