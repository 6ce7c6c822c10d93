"""Recomputes one live score, from the log and the model version that it names.

A visitor's features depend on the visitor's own events and on the partition's stream time. So the
partition is read once up to the event, the visitor's records go through the scoring core, and of all
others only their time does.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from aiokafka.structs import ConsumerRecord

from online_models.crowd import CROWD
from online_models.estimators import SparseFTRL
from online_models.explain import MAX_OMISSIONS, bounded_logit
from online_models.objectives import Objective
from online_models.ranker import score_of_place
from online_models.score_maker import ANSWERED
from online_models.scoring import ScoringCore
from online_models.serving import Served
from online_models.step import Collected, Probe
from schemas.bids import Bid
from schemas.codec import BadRecord, decode_bid, decode_event
from schemas.events import SYSTEM_EVENTS, EventBase, Tick
from schemas.scores import Score
from schemas.user_state import UserState
from streams.cores import scoring_core
from streams.replay.as_live import open_histories
from streams.replay.history import PastReplica
from streams.replay.published import ScorePlace, parse_score_id, published_score, record_at
from streams.replay.range_reader import open_range
from streams.replay.spec import ByOffset, TopicRange
from streams.settings import Settings


class AuditError(ValueError):
    """The score cannot be recomputed; the message says why."""


class Contribution(NamedTuple):
    """What a feature did to a score; `weight` is None where a model has no weights."""

    feature: str
    value: float
    weight: float | None
    share: float


_COMPARED = [name for name in Score.__struct_fields__ if name not in ("shadows", "raw_shadows", "crowd_hash")]


@dataclass
class Audit:
    """A score, as it was published and as it comes out again.

    Attributes
    ----------
    values
        Base features at the trigger, before they were made into the model's vector.
    contributions
        Of every feature in the vector, largest share of the logit first.
    intercept
        Of a linear model.
    differences
        Fields in which the two scores differ; empty: they are the same, bit for bit. Only what was served is made
        again, so what was said in the shadow is not compared.
    """

    live: Score
    again: Score
    values: dict[str, Any] = field(default_factory=dict)
    contributions: list[Contribution] = field(default_factory=list)
    intercept: float | None = None
    differences: list[str] = field(default_factory=list)


async def audit(score_id: str, settings: Settings) -> Audit:
    """Recompute a live score.

    Raises
    ------
    AuditError
        There is no such score, or the log no longer holds what it was made of.
    VersionLost, TopicMissing, SpecError, Unavailable
    """
    place = parse_score_id(score_id)
    answers = {one.name: one.objective for one in settings.rankings if place.name in (one.name, one.objective)}
    name = answers.get(place.name, place.name)
    objective = next((one for one in settings.objectives if one.name == name), None)
    if objective is None:
        names = [one.name for one in settings.objectives] + [one.name for one in settings.rankings]
        known = ", ".join(names)
        raise AuditError(f"The configuration has no objective or ranking {place.name!r}; it has {known}")
    trigger = await record_at(place, settings)
    if place.number and not answers:
        raise AuditError(
            f"{score_id} is of a place in an answer that went by another objective; such scores are not made again. "
            "Its reasons are in the score"
        )
    if place.name in answers or place.number:
        place = place._replace(name=name, number=place.number or 1)
        live = await published_score([place.score_id(ranking) for ranking in answers], trigger, settings)
        if ANSWERED in live.flags:
            raise AuditError(
                f"{live.score_id} was answered over HTTP, from what was stored of the visitor at that moment; "
                "no log has that. Its reasons are in the score"
            )
        if place.number > len(live.ranked):
            raise AuditError(f"The answer {live.score_id} has {len(live.ranked)} places")
        live = score_of_place(live, place.number, place.score_id(name, place.number))
    else:
        live = await published_score([score_id], trigger, settings)
    histories, spool = await open_histories(settings, up_to=max(live.model_version, live.crowd_version))
    try:
        served = objective.variants.get(live.variant)
        if served is None:
            raise AuditError(
                f"{score_id} is of the challenger {live.variant!r}, which the configuration does not declare"
            )
        replica = PastReplica(histories[served.name], settings)
        replica.go_to(live.model_version)
        replicas = dict.fromkeys((one.name for one in settings.variants), replica)
        if CROWD in histories:
            replicas[CROWD] = PastReplica(histories[CROWD], settings)
            replicas[CROWD].go_to(live.crowd_version)
        return await _recomputed(live, place, served, replicas, settings)
    finally:
        spool.close()


class _Catch:
    """Keeps the one score that is asked for, and the feature values behind it."""

    def __init__(self, score_id: str) -> None:
        self._score_id = score_id
        self.score: Score | None = None
        self.values: list[Any] = []

    def scored(self, score: Score, event: EventBase, values: Sequence[Any], probe: Probe) -> None:
        if score.score_id == self._score_id:
            self.score, self.values = score, list(values)


async def _bids_for(score: Score, settings: Settings) -> dict[str, Bid]:
    """Return the bids that were published for impressions of a score's visitor: what was bid is not decided again."""
    found: dict[str, Bid] = {}
    async with open_range(TopicRange(settings.topics.bids.name), settings.kafka) as source:
        while batches := await source.read():
            for record in (one for records in batches.values() for one in records):
                with contextlib.suppress(BadRecord):
                    bid = decode_bid(record.value or b"")
                    if (bid.topic, bid.partition, bid.user_id) == (score.topic, score.partition, score.user_id):
                        found.setdefault(bid.bid_id, bid)
    return found


async def _recomputed(
    live: Score, place: ScorePlace, objective: Objective, replicas: dict[str, PastReplica], settings: Settings
) -> Audit:
    catch = _Catch(live.score_id)
    served = Served([live.variant])
    served.variant = live.variant
    core = scoring_core(
        settings,
        topic=place.topic,
        partition=place.partition,
        replicas=replicas,
        served={live.objective: served},
        observer=catch,
        shadowing=False,
    )
    users: dict[str, UserState] = {}
    collected = Collected(users)
    if core.desk is not None:
        core.desk.published = await _bids_for(live, settings)
    wanted = TopicRange(place.topic, None, ByOffset({place.partition: place.offset + 1}), frozenset([place.partition]))
    async with open_range(wanted, settings.kafka) as source:
        if source.starts[place.partition] > 0:
            raise AuditError(
                f"{place.topic}[{place.partition}] begins at {source.starts[place.partition]}; what the visitor did "
                "before is no longer kept, so the features cannot be computed again"
            )
        while batches := await source.read():
            for record in batches.get(place.partition, []):
                _take(record, live.user_id, core, collected, settings)
            collected.scores.clear()
            collected.examples.clear()
            collected.bids.clear()
    if catch.score is None:
        raise AuditError(f"The event at {live.score_id} gets no score now: its data, or the configuration, has changed")
    return _explained(live, catch, objective, replicas[objective.name], settings)


def _take(record: ConsumerRecord, user_id: str, core: ScoringCore, collected: Collected, settings: Settings) -> None:
    if record.value is None:
        return
    try:
        event = decode_event(record.value, record_ts_ms=record.timestamp, max_bytes=settings.worker.max_event_bytes)
    except BadRecord:
        return
    if isinstance(event, SYSTEM_EVENTS) or event.user_id == user_id:
        core.process(record.offset, record.timestamp, event, collected)
    elif event.ts > core.stream_time_ms:  # type: ignore[operator]  # decoded: int
        core.process(record.offset, record.timestamp, Tick(ts=event.ts), collected)


def _explained(live: Score, catch: _Catch, objective: Objective, replica: PastReplica, settings: Settings) -> Audit:
    again = catch.score
    assert again is not None
    features = settings.features
    x = features.vectorizer(objective.feature_names(features.names))(catch.values)
    found = Audit(live=live, again=again)
    found.values = dict(zip(features.base_names, catch.values, strict=True))
    found.differences = [name for name in _COMPARED if getattr(live, name) != getattr(again, name)]
    model = replica.model
    if isinstance(model, SparseFTRL):
        found.intercept = model.intercept
        weights = model.weights
        shares = [
            Contribution(name, value, weight, weight * value)
            for name, value in x.items()
            for weight in [weights.get(name, 0.0)]
        ]
    else:
        whole = bounded_logit(replica.predict(x))
        shares = [
            Contribution(name, x[name], None, whole - bounded_logit(replica.predict(_without(x, name))))
            for name in list(x)[:MAX_OMISSIONS]
        ]
    found.contributions = sorted(shares, key=lambda one: -abs(one.share))
    return found


def _without(x: dict[str, float], name: str) -> dict[str, float]:
    return {other: value for other, value in x.items() if other != name}
