"""The learner's side of the way from learner to scorers: what each publication sends.

Sending a model of a million weights whole each second would cost more than scoring; sending only
changes would leave a scorer that starts later without the rest. So a publication sends the changed
weights and, in turn, one of 256 full blocks. On the compacted topic the last 256 deltas and every
block stay: a weight's last change is in a delta that is still there, or in a block written since.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Protocol
from zlib import crc32

from online_models.estimators.base import Estimator
from online_models.estimators.sparse_ftrl import SparseFTRL
from schemas.codec import encode_json
from schemas.models import ModelBlock, ModelDelta, ModelManifest, OpaquePart

BLOCKS = 256
# A broker takes messages up to 1 MiB; a weight is some 40 bytes, rarely above 100.
_WEIGHTS_A_PART = 8_000
_BYTES_A_PART = 600_000

Records = list[tuple[bytes, bytes]]


class Distributor(Protocol):
    """Turns a model into the records of a publication."""

    def publish(self, version: int) -> Records:
        """Return the records, in the order they must be written; the last is the manifest."""

    def state(self) -> int:
        """Return what a checkpoint must keep."""

    def restore(self, state: int) -> None:
        """Take up a checkpoint's state, after the estimator has taken up its own."""


def make_distributor(objective: str, *, lineage: str, estimator: Estimator) -> Distributor:
    """Choose how a model travels: by its weights, or as a whole."""
    if isinstance(estimator, SparseFTRL):
        return WeightDistributor(objective, lineage=lineage, model=estimator)
    return OpaqueDistributor(objective, lineage=lineage, model=estimator)


class WeightDistributor:
    """Sends changed weights, and the blocks in turn."""

    def __init__(self, objective: str, *, lineage: str, model: SparseFTRL) -> None:
        self._objective = objective
        self._lineage = lineage
        self._model = model
        self._publications = 0
        self._known: set[str] = set()
        self._members: list[list[str]] = [[] for _ in range(BLOCKS)]

    def publish(self, version: int) -> Records:
        slot = self._publications % BLOCKS
        self._publications += 1
        changed = self._model.take_changed()
        self._learn_members(changed.weights)
        records: Records = []
        common = {"objective": self._objective, "lineage": self._lineage, "version": version}
        for part, weights in enumerate(_parts(changed.weights)):
            records.append((self._key("delta", slot, part), encode_json(ModelDelta(**common, weights=weights))))
        for part, weights in enumerate(_parts(self._model.weights_of(self._members[slot]))):
            records.append((self._key("block", slot, part), encode_json(ModelBlock(**common, weights=weights))))
        manifest = ModelManifest(**common, model=self._model.name, intercept=changed.intercept)
        records.append((f"{self._objective}/manifest".encode(), encode_json(manifest)))
        return records

    def _key(self, kind: str, number: int, part: int) -> bytes:
        return f"{self._objective}/{kind}/{number}/{part}".encode()

    def _learn_members(self, names: Iterable[str]) -> None:
        for name in names:
            if name not in self._known:
                self._known.add(name)
                self._members[crc32(name.encode()) % BLOCKS].append(name)

    def state(self) -> int:
        return self._publications

    def restore(self, state: int) -> None:
        self._publications = state
        self._learn_members(self._model.weights)


def _parts(weights: dict[str, float]) -> Iterator[dict[str, float]]:
    if len(weights) <= _WEIGHTS_A_PART:
        if weights:
            yield weights
        return
    names = list(weights)
    for first in range(0, len(names), _WEIGHTS_A_PART):
        yield {name: weights[name] for name in names[first : first + _WEIGHTS_A_PART]}


class OpaqueDistributor:
    """Sends a model whole, as its own signed bytes, in parts."""

    def __init__(self, objective: str, *, lineage: str, model: Estimator) -> None:
        self._objective = objective
        self._lineage = lineage
        self._model = model

    def publish(self, version: int) -> Records:
        blob = self._model.to_bytes()
        bodies = [blob[first : first + _BYTES_A_PART] for first in range(0, len(blob), _BYTES_A_PART)]
        common = {"objective": self._objective, "lineage": self._lineage, "version": version}
        records = [
            (f"{self._objective}/opaque/{part}".encode(), encode_json(OpaquePart(**common, part=part, body=body)))
            for part, body in enumerate(bodies)
        ]
        manifest = ModelManifest(**common, model=self._model.name, parts=len(bodies))
        records.append((f"{self._objective}/manifest".encode(), encode_json(manifest)))
        return records

    def state(self) -> int:
        return 0

    def restore(self, state: int) -> None:
        """Nothing to take up."""
