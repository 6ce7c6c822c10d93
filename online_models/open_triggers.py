"""The triggers of one partition that wait for their labels.

A trigger is opened when it is scored, joined by its outcome, and released to the learner as an example: at the end of
its window, or at once where the objective labels immediately. The rules stand in `online_models.attribution`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from online_models.attribution import mark_outcome
from online_models.bound import BoundObjective, by_event_type
from online_models.labelling import CHANGED, GONE, Labellings
from online_models.open_count import OpenCount
from online_models.rest import QUIET_MS, rest
from online_models.step import Collected
from online_models.timers import Timers
from schemas.codec import MAX_AHEAD_MS
from schemas.events import EventBase
from schemas.examples import Example, Use
from schemas.scores import Score
from schemas.user_state import OpenAttribution, UserState


def score_id_of(prefix: str, offset: int, name: str, place: int = 0) -> str:
    """Name a score: of a trigger, or of a place in a ranking.

    >>> score_id_of("events-3-", 1047, "click"), score_id_of("events-3-", 1047, "click", 2)
    ('events-3-1047:click', 'events-3-1047:click#2')
    """
    return f"{prefix}{offset}:{name}#{place}" if place else f"{prefix}{offset}:{name}"


class Waiting(Protocol):
    """What else waits for a time to come, user by user; see `online_models.bidding.desk`."""

    def expire_due(self, user: UserState, due_ms: int, out: Collected) -> None: ...
    def next_due_ms(self, user: UserState, out: Collected | None = None) -> int | None: ...


class OpenTriggers:
    """Opens, joins, closes and releases the triggers of a partition.

    Parameters
    ----------
    outcome_types
        The event types behind `UserState.outcome_ts`; all outcomes of the objectives are among them.
    timers, count
        What the store held: when each user's earliest window closes, and how many triggers are open.
    most_of_user, most
        Bounds of what is open; the oldest of a user are cut, unless the same event has opened them all, and beyond
        `most` nothing is opened.
    labellings
        Which triggers were opened under another declaration, and get no label.
    asking_rules
        Note with each example what the objective's rule says of its trigger.

    Attributes
    ----------
    desk
        Whose bids wait for notices of the same users, by the same timers; None: there is no bidding.
    """

    def __init__(
        self,
        bound: Sequence[BoundObjective],
        *,
        topic: str,
        partition: int,
        outcome_types: Sequence[str],
        timers: Timers,
        count: OpenCount,
        most_of_user: int,
        most: int,
        labellings: Labellings,
        asking_rules: bool = False,
    ) -> None:
        self.desk: Waiting | None = None
        self.timers = timers
        self.count = count
        self.labellings = labellings
        self._topic = topic
        self._partition = partition
        self._id_prefix = f"{topic}-{partition}-"
        self._most_of_user = most_of_user
        self._most = most
        self._objectives = {one.name: one for one in bound}
        # Of the others, a hit tells `mark_outcome` that an outcome has found the last already.
        self._done_at_hit = {one.name for one in bound if one.immediate and one.objective.credit == "all"}
        self._rules = {one.name: one.rule() for one in bound} if asking_rules else {}
        self._by_outcome = by_event_type(bound, lambda objective: objective.outcome)
        self._outcome_index = {kind: index for index, kind in enumerate(outcome_types)}
        self._outcomes_of = {one.name: [self._outcome_index[kind] for kind in one.objective.outcome] for one in bound}

    def close_due(self, now_ms: int, source_ts: int, out: Collected, most: int = 0) -> bool:
        """Close every window that ended before stream time, earliest first; those of `most` visitors, if that is given.

        `source_ts` is the Kafka timestamp of the record that has moved stream time: bids go by that too.

        A visitor who may still be here is not written for it: the next event will be, and until then `drop_closed`
        knows by stream time what was closed.

        Returns
        -------
        bool
            Whether more may be due.
        """
        if self.desk is not None:
            out.clock_ms = min(now_ms, max(source_ts, now_ms - MAX_AHEAD_MS))
        for due_ms, user_id in self.timers.pop_due(now_ms):
            user = out.users.get(user_id)
            if user is None:  # its key has outlived its time to live in the store
                self.timers.set(user_id, None)
                out.notes["state_expired"] += 1
                continue
            open_, user.open = user.open, []
            next_ms = None
            to_write = user.bidding is not None
            for one in open_:
                one_ms = self._due_ms(one)
                if one_ms <= due_ms:
                    self._close(user_id, one, out)
                    if one.closes_after_ms < 0:
                        to_write = True
                    continue
                user.open.append(one)
                if next_ms is None or one_ms < next_ms:
                    next_ms = one_ms
            if len(user.open) < len(open_):
                self.count.closed(due_ms, len(open_) - len(user.open))
            if self.desk is not None:
                self.desk.expire_due(user, due_ms, out)
            next_ms = self._earliest(next_ms, user, out)
            if due_ms - user.last_ts >= QUIET_MS:
                next_ms = rest(user, due_ms, next_ms)
                to_write = True
            self.timers.set(user_id, next_ms)
            if to_write:
                out.changed[user_id] = user
            if most == 1:
                return True
            most -= 1  # never 1 from 0
        return False

    def drop_closed(self, user: UserState, now_ms: int) -> None:
        """Take from a stored state the triggers whose windows were closed up to stream time."""
        user.open = [one for one in user.open if one.closes_after_ms < 0 or self._due_ms(one) > now_ms]

    def _due_ms(self, one: OpenAttribution) -> int:
        if one.closes_after_ms >= 0:
            return one.ts + one.closes_after_ms + 1
        bound = self._objectives.get(one.objective)
        # An objective that left the configuration closes at once, unlabelled.
        return one.ts + bound.closes_after_ms + 1 if bound else 0

    def _make_room(self, score: Score, user: UserState, out: Collected) -> bool:
        """Let one of a user's triggers go without a label, for one that an event opens; False: all are the event's own.

        The oldest goes, whether its outcome came or not: were it kept for that, a visitor who is cut all the time would
        teach outcomes only. What was learned as a positive at once waits for nothing more, and goes first.
        """
        if user.open[0].offset == score.offset:
            return False
        index = 0
        if self._done_at_hit:
            done = (at for at, one in enumerate(user.open) if one.hit and one.objective in self._done_at_hit)
            index = next(done, 0)
        self._cut(score.user_id, user, index)
        out.notes["open_cut"] += 1
        return True

    def _cut(self, user_id: str, user: UserState, index: int) -> None:
        self.count.closed(self._due_ms(user.open[index]))
        user.open = user.open[:index] + user.open[index + 1 :]
        self.timers.set(user_id, self._earliest(min(map(self._due_ms, user.open), default=None), user))

    def _earliest(self, due_ms: int | None, user: UserState, out: Collected | None = None) -> int | None:
        bid_ms = self.desk.next_due_ms(user, out) if self.desk is not None else None
        return bid_ms if due_ms is None else due_ms if bid_ms is None else min(due_ms, bid_ms)

    def _close(self, user_id: str, one: OpenAttribution, out: Collected) -> None:
        bound = self._objectives.get(one.objective)
        if bound is None:
            out.notes[GONE] += 1
        elif self.labellings.since and self.labellings.is_of_before(one):
            out.notes[GONE if self.labellings.now[one.objective].was_gone else CHANGED] += 1
        elif not bound.immediate:
            self._release(bound, user_id, one, label=one.hit, use="both", out=out)
        elif not one.hit:
            self._release(bound, user_id, one, label=False, use="judge", out=out)

    def join(self, event: EventBase, ts: int, user: UserState, out: Collected) -> None:
        """Turn the user's open triggers positive that this event is the outcome of."""
        for bound in self._by_outcome.get(event.type, ()):
            key = bound.key_of(event)
            if key is None:
                continue
            for one in mark_outcome(bound.objective, user.open, key, ts):
                if bound.immediate and not (self.labellings.since and self.labellings.is_of_before(one)):
                    self._release(bound, event.user_id, one, label=True, use="both", out=out)

    def outcome_came(self, kind: str, ts: int, user: UserState) -> None:
        """Note the time of an event that is, or was, the outcome of some objective."""
        index = self._outcome_index.get(kind)
        if index is not None and ts > user.outcome_ts[index]:
            user.outcome_ts[index] = ts

    def drop_all(self, user: UserState) -> None:
        """Let a user's triggers go without a label; their timer finds nothing then."""
        for one in user.open:
            self.count.closed(self._due_ms(one))
        user.open = []

    def add(
        self,
        bound: BoundObjective,
        score: Score,
        key: str | None,
        values: Sequence[Any],
        user: UserState,
        out: Collected,
        place: int = 0,
    ) -> None:
        """Let a trigger wait for its label, if it can still get an honest one.

        Parameters
        ----------
        key
            What its outcome must share, as `bound.key_of` says.
        values
            Compact feature values at the trigger.
        place
            Its place in a ranking, from 1.
        """
        due_ms = score.ts + bound.closes_after_ms + 1
        if key is None:
            out.notes["no_match_key"] += 1
        elif due_ms <= out.stream_time_ms:
            out.notes["window_over"] += 1
        elif self._outcome_seen(bound.name, user, since_ms=score.ts):
            # Out of order: an outcome may be in the features already, and would give the label away.
            out.notes["outcome_first"] += 1
        elif self.count.about >= self._most:
            out.notes["open_full"] += 1
        elif len(user.open) >= self._most_of_user and not self._make_room(score, user, out):
            out.notes["open_cut"] += 1
        else:
            packed = bound.kept.pack(values)
            one = OpenAttribution(bound.name, score.offset, key, score.ts, packed, score.score, score.model_version)
            if not bound.alone:
                one.variant, one.shadows = score.variant, score.shadows
            one.place = place
            one.closes_after_ms, one.grace_ms = bound.closes_after_ms, bound.grace_ms
            if bound.calibrating is not None:
                one.raw, one.raw_shadows = score.raw, score.raw_shadows or None
            user.open.append(one)
            if self.labellings.none_yet and bound.name in self.labellings.none_yet:
                self.labellings.opened(bound.name, score.offset)
            self.count.opened(due_ms)
            self.timers.earlier(score.user_id, due_ms)
            if bound.immediate:
                self._release(bound, score.user_id, one, label=False, use="learn", out=out)

    def _outcome_seen(self, objective: str, user: UserState, *, since_ms: int) -> bool:
        for index in self._outcomes_of[objective]:  # noqa: SIM110 - as in BoundObjective.applies
            if user.outcome_ts[index] >= since_ms:
                return True
        return False

    def _release(
        self, bound: BoundObjective, user_id: str, one: OpenAttribution, *, label: bool, use: Use, out: Collected
    ) -> None:
        """Send a labelled trigger to the learner."""
        values, lacking = bound.kept.unpack(one.values)
        if one.offset >= out.first_offset:
            out.labels_its_own = True
        if lacking and not bound.learns_without("", lacking):
            out.notes["features_changed"] += 1
            return
        example = Example(
            objective=one.objective,
            score_id=score_id_of(self._id_prefix, one.offset, one.objective, one.place),
            ts=one.ts,
            label=label,
            features={} if use == "judge" else bound.vectorize(values),
            score=one.score,
            model_version=one.model_version,
            topic=self._topic,
            partition=self._partition,
            offset=out.offset,
            seq=out.seq,
            released_ts=out.stream_time_ms,
            use=use,
        )
        if bound.calibrating is not None:
            example.raw, example.raw_shadows = one.raw, one.raw_shadows or {}
            example.slice = bound.slice_of(values)
        if not bound.alone:
            example.variant, example.shadows = one.variant, one.shadows or {}
            example.user_id = user_id
            if use != "judge":
                example.features_of = {
                    name: vectorize(values)
                    for name, vectorize in bound.others.items()
                    if not lacking or bound.learns_without(name, lacking)
                }
        out.examples.append(example)
        if self._rules:
            rule = self._rules[one.objective]
            out.rule_said.append(rule(values) if rule and use != "learn" else None)
        out.seq += 1
