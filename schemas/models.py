"""What the compacted topic `models` carries: changed weights, full blocks in turn, and manifests.

A publication is a few records and, last, a manifest with the version; scorers switch on the manifest.
Weights are values, not differences, so applying the compacted log from its beginning in order gives
the whole model: a key is written anew only when a later record has all that it held.
"""

from __future__ import annotations

from msgspec import Struct

MODELS_VERSION = 1


class ModelDelta(Struct, kw_only=True, tag_field="kind", tag="delta"):
    """Weights learned on since the publication before. Key: ``objective/delta/<slot>/<part>``."""

    objective: str
    lineage: str
    version: int
    weights: dict[str, float]
    schema_version: int = MODELS_VERSION


class ModelBlock(Struct, kw_only=True, tag_field="kind", tag="block"):
    """All weights of one block of the features. Key: ``objective/block/<number>/<part>``."""

    objective: str
    lineage: str
    version: int
    weights: dict[str, float]
    schema_version: int = MODELS_VERSION


class OpaquePart(Struct, kw_only=True, tag_field="kind", tag="opaque"):
    """A part of a signed, pickled model, base64. Key: ``objective/opaque/<part>``."""

    objective: str
    lineage: str
    version: int
    part: int
    body: bytes
    schema_version: int = MODELS_VERSION


class ModelManifest(Struct, kw_only=True, tag_field="kind", tag="manifest"):
    """Ends a publication. Key: ``objective/manifest``.

    Attributes
    ----------
    lineage
        Identity of the declared features and model; scorers follow only their own.
    version
        `examples` offset up to which (exclusive) the model has learned.
    intercept
        Of a linear model; None for an opaque one.
    parts
        Number of parts of an opaque model; 0 for a linear one.
    """

    objective: str
    lineage: str
    model: str
    version: int
    intercept: float | None = None
    parts: int = 0
    schema_version: int = MODELS_VERSION


ModelRecord = ModelDelta | ModelBlock | OpaquePart | ModelManifest
