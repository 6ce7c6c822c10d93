"""What the HTTP API knows about a visitor: read from the store, scored with this worker's replicas.

Any worker can answer for any visitor. The state is the last one that was stored, some milliseconds behind the
visitor's last event; it is a copy, and nothing that is asked here changes it. What was answered is written to
`events` with the request, and takes the way of every event from there.
"""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Sequence
from typing import Any

from online_models.bidding.past_bids import FIRST_NUMBER
from online_models.bound import BoundObjective
from online_models.crowd import crowd_of
from online_models.features.sources import SOURCES
from online_models.ranker import Ranker
from online_models.replica import ReplicaSet
from online_models.rest import wake
from online_models.serving import Served
from schemas.api import BidAnswer, FeaturesAnswer, ObjectiveScore, RankAnswer, ScoreAnswer
from schemas.bids import AnsweredBid, BidDecision
from schemas.codec import BadRecord, decode_user_state, encode_json
from schemas.dead_letters import INVALID, TOO_LARGE
from schemas.events import BidRequest, EventBase, RankRequest
from schemas.user_state import UserState
from streams.budgets import Ledger
from streams.campaign_feed import CampaignFeed
from streams.out_records import OutRecord, RecordTooLarge
from streams.output import RecordOutput, partition_for_key
from streams.retry import retrying
from streams.runner import Attempt
from streams.settings import Settings
from streams.stores import PartitionId, StateStore, Unavailable
from streams.web.audience import Audience
from streams.web.behind import Behind
from streams.web.bidding import HttpBidder, NoBidding
from streams.web.gates import Gates

NOTHING_TO_RANK = (
    "Expected `candidates`, at least one, or a `source` of which something is known "
    f"({', '.join(SOURCES)}; see `sources:`)"
)


class NoSuchRanking(ValueError):
    """The request names no declared ranking."""


class Answers:
    """Scores and ranks for whoever asks.

    Parameters
    ----------
    events
        Where what was shown is written to.
    partitions
        Number of partitions of `events`.
    feed, ledger
        Campaigns and budgets, where bids are made.
    attempt
        Repeats a step while it raises Unavailable.
    """

    def __init__(
        self,
        settings: Settings,
        store: StateStore,
        replicas: ReplicaSet,
        events: RecordOutput,
        *,
        partitions: int,
        feed: CampaignFeed | None = None,
        ledger: Ledger | None = None,
        attempt: Attempt = lambda step, name: retrying(step, name=name),
    ) -> None:
        self._topic = settings.topics.events.name
        self._features = settings.features
        self._layout = settings.features.layout
        self._n_reasons = settings.worker.n_reasons
        self._max_event_bytes = settings.worker.max_event_bytes
        self._store = store
        self._events = events
        self._partitions = partitions
        self._behind = Behind(self.publish, attempt)
        self._gates = Gates(lambda partition, record: events.publish({(self._topic, partition): [record]}))
        self._bound = {
            one.name: BoundObjective(one, settings.features, replicas, replicas.served.get(one.name) or Served())
            for one in settings.objectives
        }
        self._crowd = crowd_of(settings.features, replicas)
        self._rankers = {
            one.name: Ranker(one, self._bound[one.objective], settings.features, self._crowd, n_reasons=self._n_reasons)
            for one in settings.rankings
        }
        desks = settings.desks(granted=True)
        self._bidder = (
            HttpBidder(settings, desks, self._bound, self._crowd, replicas, feed=feed, ledger=ledger)
            if desks and feed and ledger
            else None
        )
        self.audience = Audience(settings.features, self._crowd, self._visitors)

    async def publish(self, events: Sequence[tuple[str, bytes]]) -> dict[tuple[str, int], int]:
        """Write events (user, value) to the log; return the offset behind the last one by place. Raises Unavailable."""
        batches: dict[tuple[str, int], list[OutRecord]] = {}
        for user_id, value in events:
            key = user_id.encode()
            where = self._topic, partition_for_key(key, self._partitions)
            batches.setdefault(where, []).append(OutRecord(key, value))
        return await self._events.publish(batches)

    async def stop(self) -> None:
        """Write the answers that are not in the log yet, and give back what was set aside for bids."""
        await self._behind.stop()
        if self._bidder is not None:
            with contextlib.suppress(Unavailable):
                await self._bidder.purse.close()

    async def rank(self, request: RankRequest, *, at_once: bool = False) -> RankAnswer:
        """Answer a rank request, and write it to the log with the answer, which then stands.

        Parameters
        ----------
        at_once
            The answer does not wait for the log, and has no `score_id`.

        Raises
        ------
        BadRecord
            There are no candidates, or what is known of those that were chosen is too long for an event.
        NoSuchRanking
        Unavailable
            The store or the broker is away, or too many answers wait for it.
        """
        if request.ranking is None and len(self._rankers) == 1:
            [ranker] = self._rankers.values()
        elif request.ranking in self._rankers:
            ranker = self._rankers[request.ranking]
        else:
            known = ", ".join(self._rankers) or "none, see `rankings:`"
            raise NoSuchRanking(f"Expected `ranking` to be one of: {known}")
        slots, _ = await self._slots(request.user_id)
        self._features.fold(slots, request)
        candidates = ranker.candidates(request, slots)
        if not candidates:
            raise BadRecord(INVALID, NOTHING_TO_RANK)
        request.ranking = ranker.name
        said, _ = ranker.answer(request, candidates, slots, shadowing=True)
        request.answered = said
        shown = {one.item_id for one in said.ranked}
        request.candidates = [one for one in candidates if one.item_id in shown]
        value = encode_json(request)
        if len(value) > self._max_event_bytes:  # it would be a dead letter
            raise BadRecord(
                TOO_LARGE, f"Expected at most {self._max_event_bytes} bytes with the answer in it, got {len(value)}"
            )
        score_id = ""
        if at_once and self._behind.flows:
            self._behind.write(request.user_id, value)
        else:
            [((_, partition), end)] = (await self.publish([(request.user_id, value)])).items()
            self._behind.flows = True
            score_id = f"{self._topic}-{partition}-{end - 1}:{ranker.name}"
        return RankAnswer(
            event_id=request.event_id,
            score_id=score_id,
            ranking=ranker.name,
            objective=ranker.bound.name,
            model=said.model,
            model_version=said.model_version,
            variant=said.variant,
            ranked=said.ranked,
        )

    @property
    def bidder(self) -> HttpBidder:
        """What makes bids; raises NoBidding."""
        if self._bidder is None:
            raise NoBidding("There is no section `bidding:` in the configuration, so nobody bids")
        return self._bidder

    async def bid(self, request: BidRequest) -> BidAnswer:
        """Decide about a bid request, and write it to the log with the decision, which then stands.

        Raises
        ------
        BadRecord
            With the decision in it, the request is too long for an event.
        NoBidding
        Unavailable
            The store or the broker is away. What was set aside for the bid stays so, as it may be in the log; nothing
            is set aside for others until the log takes a record again.
        """
        bidder = self.bidder
        partition = partition_for_key(request.user_id.encode(), self._partitions)
        user = (await self._visitors([request.user_id])).get(request.user_id)
        await self._gates.enter(partition)
        slots = user.slots if user else self._features.new_slots()
        self._features.fold(slots, request)
        decision = bidder.decide(request, slots, user)
        fields = {name: getattr(decision, name) for name in BidDecision.__struct_fields__}
        bid_id = f"{self._topic}-{partition}-{FIRST_NUMBER + secrets.randbits(62)}"
        request.answered = AnsweredBid(**fields, bid_id=bid_id)
        value = encode_json(request)
        if len(value) > self._max_event_bytes:
            bidder.release(decision)
            raise BadRecord(
                TOO_LARGE, f"Expected at most {self._max_event_bytes} bytes with the answer in it, got {len(value)}"
            )
        try:
            await self.publish([(request.user_id, value)])
        except RecordTooLarge:
            bidder.release(decision)
            raise
        except BaseException:
            self._gates.shut(partition)
            raise
        return BidAnswer(**fields, event_id=request.event_id, bid_id=bid_id)

    async def score(self, event: EventBase) -> ScoreAnswer:
        """Return the scores at this event, one for each objective that it triggers; raises Unavailable."""
        slots, _ = await self._slots(event.user_id)
        self._features.fold(slots, event)
        values = self._features.extract(slots, event, self._crowd.weights)
        found = []
        for bound in self._bound.values():
            if event.type in bound.objective.trigger and bound.applies(values):
                p, reasons = bound.shown.score(values, self._n_reasons)
                p, raw = bound.told(bound.shown, p, values)
                replica = bound.shown.replica
                found.append(
                    ObjectiveScore(
                        objective=bound.name,
                        model=replica.name,
                        model_version=replica.version,
                        score=p,
                        reasons=reasons,
                        raw=raw,
                    )
                )
        return ScoreAnswer(event_id=event.event_id, scores=found)

    async def features(self, user_id: str, event: EventBase) -> FeaturesAnswer | None:
        """Return the visitor's features at an event, None of an unknown visitor; raises Unavailable."""
        slots, last_ts = await self._slots(user_id)
        if last_ts is None:
            return None
        values = self._features.extract(slots, event, self._crowd.weights)
        return FeaturesAnswer(
            last_ts=last_ts,
            features=dict(zip(self._features.base_names, values, strict=True)),
            segment=self._features.segment_in(self._features.crowd_values(values)),
        )

    async def _slots(self, user_id: str) -> tuple[list[Any], int | None]:
        """Return a visitor's accumulators and last event time; None: unknown, or of other features than now."""
        user = (await self._visitors([user_id])).get(user_id)
        return (self._features.new_slots(), None) if user is None else (user.slots, user.last_ts)

    async def _visitors(self, user_ids: Sequence[str]) -> dict[str, UserState]:
        """Return the states of visitors who are known, and whose features are those of now; raises Unavailable."""
        places: dict[PartitionId, list[str]] = {}
        for user_id in user_ids:
            place = PartitionId(self._topic, partition_for_key(user_id.encode(), self._partitions))
            places.setdefault(place, []).append(user_id)
        found = {}
        for place, some in places.items():
            for user_id, blob in zip(some, await self._store.load_users(place, some), strict=True):
                if blob is None:
                    continue
                try:
                    user = decode_user_state(blob)
                    wake(user)
                except BadRecord:  # of another version of ours
                    continue
                if user.layout == self._layout:
                    found[user_id] = user
        return found
