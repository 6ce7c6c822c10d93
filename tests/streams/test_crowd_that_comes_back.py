"""What was said of all visitors comes back under another configuration: it is used if it means the same, else not."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
import yaml
from builders import T0, an_event, an_impression
from msgspec.structs import replace

from online_models.bidding.past_bids import FIRST_NUMBER
from online_models.records import DecodedBatch
from online_models.scoring import ScoringCore
from schemas.bids import AnsweredBid
from schemas.codec import encode_json
from schemas.events import Answered, BidRequest, EventBase, RankRequest
from schemas.scores import Ranked, Score
from schemas.user_state import UserState
from streams.new_models import new_replicas
from streams.settings import Settings, parse_settings

PLAIN, BINS, FEWER = ({"popularity": "item_id", **bins} for bins in ({}, {"bins": [-3, -1]}, {"bins": [-1]}))
NEW = {"first_seen": "item_id", "transform": "log1p"}


def settings(hot: dict[str, Any]) -> Settings:
    click = {"trigger": "impression", "outcome": "click", "match": "item", "window": "30m", "labels": "immediate"}
    declared = {
        "features": {"item": {"field": "item_id"}, "hot": hot},
        "objectives": {"click": click, "ad": {**click, "trigger": "bid_win", "labels": "at_window_end"}},
        "rankings": {"home": {"objective": "click", "shown": 2}},
        "bidding": {"click": "ad", "campaigns": {"shoes": {"budget_per_day": 5, "value_per_click": 1}}},
    }
    return parse_settings(yaml.safe_dump(declared), {})


class Partition:
    """One event each, under a configuration."""

    def __init__(self, hot: dict[str, Any]) -> None:
        declared = settings(hot)
        self.features = declared.features
        self.core = ScoringCore(
            topic="events",
            partition=0,
            features=declared.features,
            objectives=declared.objectives,
            rankings=declared.rankings,
            bidding=declared.desks(granted=True),
            replicas=new_replicas(declared),
        )
        self.users: dict[str, UserState] = {}

    def take(self, event: EventBase, published: Score | None = None) -> Any:
        self.core.published = {published.score_id: published} if published else {}
        return self.core.step(DecodedBatch(0, 1, 1, [(0, T0, event)], [], 0), self.users)

    def hot_kept(self, *, bid: bool = False) -> Any:
        """Return the feature's value of the trigger, or of the bid, that waits."""
        user = self.users["u1"]
        packed = user.bidding.bids[0].values if bid and user.bidding else user.open[0].values
        return msgspec.msgpack.decode(packed)[self.features.position("hot")]


def untouched(hot: dict[str, Any]) -> Any:
    partition = Partition(hot)
    partition.take(an_impression("i1"))
    return partition.hot_kept()


def published(hot: dict[str, Any], value: Any) -> Score:
    partition = Partition(hot)
    [score] = partition.take(an_impression("i1")).scores
    return replace(score, crowd=[value])


def answered(value: Any, crowd_hash: str) -> RankRequest:
    ranked = [Ranked(item_id="i1", score=0.5, reasons=[], propensity=1.0, crowd=[value])]
    said = Answered(model="ftrl", model_version=3, ranked=ranked, crowd_version=2, crowd_hash=crowd_hash)
    return an_event(RankRequest, candidates=["i1"], answered=said)  # type: ignore[no-any-return]


def a_bid(value: Any, crowd_hash: str) -> BidRequest:
    said = AnsweredBid(reason="bid", campaign="shoes", item_id="shoes", day="2023-11-14", price=1.0)
    said.bid_id, said.crowd, said.crowd_hash = f"events-0-{FIRST_NUMBER}", [value], crowd_hash
    return an_event(BidRequest, answered=said)  # type: ignore[no-any-return]


# What a configuration says, and what another one makes of it.
ANOTHER = [(PLAIN, -1.97, BINS), (BINS, 2, PLAIN), (BINS, 2, FEWER), (BINS, 0, FEWER), (PLAIN, -1.97, NEW)]


@pytest.mark.parametrize(("before", "value", "hot"), ANOTHER)
def test_values_of_another_declaration_are_not_taken(before: dict[str, Any], value: Any, hot: dict[str, Any]) -> None:
    score = published(before, value)
    again, answering, bidding = Partition(hot), Partition(hot), Partition(hot)

    assert again.take(an_impression("i1"), score).scores == [score]
    assert len(answering.take(answered(value, score.crowd_hash)).scores) == 1
    assert len(bidding.take(a_bid(value, score.crowd_hash)).bids) == 1
    kept = [again.hot_kept(), answering.hot_kept(), bidding.hot_kept(bid=True)]
    assert kept == [untouched(hot)] * 3


@pytest.mark.parametrize("hot", [PLAIN, BINS])
def test_values_of_this_declaration_stand(hot: dict[str, Any]) -> None:
    value = 0 if hot is BINS else -1.97
    score = published(hot, value)
    again, answering, bidding = Partition(hot), Partition(hot), Partition(hot)

    again.take(an_impression("i1"), score)
    answering.take(answered(value, score.crowd_hash))
    bidding.take(a_bid(value, score.crowd_hash))

    assert untouched(hot) != value
    assert [again.hot_kept(), answering.hot_kept(), bidding.hot_kept(bid=True)] == [value] * 3


@pytest.mark.parametrize(("value", "hot"), [(-1.97, BINS), (7, BINS), ("x", PLAIN), (-1.97, NEW)])
def test_values_of_a_version_before_are_taken_only_if_they_fit(value: Any, hot: dict[str, Any]) -> None:
    again, answering, bidding = Partition(hot), Partition(hot), Partition(hot)

    again.take(an_impression("i1"), replace(published(hot, value), crowd_hash=""))
    answering.take(answered(value, ""))
    bidding.take(a_bid(value, ""))

    kept = [again.hot_kept(), answering.hot_kept(), bidding.hot_kept(bid=True)]
    assert kept == [untouched(hot)] * 3


def test_what_is_published_tells_what_its_values_mean() -> None:
    asking = {"candidates": ["i1"]}
    for hot in (PLAIN, BINS):
        partition = Partition(hot)
        [score] = partition.take(an_impression("i1")).scores
        [answer] = partition.take(an_event(RankRequest, event_id="q", **asking)).scores

        assert score.crowd_hash == answer.crowd_hash == partition.features.crowd_hash != ""


def test_without_values_of_the_crowd_nothing_is_told() -> None:
    partition = Partition({"count": "click"})

    [score] = partition.take(an_impression("i1")).scores
    [answer] = partition.take(an_event(RankRequest, event_id="q", candidates=["i1"])).scores

    assert b"crowd" not in encode_json(score) + encode_json(answer)
