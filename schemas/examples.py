"""What the `examples` topic carries: a trigger's features as they were, and the label it got."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Struct

EXAMPLES_VERSION = 1

Use = Literal["both", "learn", "judge"]
Probability = Annotated[float, Meta(ge=0.0, le=1.0)]
# An offset of `examples`; whole numbers beyond this are not exact in every JSON reader, nor packed by msgpack.
Version = Annotated[int, Meta(ge=0, le=2**53)]
# Values of the features that count all visitors, in the order of their declaration.
CrowdValues = list[float | int | str | None]
# Tells apart what such values mean.
CrowdHash = Annotated[str, Meta(max_length=64)]
# By variant: what it said, and the version of its model.
Shadows = dict[str, tuple[Probability, Version]]
# By variant: what its model said before it was calibrated.
RawShadows = dict[str, Probability]


# Not for the garbage collector: a tree, and many are made.
class Example(Struct, kw_only=True, omit_defaults=True, gc=False):
    """One labelled trigger, keyed on the topic by its objective.

    Attributes
    ----------
    score_id
        The score that was published for the trigger; of what is told of the crowd, which has none, such a name.
    ts
        Event time of the trigger, epoch ms.
    features
        As the model saw them at the trigger: name to finite value. Empty where ``use`` is "judge".
    score, model_version
        The prediction that was published, which is what progressive validation judges.
    variant
        Challenger whose score was served; empty: the declared model's.
    user_id
        The visitor; left out where the objective has no challengers.
    shadows
        What the other variants of the objective said: name to (score, model_version).
    raw, raw_shadows
        What the models themselves said, where the objective is calibrated: ``score`` and ``shadows`` before that.
    slice
        Value of the feature that the calibration goes ``by``; None: it has none, or there is no such feature.
    features_of
        Features of the challengers that see others than the declared model.
    use
        "both": judge the score by the label, then learn. "learn": a fake negative, learned only.
        "judge": the window of a fake negative has ended, nothing is left to learn.
    topic, partition, offset, seq
        The record whose arrival released this example, and a counter within it. They only grow
        within a partition, hence a learner can drop what a crash has repeated.
    released_ts
        Stream time at the release, epoch ms.
    """

    objective: str
    score_id: str
    ts: int
    label: bool
    features: dict[str, float]
    score: float
    model_version: int
    topic: str
    partition: int
    offset: int
    seq: int
    released_ts: int
    use: Use = "both"
    variant: str = ""
    user_id: str = ""
    shadows: Shadows = {}
    raw: Probability | None = None
    raw_shadows: RawShadows = {}
    slice: str | None = None
    features_of: dict[str, dict[str, float]] = {}
    schema_version: Annotated[int, Meta(ge=1, le=EXAMPLES_VERSION)] = 1
