"""What the compacted topic `models` carries: changed weights, full blocks in turn, manifests, and who is served.

A publication is a few records and, last, a manifest with the version; scorers switch on the manifest.
Weights are values, not differences: applying a record twice does no harm. Features are dealt to 256
blocks by ``crc32(name) % 256``. A publication holds either the weights that changed since the one
before and one block in turn, or all blocks. Compaction keeps the last 256 deltas and the last copy of
every block, so the topic, read from its beginning, always holds the whole model: each block, and
behind it every change since it was written.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Annotated, Literal
from zlib import crc32

from msgspec import UNSET, Meta, Struct, UnsetType

MODELS_VERSION = 1
BLOCKS = 256

NotNegative = Annotated[float, Meta(ge=0.0)]


def block_of(feature: str, blocks: int = BLOCKS) -> int:
    """Return the block that a feature's weight belongs to."""
    return crc32(feature.encode()) % blocks


class ModelDelta(Struct, kw_only=True, tag_field="kind", tag="delta"):
    """Weights that changed since the publication before. Key: ``objective/delta/<slot>/<part>``.

    Attributes
    ----------
    lineage
        Identity of the declared features and model; scorers follow only their own.
    origin
        First version that was published of this course of learning. A learner that lost its
        checkpoint starts another course, whose weights must not be mixed with these.
    from_version, version
        `examples` offsets (exclusive) before and after the changes.
    information
        Of the same features, the sums of squared gradients that are not 0: how much is known of each weight. Only where
        a ranking asks for it.
    part, parts
        A large delta is split; it counts only when all parts are there.
    """

    objective: str
    lineage: str
    origin: int
    from_version: int
    version: int
    weights: dict[str, float]
    information: dict[str, NotNegative] | UnsetType = UNSET
    part: int = 0
    parts: int = 1
    schema_version: Annotated[int, Meta(ge=1, le=MODELS_VERSION)] = 1


class ModelBlock(Struct, kw_only=True, tag_field="kind", tag="block"):
    """All weights of one block that are not 0, and their information. Key: ``objective/block/<block>/<part>``."""

    objective: str
    lineage: str
    origin: int
    version: int
    block: Annotated[int, Meta(ge=0, lt=BLOCKS)]
    weights: dict[str, float]
    information: dict[str, NotNegative] | UnsetType = UNSET
    part: int = 0
    parts: int = 1
    schema_version: Annotated[int, Meta(ge=1, le=MODELS_VERSION)] = 1


class OpaquePart(Struct, kw_only=True, tag_field="kind", tag="opaque"):
    """A part of a signed, pickled model, base64. Key: ``objective/opaque/<0 or 1>/<part>``.

    Publications alternate between two sets of keys, so that the one before stays whole until the
    manifest of the next is written.
    """

    objective: str
    lineage: str
    version: int
    part: int
    body: bytes
    schema_version: Annotated[int, Meta(ge=1, le=MODELS_VERSION)] = 1


Logit = Annotated[float, Meta(ge=-1e6, le=1e6)]


class Curve(Struct):
    """From raw logits to calibrated ones, by the points that straight lines join; neither goes down.

    Attributes
    ----------
    raw, calibrated
        Logits; as many of each, at least two; raw ones grow.
    """

    raw: Annotated[list[Logit], Meta(min_length=2)]
    calibrated: Annotated[list[Logit], Meta(min_length=2)]

    def __post_init__(self) -> None:
        if len(self.raw) != len(self.calibrated) or any(b <= a for a, b in pairwise(self.raw)):
            raise ValueError("Expected raw logits that grow, and as many calibrated ones")
        if any(b < a for a, b in pairwise(self.calibrated)):
            raise ValueError("Expected calibrated logits that do not fall")


class Calibration(Struct, kw_only=True, omit_defaults=True):
    """What turns a model's probabilities into calibrated ones.

    Attributes
    ----------
    whole
        For every trigger without a curve of its own.
    slices
        By the value of the feature that the objective's calibration goes ``by``.
    """

    whole: Curve
    slices: dict[str, Curve] = {}


class ModelManifest(Struct, kw_only=True, tag_field="kind", tag="manifest"):
    """Ends a publication. Key: ``objective/manifest``.

    Attributes
    ----------
    model
        Its declared name.
    version
        `examples` offset up to which (exclusive) the model has learned, and `begun_at` above it.
    origin, intercept, features
        Of a linear model: as in the delta, its intercept, and how many features it has met.
    parts
        Number of parts of an opaque model; 0 for a linear one.
    calibration
        Learned from the scores of earlier versions; only of an objective that is calibrated.
    begun_at
        The version at which the log that is learned from now was at its offset 0. Only where that log has taken the
        place of another: versions go on, offsets begin anew.
    """

    objective: str
    lineage: str
    model: str
    version: int
    origin: int = 0
    intercept: float | None = None
    features: int = 0
    parts: int = 0
    calibration: Calibration | UnsetType = UNSET
    begun_at: Annotated[int, Meta(ge=0)] | UnsetType = UNSET
    schema_version: Annotated[int, Meta(ge=1, le=MODELS_VERSION)] = 1


Cause = Literal["", "test", "command", "rollback"]


class Serving(Struct, kw_only=True, tag_field="kind", tag="serving"):
    """Which variant of an objective's model is served from here on. Key: ``objective/serving``.

    Attributes
    ----------
    variant, before
        Challenger that is served, and what was served before; empty: the declared model.
    number
        Counts the changes; a lower number than the one that holds is passed over, and of two that are equal the one
        before.
    cause
        As of a `schemas.metrics.Promotion`; empty: of a version before, which did not tell it here.
    """

    objective: str
    variant: str
    before: str
    number: Annotated[int, Meta(ge=1)]
    cause: Cause = ""
    schema_version: Annotated[int, Meta(ge=1, le=MODELS_VERSION)] = 1


ModelRecord = ModelDelta | ModelBlock | OpaquePart | ModelManifest | Serving
