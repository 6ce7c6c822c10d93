"""What the HTTP API answers; what it takes are events, see `schemas.events`."""

from __future__ import annotations

from msgspec import Raw, Struct

from schemas.scores import Ranked, Score

Value = float | int | str | list[float] | None


class RefusedEvent(Struct, kw_only=True):
    """An event that was not taken: its place in the request, why, and what was expected; see `schemas.dead_letters`."""

    event: int
    reason: str
    detail: str


class EventsAnswer(Struct, kw_only=True):
    """How many events are in the log, and which are not."""

    accepted: int
    refused: list[RefusedEvent] = []


class RankAnswer(Struct, kw_only=True, omit_defaults=True):
    """What to show, first place first; fields as of the `Score` that stands on `scores` under this id."""

    event_id: str
    score_id: str
    ranking: str
    objective: str
    model: str
    model_version: int
    ranked: list[Ranked]
    variant: str = ""


class ObjectiveScore(Struct, kw_only=True):
    """What an objective's model says of an event; fields as of a `Score`."""

    objective: str
    model: str
    model_version: int
    score: float
    reasons: list[tuple[str, float]]


class ScoreAnswer(Struct, kw_only=True):
    """The scores of an event, one for each objective that it triggers."""

    event_id: str
    scores: list[ObjectiveScore]


class ScoreFound(Struct, kw_only=True):
    """A published score with its reasons, and the event that it was made for, as it stands in the log."""

    score: Score
    event: Raw


class FeaturesAnswer(Struct, kw_only=True):
    """A visitor's features at this moment, as a condition sees them, and the last event's time, epoch ms."""

    last_ts: int
    features: dict[str, Value]


class ModelState(Struct, kw_only=True):
    """A model as this worker has it."""

    objective: str
    variant: str
    served: bool
    model: str
    model_version: int
    lineage: str


class ModelsAnswer(Struct, kw_only=True):
    """All models of this worker."""

    models: list[ModelState]


class Problem(Struct, kw_only=True):
    """Why there is no answer."""

    error: str
