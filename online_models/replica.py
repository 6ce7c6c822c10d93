"""The scorer's side: read-only models that follow the topic `models`.

A replica gathers the records of a publication and switches on its manifest, so a score is made by
one version or the next, never by a mixture. It follows one lineage, the one its own configuration
declares; versions only go forward, since a learner that was restarted publishes some again.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Protocol

from online_models.estimators.base import Estimator
from online_models.estimators.sparse_ftrl import sigmoid
from online_models.explain import leave_one_out
from schemas.codec import BadRecord, decode_model_record
from schemas.models import ModelBlock, ModelDelta, ModelManifest, OpaquePart

Reasons = list[tuple[str, float]]


class Follower(Protocol):
    """A replica as the topic's reader sees it."""

    lineage: str
    name: str
    version: int

    def score_one(self, x: dict[str, float], n_reasons: int) -> tuple[float, Reasons]: ...
    def gather(self, record: ModelDelta | ModelBlock | OpaquePart) -> None: ...
    def switch(self, manifest: ModelManifest) -> None: ...


class LinearReplica:
    """Weights of a linear model.

    Attributes
    ----------
    version
        The `examples` offset up to which the weights have learned; 0: nothing yet.
    """

    def __init__(self, *, lineage: str, name: str, prior: float) -> None:
        self.lineage = lineage
        self.name = name
        self.version = 0
        self.intercept = 0.0
        self.weights: dict[str, float] = {}
        self._prior = prior
        self._gathered: list[ModelDelta | ModelBlock] = []

    def score_one(self, x: dict[str, float], n_reasons: int) -> tuple[float, Reasons]:
        """Return (probability, the features that moved the logit most, largest first)."""
        if self.version == 0:
            return self._prior, []
        weights = self.weights
        total = 0.0
        shares: list[tuple[float, str, float]] = []
        for name, value in x.items():
            weight = weights.get(name)
            if weight is not None:
                share = weight * value
                total += share
                shares.append((abs(share), name, share))
        shares.sort(reverse=True)
        return sigmoid(total + self.intercept), [(name, share) for _, name, share in shares[:n_reasons] if share]

    def gather(self, record: ModelDelta | ModelBlock | OpaquePart) -> None:
        """Hold a record until its manifest comes."""
        if record.version > self.version and not isinstance(record, OpaquePart):
            self._gathered.append(record)

    def switch(self, manifest: ModelManifest) -> None:
        """Become the manifest's version."""
        if manifest.version <= self.version or manifest.intercept is None:
            return
        later = []
        for record in self._gathered:
            if record.version > manifest.version:
                later.append(record)
            else:
                self.weights.update(record.weights)
        self._gathered = later
        self.intercept = manifest.intercept
        self.version = manifest.version


class OpaqueReplica:
    """A model that travels whole; `spare` takes up what comes, and is then asked for predictions."""

    def __init__(self, *, lineage: str, spare: Estimator, prior: float) -> None:
        self.lineage = lineage
        self.name = spare.name
        self.version = 0
        self._model = spare
        self._prior = prior
        self._parts: dict[int, OpaquePart] = {}

    def score_one(self, x: dict[str, float], n_reasons: int) -> tuple[float, Reasons]:
        """Return (probability, reasons by leaving features out one at a time)."""
        if self.version == 0:
            return self._prior, []
        return leave_one_out(self._model, x, n_reasons)

    def gather(self, record: ModelDelta | ModelBlock | OpaquePart) -> None:
        """Hold a part until its manifest comes."""
        if isinstance(record, OpaquePart) and record.version > self.version:
            self._parts[record.part] = record

    def switch(self, manifest: ModelManifest) -> None:
        """Become the manifest's version, if all of its parts are there."""
        parts = [self._parts.get(number) for number in range(manifest.parts)]
        if manifest.version <= self.version or any(part is None or part.version != manifest.version for part in parts):
            return
        self._model.restore(b"".join(part.body for part in parts if part is not None))
        self._parts.clear()
        self.version = manifest.version


class ReplicaSet(Mapping[str, Follower]):
    """The replicas of all objectives, by name."""

    def __init__(self, replicas: Mapping[str, Follower]) -> None:
        self._replicas = dict(replicas)
        self.unreadable = 0

    def __getitem__(self, objective: str) -> Follower:
        return self._replicas[objective]

    def __iter__(self) -> Iterator[str]:
        return iter(self._replicas)

    def __len__(self) -> int:
        return len(self._replicas)

    def apply(self, value: bytes | None) -> None:
        """Take in a record of `models`; what is not for us, or no record of ours, is passed over."""
        if value is None:
            return
        try:
            record = decode_model_record(value)
            replica = self._replicas.get(record.objective)
            if replica is None or replica.lineage != record.lineage:
                return
            if isinstance(record, ModelManifest):
                replica.switch(record)
            else:
                replica.gather(record)
        except BadRecord:
            self.unreadable += 1
