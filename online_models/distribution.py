"""The learner's side of the way from learner to scorers: what each publication sends.

Sending a model of a million weights whole each second would cost more than scoring; sending only
changes would leave a scorer that starts later without the rest. So a publication sends the changed
weights and, in turn, one of 256 full blocks; see `schemas.models` for why that is always enough.

The first publication of a process sends all blocks. A learner that was restarted goes back to its
checkpoint and publishes versions below the last one again; mixed with what is already on the topic,
a scorer that starts just then would find no version complete until the learner has caught up. All
blocks at once are complete by themselves. They also make it needless to keep the place in the turn:
a checkpoint holds the origin alone.

Where a ranking asks how uncertain the model is, deltas and blocks carry the information of their features beside the
weights, in the same records, so that both are of one version.

Refused: one growing log of deltas with a snapshot now and then (a slow start of scorers between two
snapshots, and a burst at each), and deltas keyed by feature (a record for each weight).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Protocol

import msgspec
from msgspec import UNSET, UnsetType

from online_models.calibration import Calibrator
from online_models.estimators.base import Estimator
from online_models.estimators.sparse_ftrl import SparseFTRL
from schemas.codec import encode_json
from schemas.models import BLOCKS, Calibration, ModelBlock, ModelDelta, ModelManifest, OpaquePart, block_of

# Brokers take messages up to 1 MiB by default. Base64 adds a third to the bytes of an opaque model.
MAX_WEIGHTS_BYTES = 900_000
MAX_BODY_BYTES = 660_000

Records = list[tuple[bytes, bytes]]


class Distributor(Protocol):
    """Turns a model into the records of a publication.

    Attributes
    ----------
    begun_at
        By how much versions are above offsets of `examples`; goes with each manifest.
    """

    begun_at: int

    def publish(self, version: int) -> Records:
        """Return the records (key, value), in the order they must be written; the last is the manifest."""

    def state(self) -> int:
        """Return what a checkpoint must keep."""

    def restore(self, state: int) -> None:
        """Take up a checkpoint's state, after the estimator has taken up its own."""


def make_distributor(
    objective: str,
    *,
    lineage: str,
    estimator: Estimator,
    informed: bool = False,
    calibrator: Calibrator | None = None,
) -> Distributor:
    """Choose how a model travels: by its weights, with their information if a ranking asks for it, or as a whole."""
    if isinstance(estimator, SparseFTRL):
        return WeightDistributor(objective, lineage=lineage, model=estimator, informed=informed, calibrator=calibrator)
    return OpaqueDistributor(objective, lineage=lineage, model=estimator, calibrator=calibrator)


def _curves_of(calibrator: Calibrator | None) -> Calibration | UnsetType:
    return UNSET if calibrator is None else calibrator.calibration()


class WeightDistributor:
    """Sends changed weights, and the blocks in turn.

    Parameters
    ----------
    lineage
        Identity of the declared features and model.
    model
        Asked for its changes at each publication; nobody else may take them.
    blocks
        The same number as the replicas'.
    max_bytes
        Of the weights in one message, and their information.
    informed
        Send the information of weights, see `online_models.uncertainty`.
    calibrator
        Its curves go with each manifest.
    """

    def __init__(
        self,
        objective: str,
        *,
        lineage: str,
        model: SparseFTRL,
        blocks: int = BLOCKS,
        max_bytes: int = MAX_WEIGHTS_BYTES,
        informed: bool = False,
        calibrator: Calibrator | None = None,
    ) -> None:
        self.begun_at = 0
        self._calibrator = calibrator
        self._objective = objective
        self._lineage = lineage
        self._model = model
        self._blocks = blocks
        self._max_bytes = max_bytes
        self._informed = informed
        self._start(origin=0)

    def _start(self, *, origin: int) -> None:
        self._origin = origin
        self._version = 0
        self._publications = 0
        self._known = 0
        self._members: list[list[str]] = [[] for _ in range(self._blocks)]

    def publish(self, version: int) -> Records:
        """Return the records of a version, which must be above the one before."""
        self._origin = self._origin or version
        changed = self._take_changed()
        slot = self._publications % self._blocks
        if self._publications:
            records = [*self._delta(slot, version, changed), *self._block(slot, version)]
        else:
            records = [record for block in range(self._blocks) for record in self._block(block, version)]
        records.append(self._manifest(version))
        self._publications += 1
        self._version = version
        return records

    def _take_changed(self) -> Sequence[str]:
        """Return what changed since the last publication, and deal new names to their blocks."""
        names = self._model.names
        for name in names[self._known :]:
            self._members[block_of(name, self._blocks)].append(name)
        self._known = len(names)
        return self._model.take_changed()

    def _names_of(self, block: int) -> Sequence[str]:
        return self._members[block]

    def _common(self, version: int) -> dict[str, Any]:
        return {"objective": self._objective, "lineage": self._lineage, "origin": self._origin, "version": version}

    def _delta(self, slot: int, version: int, changed: Sequence[str]) -> Iterator[tuple[bytes, bytes]]:
        common = self._common(version) | {"from_version": self._version}
        for part, parts, values in self._split(changed):
            record = ModelDelta(**common, **values, part=part, parts=parts)
            yield f"{self._objective}/delta/{slot}/{part}".encode(), encode_json(record)

    def _block(self, block: int, version: int) -> Iterator[tuple[bytes, bytes]]:
        common = self._common(version) | {"block": block}
        for part, parts, values in self._split(self._names_of(block)):
            record = ModelBlock(**common, **values, part=part, parts=parts)
            yield f"{self._objective}/block/{block}/{part}".encode(), encode_json(record)

    def _split(self, names: Sequence[str]) -> Iterator[tuple[int, int, dict[str, Any]]]:
        """Yield (part, parts, values) so that each part fits into a message; no features are one empty part."""
        fitting = list(self._fitting(names))
        for part, some in enumerate(fitting):
            yield part, len(fitting), some

    def _fitting(self, names: Sequence[str]) -> Iterator[dict[str, Any]]:
        weights = self._model.weights_of(names)
        information = self._model.information_of(names) if self._informed else {}
        if len(names) < 2 or _wire_bytes_at_most(self._max_bytes, weights, information):
            yield {"weights": weights, "information": information if self._informed else UNSET}
            return
        middle = len(names) // 2
        yield from self._fitting(names[:middle])
        yield from self._fitting(names[middle:])

    def _manifest(self, version: int) -> tuple[bytes, bytes]:
        model = self._model
        record = ModelManifest(
            **self._common(version),
            model=model.name,
            intercept=model.intercept,
            features=len(model),
            calibration=_curves_of(self._calibrator),
            begun_at=self.begun_at or UNSET,
        )
        return f"{self._objective}/manifest".encode(), encode_json(record)

    def state(self) -> int:
        """Return the origin: the first version that was published; 0 before that."""
        return self._origin

    def restore(self, state: int) -> None:
        """Go on in the course of learning of that origin; the next publication sends all blocks."""
        self._start(origin=state)


def _wire_bytes_at_most(max_bytes: int, *values: dict[str, float]) -> bool:
    # Six bytes a character with JSON's escapes, thirty for a double and punctuation: mostly, that settles it.
    bound = sum(6 * sum(map(len, some)) + 30 * len(some) for some in values)
    return bound <= max_bytes or sum(len(msgspec.json.encode(some)) for some in values) <= max_bytes


class OpaqueDistributor:
    """Sends a model whole, as its own signed bytes, in parts of at most `max_bytes`."""

    def __init__(
        self,
        objective: str,
        *,
        lineage: str,
        model: Estimator,
        max_bytes: int = MAX_BODY_BYTES,
        calibrator: Calibrator | None = None,
    ) -> None:
        self.begun_at = 0
        self._calibrator = calibrator
        self._objective = objective
        self._lineage = lineage
        self._model = model
        self._max_bytes = max_bytes
        self._publications = 0

    def publish(self, version: int) -> Records:
        """Return the records of a version: all parts, then the manifest."""
        blob = self._model.to_bytes()
        bodies = [blob[first : first + self._max_bytes] for first in range(0, len(blob), self._max_bytes)]
        place = f"{self._objective}/opaque/{self._publications % 2}"
        self._publications += 1
        common: dict[str, Any] = {"objective": self._objective, "lineage": self._lineage, "version": version}
        records = [
            (f"{place}/{part}".encode(), encode_json(OpaquePart(**common, part=part, body=body)))
            for part, body in enumerate(bodies)
        ]
        manifest = ModelManifest(
            **common,
            model=self._model.name,
            parts=len(bodies),
            calibration=_curves_of(self._calibrator),
            begun_at=self.begun_at or UNSET,
        )
        return [*records, (f"{self._objective}/manifest".encode(), encode_json(manifest))]

    def state(self) -> int:
        """Return the number of publications, which tells the set of keys that is next."""
        return self._publications

    def restore(self, state: int) -> None:
        """Go on behind that many publications."""
        self._publications = state
