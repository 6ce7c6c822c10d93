"""What the `metrics` topic carries: where every event went, and how well the models predict."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Struct

METRICS_VERSION = 1


class Accounting(Struct, kw_only=True, tag_field="kind", tag="accounting"):
    """Where the records of one chunk went: ``events == scored + dead + sum(ignored)``.

    ``scored`` counts events, ``scores`` the messages they led to (one for each objective), and
    ``examples`` the labelled triggers that the chunk released. ``bids`` counts the bid requests that were
    answered, with a bid or without; they are among those ``scored``.

    Chunks of a partition follow each other without gaps. After a crash a chunk may start again at
    the same ``first_offset``; the later message then replaces all that start at or behind it.
    """

    topic: str
    partition: int
    first_offset: int
    next_offset: int
    events: int
    scored: int
    dead: int
    ignored: dict[str, int]
    scores: int
    examples: int
    stream_time_ms: int
    bids: int = 0
    schema_version: Annotated[int, Meta(ge=1, le=METRICS_VERSION)] = 1


class Progress(Struct, kw_only=True, tag_field="kind", tag="progress"):
    """Progressive validation of one objective: scores as published, judged when the label came.

    Attributes
    ----------
    version
        `examples` offset (exclusive) that these numbers cover.
    base_log_loss
        Log loss of always predicting the rate seen so far: the simple rule to beat.
    """

    objective: str
    version: int
    n: int
    positives: int
    learned: int
    refused: int
    log_loss: float | None
    base_log_loss: float | None
    auc: float | None
    mean_score: float | None
    schema_version: Annotated[int, Meta(ge=1, le=METRICS_VERSION)] = 1


class Standing(Struct, kw_only=True):
    """How a challenger stands against the champion.

    Attributes
    ----------
    judged
        Triggers on which both were judged.
    advantage
        Mean log loss of the champion less that of the challenger, in nats; above 0 the challenger is better.
    evidence
        E-value against "the challenger is no better"; `Contest.needed` of it promotes.
    """

    judged: int
    advantage: float | None
    evidence: float


class Contest(Struct, kw_only=True, tag_field="kind", tag="contest"):
    """The challengers of an objective against its champion; see docs/challengers.md.

    Attributes
    ----------
    version
        `examples` offset (exclusive) that these numbers cover.
    champion
        Variant that is served; empty: the declared model.
    needed
        Evidence that promotes.
    """

    objective: str
    version: int
    champion: str
    needed: float
    standings: dict[str, Standing]
    schema_version: Annotated[int, Meta(ge=1, le=METRICS_VERSION)] = 1


class Promotion(Struct, kw_only=True, tag_field="kind", tag="promotion"):
    """Another variant of an objective's model is served from here on.

    Attributes
    ----------
    variant, before
        Challenger that is served, and what was served before; empty: the declared model.
    cause
        "test": the evidence sufficed; "command": ``streamscore promote``; "rollback": ``streamscore rollback``.
    number
        Counts the changes of the objective.
    version
        `examples` offset (exclusive) that the decision rests on; 0 for a command.
    standing
        Of the challenger, when the test decided.
    """

    objective: str
    variant: str
    before: str
    cause: Literal["test", "command", "rollback"]
    number: int
    version: int = 0
    standing: Standing | None = None
    schema_version: Annotated[int, Meta(ge=1, le=METRICS_VERSION)] = 1


Metric = Accounting | Progress | Contest | Promotion
