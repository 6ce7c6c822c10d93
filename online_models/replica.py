"""The scorer's side: read-only models that follow the topic `models`.

A replica gathers the records of a publication and switches on its manifest, so a score is made by
one version or the next, never by a mixture. It follows one lineage, the one its own configuration
declares. A scorer may start at any time, read a log that compaction has thinned out anywhere, and meet
the publications of a learner that went back to its checkpoint. The rules that keep it right:

- Versions go forward: what is not above the replica's own version is passed over.
- It switches to a version only when it can prove that nothing is missing: for each block, a copy (its
  own or one gathered) and behind it an unbroken chain of deltas up to the manifest's version.
- What is gathered must not go back in version either. If it does, a restarted learner is publishing
  anew, and gathering starts over: older values must not overwrite newer ones.
- Weights of two courses of learning (see ``origin``) never meet. The other course takes over whole,
  once its version is above the replica's.
- The information of weights, where a ranking asks for it, is proved in the same way, from the records
  that carry it. A learner that was not told yet sends weights alone: those are followed, nothing is
  known of how uncertain they are until all information has come.

Until the proof succeeds the replica scores with the version it has; the blocks in turn make sure that
it succeeds within 256 publications whatever was lost. Not safe for several threads: `follow` and
`score_one` must be called from one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import NamedTuple, Protocol

from msgspec import UNSET

from online_models.estimators.base import Estimator
from online_models.explain import Reasons, leave_one_out, score_linear
from online_models.serving import Served
from online_models.uncertainty import Uncertainty
from schemas.codec import BadRecord, decode_model_record
from schemas.models import BLOCKS, Calibration, ModelBlock, ModelDelta, ModelManifest, OpaquePart, Serving

PublishedModel = ModelDelta | ModelBlock | OpaquePart | ModelManifest

MISSING = -1


class Follower(Protocol):
    """A replica as the topic's reader sees it.

    Attributes
    ----------
    version
        `examples` offset up to which (exclusive) the model has learned, and `begun_at` above it; 0: nothing
        came yet, and scores are the declared prior without reasons.
    begun_at
        By how much the version is above its offset, see `schemas.models.ModelManifest`.
    incomplete
        Versions that were passed over because a part of them had not come.
    calibration
        That was published with the version; None: nothing came yet, or the objective is not calibrated.
    """

    calibration: Calibration | None
    lineage: str
    name: str
    version: int
    begun_at: int
    incomplete: int

    def score_one(self, x: dict[str, float], n_reasons: int) -> tuple[float, Reasons]: ...
    def uncertainty(self) -> Uncertainty | None: ...
    def linear(self) -> Linear | None: ...
    def follow(self, record: PublishedModel) -> None: ...


class Linear(NamedTuple):
    """The weights of a version, by name; None of an unknown feature."""

    weight_of: Callable[[str], float | None]
    intercept: float


class LinearReplica:
    """Weights of a linear model.

    Parameters
    ----------
    prior
        The score before a model has come.
    blocks
        The same number as the learner's.
    prior_precision
        The model's own, if a ranking goes by how uncertain it is; None: nobody asks, information is not kept.

    Attributes
    ----------
    weights, intercept
        Of the version at hand; the next one may come in another dict.
    information
        As `weights`; None: not known of this version, or not asked for.
    incomplete
        Manifests that could not be followed because something before them was missing.
    """

    def __init__(
        self, *, lineage: str, name: str, prior: float, blocks: int = BLOCKS, prior_precision: float | None = None
    ) -> None:
        self.lineage = lineage
        self.name = name
        self.version = 0
        self.begun_at = 0
        self.intercept = 0.0
        self.weights: dict[str, float] = {}
        self.information: dict[str, float] | None = None
        self.incomplete = 0
        self.calibration: Calibration | None = None
        self.prior = prior
        self._prior_precision = prior_precision
        self._origin = MISSING
        self._blocks = blocks
        self._gathered = self._nothing(MISSING)

    def score_one(self, x: dict[str, float], n_reasons: int) -> tuple[float, Reasons]:
        """Return (probability, the features that moved the logit most, largest first)."""
        if not self.version:
            return self.prior, []
        return score_linear(self.weights, self.intercept, x, n_reasons)

    def linear(self) -> Linear:
        """Return the weights at hand."""
        return Linear(self.weights.get, self.intercept)

    def uncertainty(self) -> Uncertainty | None:
        """Return what is known of the weights at hand; None: nothing came yet."""
        information, prior = self.information, self._prior_precision
        if information is None or prior is None:
            return None
        return Uncertainty(lambda name: information.get(name, 0.0), prior)

    def _nothing(self, origin: int) -> Gathered:
        informed = self._prior_precision is not None
        return Gathered(origin, Values(self._blocks), Values(self._blocks) if informed else None)

    def follow(self, record: PublishedModel) -> None:
        """Gather a record, or switch to a manifest's version."""
        if isinstance(record, OpaquePart):
            return
        if record.version <= self.version and (record.origin == self._origin or isinstance(record, ModelManifest)):
            return
        if isinstance(record, ModelManifest):
            self._switch(record)
        else:
            if record.origin != self._gathered.origin or record.version < self._gathered.version:
                self._gathered = self._nothing(record.origin)
            self._gathered.add(record)

    def _switch(self, manifest: ModelManifest) -> None:
        gathered = self._gathered
        own_version = self.version if manifest.origin == self._origin else MISSING
        if manifest.intercept is None or not gathered.completes(gathered.weights, manifest, own_version):
            self.incomplete += 1
            return
        informed_version = MISSING if self.information is None else own_version
        informed = gathered.information is not None and gathered.completes(
            gathered.information, manifest, informed_version
        )
        self.weights = gathered.weights.on_top_of(self.weights if own_version != MISSING else None, own_version)
        self._gathered = self._nothing(manifest.origin)
        if gathered.information is not None and informed:
            self.information = gathered.information.on_top_of(
                self.information if informed_version != MISSING else None, informed_version
            )
        else:  # what has come of it is kept until the rest has
            self.information = None
            self._gathered.information = gathered.information
        self.intercept = manifest.intercept
        self.calibration = manifest.calibration or None
        self.version = manifest.version
        self.begun_at = manifest.begun_at or 0
        self._origin = manifest.origin


class Values:
    """One value for each feature, and what is known of where they came from."""

    def __init__(self, blocks: int) -> None:
        self._values: dict[str, float] = {}
        self._blocks = [MISSING] * blocks
        self._deltas: list[tuple[int, int]] = []

    def add(self, record: ModelDelta | ModelBlock, parts: Iterable[dict[str, float]]) -> None:
        """Take in a whole delta or block."""
        self._take(record, parts)
        if isinstance(record, ModelDelta):
            self._deltas.append((record.from_version, record.version))
        else:
            self._blocks[record.block] = record.version

    def reach(self, own_version: int) -> int:
        """Return the version up to which nothing is missing, on top of the replica's own values."""
        return self.led_to(min(max(own_version, block) for block in self._blocks))

    def led_to(self, version: int) -> int:
        """Return the version that deltas lead to from another, without a gap."""
        if version != MISSING:
            for start, end in self._deltas:
                if start <= version < end:
                    version = end
        return version

    def _take(self, record: ModelDelta | ModelBlock, parts: Iterable[dict[str, float]]) -> None:
        for values in parts:
            self._values.update(values)

    def on_top_of(self, own: dict[str, float] | None, own_version: int) -> dict[str, float]:
        """Return all values, in the replica's own dict where it has one; nothing must be missing."""
        if own is None:
            return self._values
        own.update(self._values)
        return own


class Gathered:
    """What came since the last switch, of one origin and with versions that never go back.

    Parameters
    ----------
    weights, information
        Nothing yet; no information: nobody asks for it.
    """

    def __init__(self, origin: int, weights: Values, information: Values | None) -> None:
        self.origin = origin
        self.version = MISSING
        self.weights = weights
        self.information = information
        self._partial: dict[tuple[str, int, int], dict[int, ModelDelta | ModelBlock]] = {}

    def add(self, record: ModelDelta | ModelBlock) -> None:
        """Take in a delta or a block, if it is whole or this is its last part."""
        self.version = record.version
        parts = [record] if record.parts == 1 else self._joined(record)
        if not parts:
            return
        self.weights.add(record, [part.weights for part in parts])
        if self.information is not None:
            known = [part.information for part in parts if part.information is not UNSET]
            if len(known) == len(parts):
                self.information.add(record, known)

    def _joined(self, record: ModelDelta | ModelBlock) -> list[ModelDelta | ModelBlock]:
        which = ("delta", 0) if isinstance(record, ModelDelta) else ("block", record.block)
        parts = self._partial.setdefault((*which, record.version), {})
        parts[record.part] = record
        return list(parts.values()) if len(parts) == record.parts else []

    def completes(self, values: Values, manifest: ModelManifest, own_version: int) -> bool:
        """Tell whether, on top of the replica's own, these are all values of the manifest's version."""
        if self.origin != manifest.origin or self.version > manifest.version:
            return False
        return values.reach(own_version) == manifest.version


class OpaqueReplica:
    """A model that travels whole; `spare` takes up what comes, and is then asked for predictions.

    Reasons cost a prediction each, see `online_models.explain.leave_one_out`.
    """

    def __init__(self, *, lineage: str, spare: Estimator, prior: float) -> None:
        self.lineage = lineage
        self.name = spare.name
        self.version = 0
        self.begun_at = 0
        self.incomplete = 0
        self.calibration: Calibration | None = None
        self._model = spare
        self._prior = prior
        self._parts: dict[int, bytes] = {}
        self._parts_version = 0

    def score_one(self, x: dict[str, float], n_reasons: int) -> tuple[float, Reasons]:
        """Return (probability, reasons by leaving features out one at a time)."""
        if not self.version:
            return self._prior, []
        p = self._predict(x)
        return p, leave_one_out(self._predict, x, p, n_reasons)

    def linear(self) -> None:
        """Return None: such a model has no weights."""

    def uncertainty(self) -> None:
        """Return None: such a model does not tell how uncertain it is."""

    def _predict(self, x: Mapping[str, float]) -> float:
        return self._model.predict_proba_one(x)[True]

    def follow(self, record: PublishedModel) -> None:
        """Hold a part, or take up the model whose manifest this is; raises BadRecord."""
        if record.version <= self.version:
            return
        if isinstance(record, OpaquePart):
            if record.version != self._parts_version:
                self._parts, self._parts_version = {}, record.version
            self._parts[record.part] = record.body
        elif isinstance(record, ModelManifest):
            self._switch(record)

    def _switch(self, manifest: ModelManifest) -> None:
        parts = [self._parts.get(number) for number in range(manifest.parts)]
        if manifest.version != self._parts_version or not parts or None in parts:
            self.incomplete += 1
            return
        self._parts = {}
        self._model.restore(b"".join(part for part in parts if part is not None))
        self.calibration = manifest.calibration or None
        self.version = manifest.version
        self.begun_at = manifest.begun_at or 0


class ReplicaSet(Mapping[str, Follower]):
    """The replicas of all variants of all objectives, by name.

    Parameters
    ----------
    former_lineages
        By the names of variants, another name of the lineage under which earlier versions publish the same model.

    Attributes
    ----------
    served
        Which variant of an objective is served, by the objective's name.
    unreadable
        Records that were no records of ours; passed over.
    foreign
        Records of objectives or lineages that are not declared here; passed over.
    """

    def __init__(
        self,
        replicas: Mapping[str, Follower],
        served: Mapping[str, Served] | None = None,
        former_lineages: Mapping[str, str] | None = None,
    ) -> None:
        self._replicas = dict(replicas)
        self.served = dict(served or {})
        self._former_lineages = dict(former_lineages or {})
        self.unreadable = 0
        self.foreign = 0

    def __getitem__(self, objective: str) -> Follower:
        return self._replicas[objective]

    def __iter__(self) -> Iterator[str]:
        return iter(self._replicas)

    def __len__(self) -> int:
        return len(self._replicas)

    def apply(self, value: bytes | None) -> None:
        """Take in the value of a record of `models`; tombstones hold nothing and are passed over."""
        if value is None:
            return
        try:
            record = decode_model_record(value)
            if isinstance(record, Serving):
                self._serve(record)
                return
            replica = self._replicas.get(record.objective)
            if replica is not None and record.lineage in (replica.lineage, self._former_lineages.get(record.objective)):
                replica.follow(record)
            else:
                self.foreign += 1
        except BadRecord:
            self.unreadable += 1

    def _serve(self, record: Serving) -> None:
        served = self.served.get(record.objective)
        if served is None:
            self.foreign += 1
        else:
            served.follow(record)
