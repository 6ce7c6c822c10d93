"""Makes the messages of `scores`: what a model said, with all it takes to repeat and to explain it."""

from __future__ import annotations

from typing import Any

from online_models.bound import BoundObjective
from online_models.crowd import CrowdView
from online_models.features import FeatureSet
from online_models.ranker import Ranker
from schemas.events import Answered, EventBase, RankRequest
from schemas.scores import Score

# Flags of a score.
COLD, LATE_SCORE, ANSWERED = "cold", "late", "answered"


class ScoreMaker:
    """Makes the scores of one partition.

    Parameters
    ----------
    n_reasons
        How many reasons each score gets.
    shadowing
        Ask the variants that are not served as well.
    """

    def __init__(
        self,
        features: FeatureSet,
        crowd: CrowdView,
        *,
        topic: str,
        partition: int,
        n_reasons: int,
        shadowing: bool,
    ) -> None:
        self._features = features
        self._crowd = crowd
        self._topic = topic
        self._partition = partition
        self._n_reasons = n_reasons
        self._shadowing = shadowing

    def score(
        self,
        bound: BoundObjective,
        score_id: str,
        event: EventBase,
        values: list[Any],
        *,
        source_ts: int,
        offset: int,
        stream_time_ms: int,
    ) -> Score:
        """Return the score of a trigger with these compact feature values."""
        shown = bound.shown
        replica = shown.replica
        ts: int = event.ts  # type: ignore[assignment]  # decoded: int
        p, reasons = shown.score(values, self._n_reasons)
        p, raw = bound.told(shown, p, values)
        score = Score(
            score_id=score_id,
            event_id=event.event_id,
            user_id=event.user_id,
            ts=ts,
            objective=bound.name,
            score=p,
            model=replica.name,
            model_version=replica.version,
            reasons=reasons,
            topic=self._topic,
            partition=self._partition,
            offset=offset,
            source_ts=source_ts,
            session_id=event.session_id,
            item_id=event.item_id,
            propensity=getattr(event, "propensity", None),
            raw=raw,
        )
        if self._features.crowd_positions:
            score.crowd = self._features.crowd_values(values)
            score.crowd_hash = self._features.crowd_hash
            score.crowd_version = self._crowd.version
            score.segment = self._features.segment_in(score.crowd)
        if not bound.alone:
            score.variant = shown.name
            if self._shadowing:
                score.shadows, score.raw_shadows = bound.shadows(shown, values)
        if replica.version == 0 or ts + bound.closes_after_ms < stream_time_ms:
            score.flags = _flags(replica.version, ts, bound, stream_time_ms)
        return score

    def answer(
        self,
        ranker: Ranker,
        score_id: str,
        request: RankRequest,
        said: Answered,
        *,
        source_ts: int,
        offset: int,
        stream_time_ms: int,
    ) -> Score:
        """Return the answer to a rank request."""
        first = said.ranked[0]
        ts: int = request.ts  # type: ignore[assignment]  # decoded: int
        flags = [ANSWERED] if request.answered else []
        return Score(
            score_id=score_id,
            event_id=request.event_id,
            user_id=request.user_id,
            ts=ts,
            objective=ranker.bound.name,
            score=first.score,
            model=said.model,
            model_version=said.model_version,
            reasons=first.reasons,
            topic=self._topic,
            partition=self._partition,
            offset=offset,
            source_ts=source_ts,
            session_id=request.session_id,
            item_id=first.item_id,
            propensity=first.propensity,
            variant=said.variant,
            shadows=first.shadows,
            flags=flags + _flags(said.model_version, ts, ranker.bound, stream_time_ms),
            ranking=ranker.name,
            ranked=said.ranked,
            crowd_version=said.crowd_version,
            crowd_hash=said.crowd_hash,
            segment=self._features.told_segment(first.crowd, said.crowd_hash),
            raw=first.raw,
            raw_shadows=first.raw_shadows,
        )


def _flags(model_version: int, ts: int, bound: BoundObjective, stream_time_ms: int) -> list[str]:
    late = ts + bound.closes_after_ms < stream_time_ms
    return ([] if model_version else [COLD]) + ([LATE_SCORE] if late else [])
