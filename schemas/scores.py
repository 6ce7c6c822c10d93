"""What the `scores` topic carries: one message for each trigger and objective, and for each rank request."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct

from schemas.examples import CrowdHash, CrowdValues, Probability, RawShadows, Shadows, Version

SCORES_VERSION = 1


class Ranked(Struct, kw_only=True, omit_defaults=True):
    """An item at its place in the answer to a rank request.

    Attributes
    ----------
    score
        Probability of the outcome, if the item is shown at this place.
    propensity
        Chance with which it got this place, given those above it.
    category, price
        What is known of an item that came from a candidate source.
    reasons, shadows, crowd, raw, raw_shadows
        As of a `Score`.
    """

    item_id: str
    score: Probability
    propensity: Annotated[float, Meta(gt=0.0, le=1.0)]
    reasons: list[tuple[str, float]]
    shadows: Shadows = {}
    crowd: CrowdValues = []
    raw: Probability | None = None
    raw_shadows: RawShadows = {}
    category: str | None = None
    price: float | None = None


# Not for the garbage collector: a tree, and many are made.
class Score(Struct, kw_only=True, omit_defaults=True, gc=False):
    """A prediction, with all it takes to repeat and to explain it.

    Attributes
    ----------
    score_id
        ``topic-partition-offset:objective`` of the trigger. The same after a crash, so a reader
        that keeps the first message of an id sees each score once.
    ts
        Event time of the trigger, epoch ms.
    score
        Probability of the outcome within the objective's window, 0 to 1.
    model_version
        The `examples` offset up to which (exclusive) the model had learned; 0: nothing yet.
    reasons
        Largest contributions first: (feature, its share of the logit).
    variant
        Challenger that made the score, see ``challengers:``; empty: the declared model.
    shadows
        What the other variants of the objective said: name to (score, model_version).
    flags
        ``cold`` (the model has learned nothing yet), ``late`` (the trigger came after its window had closed),
        ``answered`` (over HTTP, before the request was in the log).
    source_ts
        Kafka timestamp of the trigger's record, epoch ms; latency is counted from it.
    ranking, ranked
        Of the answer to a rank request: the ranking's name, which is also the end of the score_id, and what to show,
        first place first. Item, score, reasons and propensity above are those of the first place.
    crowd
        Values of the features that count all visitors, as they were, in the order of their declaration.
    crowd_hash
        8 hex digits of what the values in `crowd`, also in those of `ranked`, mean: by which features and rules they
        were made. Empty: there are none, or a version before has written them.
    crowd_version
        The `examples` offset up to which (exclusive) the counts of all visitors had come; 0: no feature needs them,
        or nothing came yet.
    segment
        Number of the visitor's segment, see ``segments:``; None: there are none yet, or none are declared.
    raw, raw_shadows
        What the models themselves said, before ``score`` and ``shadows`` were made of it; only of an objective that is
        calibrated, see ``calibration:``. Reasons are shares of the logit of ``raw``.
    """

    score_id: str
    event_id: str
    user_id: str
    ts: int
    objective: str
    score: float
    model: str
    model_version: int
    reasons: list[tuple[str, float]]
    topic: str
    partition: int
    offset: int
    source_ts: int
    session_id: str | None = None
    item_id: str | None = None
    propensity: float | None = None
    variant: str = ""
    shadows: Shadows = {}
    flags: list[str] = []
    ranking: str = ""
    ranked: list[Ranked] = []
    crowd: CrowdValues = []
    crowd_version: Version = 0
    crowd_hash: CrowdHash = ""
    segment: str | None = None
    raw: Probability | None = None
    raw_shadows: RawShadows = {}
    schema_version: Annotated[int, Meta(ge=1, le=SCORES_VERSION)] = 1
