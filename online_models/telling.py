"""What events tell of items, visitors and the market, on its way to the learners that count for everybody."""

from __future__ import annotations

from online_models.crowd import CROWD
from online_models.features import FeatureSet
from online_models.features.plan import Crowd
from online_models.open_triggers import score_id_of
from online_models.step import Collected
from schemas.events import EventBase
from schemas.examples import Example
from schemas.user_state import UserState


class Telling:
    """Releases what the events of one partition tell."""

    def __init__(self, features: FeatureSet, *, topic: str, partition: int, asking_rules: bool) -> None:
        self._features = features
        self._topic = topic
        self._partition = partition
        self._id_prefix = f"{topic}-{partition}-"
        self._asking_rules = asking_rules

    def tell(self, event: EventBase, user: UserState, crowd: Crowd, out: Collected, place: int = 0) -> None:
        """Release what an event tells that was folded into the visitor's state, if it tells anything.

        Parameters
        ----------
        place
            Of an answer to the event in hand, whose impression this is; 0: it is the event itself.
        """
        told = self._features.told(user.slots, event, crowd)
        if not told:
            return
        self.release(CROWD, told, event.ts, out, place=place)  # type: ignore[arg-type]  # decoded: int

    def release(
        self, objective: str, told: dict[str, float], ts: int, out: Collected, *, label: bool = True, place: int = 0
    ) -> None:
        """Release something of an event to the learner of an objective that nothing is scored for."""
        example = Example(
            objective=objective,
            score_id=score_id_of(self._id_prefix, out.offset, objective, place),
            ts=ts,
            label=label,
            features=told,
            score=0.0,
            model_version=0,
            topic=self._topic,
            partition=self._partition,
            offset=out.offset,
            seq=out.seq,
            released_ts=out.stream_time_ms,
            use="learn",
        )
        out.examples.append(example)
        if self._asking_rules:
            out.rule_said.append(None)
        out.seq += 1
