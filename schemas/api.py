"""What the HTTP API answers; what it takes are events, see `schemas.events`."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Raw, Struct

from schemas.bids import BidDecision
from schemas.events import Id
from schemas.scores import Ranked, Score

Value = float | int | str | list[float] | None

# When a ranking is answered: once it is in the log, or before.
LOGGED, AT_ONCE = "logged", "at_once"


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
    """What to show, first place first; fields as of the `Score` that stands on `scores` under `score_id`.

    Attributes
    ----------
    score_id
        Missing where the answer was given at once: it is not in the log yet.
    """

    event_id: str
    ranking: str
    objective: str
    model: str
    model_version: int
    ranked: list[Ranked]
    score_id: str = ""
    variant: str = ""


class BidAnswer(BidDecision, kw_only=True, omit_defaults=True):
    """What to bid; `bid_id` is what the exchange's notices have to name, beside the visitor."""

    event_id: str
    bid_id: str


class CampaignState(Struct, kw_only=True, omit_defaults=True):
    """How a campaign stands today; money in currency.

    Attributes
    ----------
    version
        Of its declaration on `campaigns`; 0: it is the configuration's.
    status
        ``running``, or why it does not bid.
    day
        The campaign's own.
    spent, committed
        Cost of its wins; and with that what workers hold, or have promised with bids that are not settled.
    multiplier
        By which pacing scales the value of impressions at the moment.
    """

    campaign: str
    version: int
    status: str
    day: str = ""
    budget: float = 0.0
    spent: float = 0.0
    committed: float = 0.0
    multiplier: float = 1.0


class CampaignsAnswer(Struct, kw_only=True):
    """How all campaigns stand."""

    campaigns: list[CampaignState]


class ObjectiveScore(Struct, kw_only=True, omit_defaults=True):
    """What an objective's model says of an event; fields as of a `Score`."""

    objective: str
    model: str
    model_version: int
    score: float
    reasons: list[tuple[str, float]]
    raw: float | None = None


class ScoreAnswer(Struct, kw_only=True):
    """The scores of an event, one for each objective that it triggers."""

    event_id: str
    scores: list[ObjectiveScore]


class ScoreFound(Struct, kw_only=True):
    """A published score with its reasons, and the event that it was made for, as it stands in the log."""

    score: Score
    event: Raw


class FeaturesAnswer(Struct, kw_only=True):
    """A visitor's features at this moment, as a condition sees them, last event's time (epoch ms), and segment."""

    last_ts: int
    features: dict[str, Value]
    segment: str | None = None


class SegmentState(Struct, kw_only=True):
    """A segment of visitors.

    Attributes
    ----------
    id
        As on scores; it keeps it.
    name
        The features that set it apart from everybody.
    share
        Of the latest visits.
    size
        Visits that belonged to it so far.
    centroid
        Its mean in the features' own units; of those that a model sees as logarithms, the mean of these, taken back.
    apart
        How far that is from everybody, in standard deviations.
    """

    id: str
    name: str
    share: float
    size: int
    centroid: dict[str, float]
    apart: dict[str, float]


class SegmentsAnswer(Struct, kw_only=True):
    """The segments, as of a version of the crowd counts; none while too few visits have come."""

    crowd_version: int
    segments: list[SegmentState]


UserIds = Annotated[list[Id], Meta(min_length=1, max_length=1000)]


class LookalikesBody(Struct, kw_only=True, forbid_unknown_fields=True):
    """A seed group, and visitors who may be like it."""

    seed: UserIds
    users: UserIds


class Lookalike(Struct, kw_only=True):
    """How much a visitor is like the seed group.

    Attributes
    ----------
    score
        0 to 1; at 0.5 as much like the group as like everybody. None: nothing is known of this visitor.
    reasons
        Features that speak for it, largest first, with their share of the logit.
    """

    user_id: str
    score: float | None
    reasons: list[tuple[str, float]] = []
    segment: str | None = None


class LookalikesAnswer(Struct, kw_only=True):
    """The visitors in the order that they were asked for, and how many of the seed group are known."""

    seed_known: int
    users: list[Lookalike]


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
