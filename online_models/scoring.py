"""ScoringCore: the one place that says fold, extract, predict, attribute.

One core serves one partition of the events topic. It is a state machine: a batch of events and the
states of the users in it go in; scores, examples and the changed states come out. It knows no
broker, no store and no clock, so live traffic, replay and recovery run the very same code.

The order within one event, and why:

1. Stream time moves on and closes the windows that ended *before* this event.
2. A repeated event id, or an event too late to matter, is passed over; nothing changes.
3. The event is joined to the open triggers of its user: a trigger must not see its own outcome, so
   outcomes are joined before the event itself can become a trigger.
4. The event is folded into the user's accumulators, then features are extracted, so that they
   include the event itself and nothing behind it in the log.
5. Each objective that it triggers is scored by the replica, and the trigger waits for its label. A rank request is
   answered instead: each item that it puts at a place is a trigger, as an impression of it would be. So is a bid
   request; a win is a trigger with the features that its bid had (`online_models.bidding.desk`).

How records are cut into batches changes no result: nothing above looks at the batch.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import Any

from online_models.attribution import MAX_OPEN_PER_PARTITION, MAX_OPEN_PER_USER
from online_models.bidding.desks import Desks, open_desk
from online_models.bound import BoundObjective, Replica, by_event_type
from online_models.crowd import crowd_of
from online_models.duplicates import MAX_LATE_MS, remember
from online_models.features import FeatureSet
from online_models.labelling import Labellings
from online_models.layouts import Layouts
from online_models.objectives import Objective
from online_models.open_count import count_of
from online_models.open_triggers import OpenTriggers, score_id_of
from online_models.parts import result_of
from online_models.published import is_scored, published_score
from online_models.ranker import Place, Ranker, score_of_place
from online_models.rankings import Ranking
from online_models.records import DecodedBatch, DecodedEvent
from online_models.score_maker import ScoreMaker
from online_models.serving import Served
from online_models.step import Collected, Observer, StepResult
from online_models.telling import Telling
from online_models.timers import Timers
from schemas.events import (
    SYSTEM_EVENTS,
    BidLoss,
    BidRequest,
    BidWin,
    EventBase,
    Impression,
    RankRequest,
    SystemEvent,
    Tick,
    VisitorEvent,
)
from schemas.scores import Score
from schemas.user_state import PartitionMeta, UserState

DUPLICATE, LATE, NOTICE = "duplicate", "late", "notice"
NO_TRIGGER, CONDITION = "no_trigger", "condition_not_met"
NO_RANKING, NO_CANDIDATES = "no_ranking", "no_candidates"


class ScoringCore:
    """Scores the events of one partition and labels what it has scored.

    Parameters
    ----------
    topic, partition
        The partition that this core serves; they are part of every score_id.
    features, objectives, replicas
        What to compute; ``replicas`` has one model for each variant of each objective, by name.
    rankings
        How rank requests are answered; with none they are events like any other.
    bidding
        How bid requests are; None: they are events like any other, and what was bid before is settled.
    served
        What is served of objectives that have challengers, by name; the others serve their declared model.
    meta, timers
        What the store held for the partition; None and empty for a new one.
    observer
        Told of each score, once it is made.
    shadowing
        Ask the variants that are not served as well.
    asking_rules
        Note what the objectives' rules say of what is labelled, see `Collected.rule_said`; a replay's judges ask
        themselves.

    Attributes
    ----------
    dropped
        By user id, how many triggers `adopt` has let go that no step has told of yet.
    published
        By score_id, scores of the events to come that were published before a crash: they stand, whatever the
        model would say by now, so that state and examples are what they would have been.
    published_from, published_to
        Of an event between these offsets nothing was published beside that: a request that no candidates were known
        for remains without an answer, although some are known by now, and an event that did not meet a condition on
        what all visitors do without a score. Before them it is no longer known what was, and behind them nothing was.
    """

    def __init__(
        self,
        *,
        topic: str,
        partition: int,
        features: FeatureSet,
        objectives: Sequence[Objective],
        replicas: Mapping[str, Replica],
        rankings: Sequence[Ranking] = (),
        bidding: Desks | None = None,
        served: Mapping[str, Served] | None = None,
        meta: PartitionMeta | None = None,
        timers: Mapping[str, int] | None = None,
        n_reasons: int = 3,
        max_open_per_user: int = MAX_OPEN_PER_USER,
        max_open_per_partition: int = MAX_OPEN_PER_PARTITION,
        observer: Observer | None = None,
        shadowing: bool = True,
        asking_rules: bool = False,
    ) -> None:
        self.topic = topic
        self.partition = partition
        self._features = features
        self._observer = observer
        self._shadowing = shadowing
        self._telling = (
            Telling(features, topic=topic, partition=partition, asking_rules=asking_rules)
            if features.crowd_tables or bidding
            else None
        )
        served = served or {}
        self._crowd = crowd_of(features, replicas)
        self._maker = ScoreMaker(
            features, self._crowd, topic=topic, partition=partition, n_reasons=n_reasons, shadowing=shadowing
        )
        bound = [BoundObjective(one, features, replicas, served.get(one.name) or Served()) for one in objectives]
        self.id_prefix = f"{topic}-{partition}-"
        self._by_trigger = by_event_type(bound, lambda objective: objective.trigger)
        by_name = {one.name: one for one in bound}
        rankers = [Ranker(one, by_name[one.objective], features, self._crowd, n_reasons=n_reasons) for one in rankings]
        self._rankers = {one.name: one for one in rankers}
        self._only_ranker = rankers[0] if len(rankers) == 1 else None
        outcomes = {kind for one in objectives for kind in one.outcome}
        self._layouts = Layouts(features, outcomes, meta.layouts if meta else ())
        self._layout = self._layouts.now
        self.stream_time_ms = meta.stream_time_ms if meta else 0
        self._open = OpenTriggers(
            bound,
            topic=topic,
            partition=partition,
            outcome_types=self._layout.outcome_types,
            timers=Timers((timers or {}).items()),
            count=count_of(meta, objectives),
            most_of_user=max_open_per_user,
            most=max_open_per_partition,
            labellings=Labellings(objectives, meta.labelling if meta else None),
            asking_rules=asking_rules,
        )
        self.desk, self.settling = open_desk(
            bidding,
            by_name,
            self._crowd,
            replicas,
            features=features,
            telling=self._telling,
            timers=self._open.timers,
            topic=topic,
            partition=partition,
            meta=meta,
        )
        self._open.desk = self.settling
        self.published: Mapping[str, Score] = {}
        self.published_from, self.published_to = 0, -1
        self.dropped: dict[str, int] = {}

    @property
    def open_count(self) -> int:
        """Triggers of this partition that wait for their label."""
        return self._open.count.total

    @property
    def bids_wait(self) -> bool:
        """Whether bids of this partition wait for a notice, or for the end of their waiting."""
        return self.settling is not None and len(self._open.timers) > 0 and self.settling.allowances.has_reserved()

    def meta(self) -> PartitionMeta:
        """Return what the store must hold beside users and offset to continue from here."""
        meta = PartitionMeta(self._layouts.remembered, self.stream_time_ms, self.open_count)
        meta.open_by_end = self._open.count.by_end()
        meta.labelling = self._open.labellings.now
        if self.settling is not None:
            meta.bidding = self.settling.meta(self.stream_time_ms)
        return meta

    def users_of(self, events: Iterable[DecodedEvent]) -> list[str]:
        """Return the users whose state `step` will need: those of the events, and those whose window ends with them."""
        users: dict[str, None] = {}
        latest = self.stream_time_ms
        for _, _, event in events:
            if event.ts > latest:  # type: ignore[operator]  # decoded: int
                latest = event.ts  # type: ignore[assignment]
            if not isinstance(event, SYSTEM_EVENTS):
                users[event.user_id] = None
        users.update(dict.fromkeys(self._open.timers.due_until(latest)))
        return list(users)

    def adopt(self, user: UserState, user_id: str = "") -> UserState:
        """Bring a stored state to the current layout, in place; what it no longer knows starts empty.

        To be called before the next `step`: what stream time has closed by then is taken out. With it a visitor whose
        triggers have to go is among the changed; one of whom no id is given is only looked at.
        """
        if user.open:
            self._open.drop_closed(user, self.stream_time_ms)
        if user.layout != self._layout.id:
            self._layouts.move(user)
            # Their values stand in the order of the old layout; a wrong example would be worse than none.
            if user.open and user_id:
                self.dropped[user_id] = len(user.open)
            self._open.drop_all(user)
            if self.settling is not None:
                self.settling.forget_values(user)
        elif user.resting is None:
            self._layouts.fit(user)
        return user

    def step(self, batch: DecodedBatch, users: dict[str, UserState]) -> StepResult:
        """Process a batch.

        Parameters
        ----------
        users
            States of ``users_of(batch.events)`` by user id, `adopt`-ed; unknown users are missing. The
            core changes them in place and adds new ones.

        Returns
        -------
        StepResult
            To be published, then stored. After a failure in between, repeat the I/O, never the step.
        """
        out = Collected(users)
        out.first_offset = batch.first_offset
        for offset, source_ts, event in batch.events:
            self.process(offset, source_ts, event, out)
        return result_of(self, batch, out)

    def close_some(self, offset: int, ts: int, source_ts: int, out: Collected, most: int) -> bool:
        """Move stream time on to an event that comes next, and close windows that end by then.

        Returns
        -------
        bool
            False when no more are due; True after `most` visitors.
        """
        if out.offset != offset:
            out.offset, out.seq = offset, 0
        self.stream_time_ms = out.stream_time_ms = ts
        return self._open.close_due(ts, source_ts, out, most)

    def process(
        self, offset: int, source_ts: int, event: VisitorEvent | SystemEvent, out: Collected, seq: int = 0
    ) -> None:
        """Process one event; a replay, in which several partitions take turns, calls this instead of `step`.

        Parameters
        ----------
        seq
            How many examples its offset has released already.
        """
        out.offset, out.seq = offset, seq
        ts: int = event.ts  # type: ignore[assignment]  # decoded: int
        if ts > self.stream_time_ms:
            self.stream_time_ms = ts
            out.stream_time_ms = ts
            if self._open.timers.is_due(ts):
                self._open.close_due(ts, source_ts, out)
        else:
            out.stream_time_ms = self.stream_time_ms
        if isinstance(event, SYSTEM_EVENTS):
            out.ignored[event.type] += 1
            if self.desk is not None and not isinstance(event, Tick):
                self.desk.take(event, out)
        else:
            self._visit(event, source_ts, out)

    def tidy(self) -> None:
        """Let go of what is counted of visitors whom the store has lost, once its time is over."""
        self._open.count.tidy(self.stream_time_ms)

    def take_timers(self) -> dict[str, int | None]:
        """Return the timers that were set or removed since the last call or step, for the store."""
        return self._open.timers.take_changed()

    def _visit(self, event: EventBase, source_ts: int, out: Collected) -> None:
        """Process one event of a visitor."""
        ts: int = event.ts  # type: ignore[assignment]  # decoded: int
        if ts < self.stream_time_ms - MAX_LATE_MS:
            out.ignored[LATE] += 1
            return
        user_id = event.user_id
        settling = self.settling
        user = out.users.get(user_id)
        if user is None:
            user = out.users[user_id] = self._layouts.new_user()
        ring = remember(user.recent_ids, event.event_id)  # type: ignore[arg-type]  # decoded: bytes
        if ring is None:
            out.ignored[DUPLICATE] += 1
            if settling is not None and isinstance(event, BidRequest) and event.answered is not None:
                out.changed[user_id] = user
                self._layouts.wake(user)
                settling.repeated(event, source_ts, user, out)
            return
        user.recent_ids = ring
        out.changed[user_id] = user
        if user.resting is not None:
            self._layouts.wake(user)
        if user.open:
            self._open.join(event, ts, user, out)
        values = None
        if settling is not None and isinstance(event, BidWin | BidLoss):
            event, values = settling.notice(event, user, out)
        self._features.fold(user.slots, event)
        if ts > user.last_ts:
            user.last_ts = ts
        if self._telling is not None:
            self._telling.tell(event, user, self._crowd.weights, out)
        if self._rankers and isinstance(event, RankRequest):
            self._answer(event, source_ts, user, out)
        elif settling is not None and isinstance(event, BidRequest) and settling.answer(event, source_ts, user, out):
            out.scored += 1
        elif self.desk is not None and isinstance(event, BidWin | BidLoss) and values is None:
            out.ignored[NOTICE] += 1
        else:
            self._score(event, ts, source_ts, user, out, values)
        self._open.outcome_came(event.type, ts, user)

    def _score(
        self,
        event: EventBase,
        ts: int,
        source_ts: int,
        user: UserState,
        out: Collected,
        values: list[Any] | None = None,
    ) -> None:
        """Score the event for each objective that it triggers; of a bid that was won, with the `values` it had."""
        triggered = self._by_trigger.get(event.type)
        if not triggered:
            out.ignored[NO_TRIGGER] += 1
            return
        if values is None:
            values = self._features.extract(user.slots, event, self._crowd.weights)
        again = self.published or out.offset < self.published_to
        scored = False
        for bound in triggered:
            if is_scored(self, bound, event, values, out.offset) if again else bound.applies(values):
                scored = True
                self._score_objective(bound, event, ts, source_ts, values, user, out)
        if scored:
            out.scored += 1
        else:
            out.ignored[CONDITION] += 1

    def _answer(self, request: RankRequest, source_ts: int, user: UserState, out: Collected) -> None:
        """Answer a rank request, and let each place that is shown wait for its outcome."""
        ranker = self._rankers.get(request.ranking) if request.ranking else self._only_ranker
        if ranker is None:
            out.ignored[NO_RANKING] += 1
            return
        bound = ranker.bound
        places: list[Place] | None = None
        score_id = score_id_of(self.id_prefix, out.offset, ranker.name)
        answer = published_score(self, score_id, request) if self.published else None
        if answer is None:
            said = request.answered
            if said is None:
                sourced = not request.candidates and self.published_from <= out.offset < self.published_to
                candidates = [] if sourced else ranker.candidates(request, user.slots)
                if not candidates:
                    out.ignored[NO_CANDIDATES] += 1
                    return
                said, places = ranker.answer(request, candidates, user.slots, shadowing=self._shadowing)
            answer = self._maker.answer(
                ranker,
                score_id,
                request,
                said,
                source_ts=source_ts,
                offset=out.offset,
                stream_time_ms=self.stream_time_ms,
            )
        if places is None:
            places = ranker.places(request, answer.ranked, user.slots, crowd_hash=answer.crowd_hash)
        out.scores.append(answer)
        out.scored += 1
        for number, impression, values in places:
            if bound.applies(values):
                score = score_of_place(answer, number, score_id_of(self.id_prefix, out.offset, bound.name, number))
                self._open.add(bound, score, bound.key_of(impression), values, user, out, number)
                if self._observer is not None:
                    self._observer.scored(score, impression, values, partial(self._would_score, bound, user, None))
            for one in self._by_trigger.get(Impression.type, ()):
                if one is not bound and is_scored(self, one, impression, values, out.offset, number):
                    self._score_objective(one, impression, answer.ts, source_ts, values, user, out, number)
        for number, impression, _ in places:  # they are all shown at once, so none counts in the features of another
            self._features.fold(user.slots, impression)
            if self._telling is not None:
                self._telling.tell(impression, user, self._crowd.weights, out, number)

    def _score_objective(
        self,
        bound: BoundObjective,
        event: EventBase,
        ts: int,
        source_ts: int,
        values: list[Any],
        user: UserState,
        out: Collected,
        place: int = 0,
    ) -> None:
        score_id = score_id_of(self.id_prefix, out.offset, bound.name, place)
        score = published_score(self, score_id, event) if self.published else None
        if score is None:
            score = self._maker.score(
                bound,
                score_id,
                event,
                values,
                source_ts=source_ts,
                offset=out.offset,
                stream_time_ms=self.stream_time_ms,
            )
        elif score.crowd:
            values = self._features.with_crowd(values, score.crowd, score.crowd_hash)
        out.scores.append(score)
        self._open.add(bound, score, bound.key_of(event), values, user, out, place)
        if self._observer is not None:
            folded = None if place else event
            self._observer.scored(score, event, values, partial(self._would_score, bound, user, folded))

    def _would_score(self, bound: BoundObjective, user: UserState, folded: EventBase | None, other: EventBase) -> float:
        """Score what might have been in the place of the event that was folded, or at a place, which was not."""
        values = self._features.extract_unfolded(user.slots, other, self._crowd.weights, folded)
        return bound.score(bound.shown, values)
