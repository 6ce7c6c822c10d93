"""A replay's budgets: one pot for all partitions, whatever was granted live, and whatever becomes of the process."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pytest
from bidding_bench import AD_CLICK, DAY, FEATURES, MINUTE, a_grant, a_request, a_win, begun
from builders import T0
from core_bench import a_replica
from hypothesis import given, settings
from hypothesis import strategies as st

from online_models.bidding.campaigns import DAY_MS
from online_models.bidding.declaration import parse_bidding
from online_models.bidding.desks import Desks
from online_models.bidding.market import MARKET, Market
from online_models.bidding.pot import Pot
from online_models.closed_loop import ClosedLoop, OwnReplica, Watchers, learner_pair
from online_models.features import compile_features
from online_models.objectives import parse_objectives
from online_models.scoring import ScoringCore
from schemas.bids import Bid
from schemas.campaigns import Campaign
from schemas.codec import decode_user_state, encode_json, encode_user_state
from schemas.user_state import Allowance, PartitionMeta

# A click is worth 0.02, and as likely as not: each bid can cost 0.01, and there is money for ten.
CAMPAIGN = Campaign(campaign="shoes", budget_per_day=0.1, value_per_click=0.02)
BUDGET, BID = 100_000, 10_000


class Loop:
    """A closed loop of some partitions that bids; users are dealt to them by number."""

    def __init__(self, partitions: int = 3, *, granted: bool = False) -> None:
        features = compile_features(FEATURES)
        objectives = parse_objectives({"ad_click": AD_CLICK}, features=features)
        bidding = parse_bidding({"click": "ad_click", "pacers": {"all": {"kind": "throttle"}}}, features=features,
                                objectives=objectives)  # fmt: skip
        click = a_replica("ad_click")
        click.weights, click.intercept, click.version = {}, 0.0, 7
        market = learner_pair(MARKET, lineage=MARKET, model=Market(bidding), prior=0.0, publish_examples=1 << 30)
        replicas = {"ad_click": click, MARKET: OwnReplica(Market(bidding), prior=0.0)}
        desks = Desks(bidding, features, objectives, granted=granted)

        def new_core(partition: int, meta: PartitionMeta | None, timers: Mapping[str, int] | None) -> ScoringCore:
            core = ScoringCore(topic="events", partition=partition, features=features, objectives=objectives,
                               replicas=replicas, bidding=desks, meta=meta, timers=timers)  # fmt: skip
            assert core.desk is not None
            core.desk._run("shoes", CAMPAIGN)
            return core

        self.loop = ClosedLoop(
            new_core=new_core,
            learners={MARKET: market, "ad_click": learner_pair("ad_click", lineage="", model=Market(bidding), prior=0.5,
                                                               publish_examples=1 << 30)},
            watchers=Watchers({}), publish_ms=10 * DAY_MS,
        )  # fmt: skip
        self.users: dict[int, dict[str, Any]] = {number: {} for number in range(partitions)}
        self.timers: dict[int, dict[str, int]] = {number: {} for number in range(partitions)}
        self.bids: list[Bid] = []

    def run(self, arrivals: Sequence[Any], chunk: int = 1_000) -> Loop:
        for first in range(0, max(1, len(arrivals)), chunk):
            self.loop.run(arrivals[first : first + chunk], self.users)
            self.bids += self.loop.bids
            for partition, changed in self.loop.take_timers().items():
                self.timers[partition].update((user, due) for user, due in changed.items() if due is not None)
                for user in [user for user, due in changed.items() if due is None]:
                    self.timers[partition].pop(user, None)
        return self

    def gone_on_with(self) -> Loop:
        """Return another loop that was told all that this one keeps."""
        other = Loop(len(self.users))
        other.loop.restore(self.loop.state(), self.timers)
        other.users = {
            number: {user: decode_user_state(encode_user_state(state)) for user, state in users.items()}
            for number, users in self.users.items()
        }
        return other

    def book(self, partition: int = 0) -> Allowance:
        desk = self.loop.core(partition).desk
        assert desk is not None
        return next(one for one in desk.allowances.state(T0) if one.day == DAY)


def requests(count: int, partitions: int, *, every_ms: int = 1_000) -> list[Any]:
    """Requests of as many users as there are partitions, in turn."""
    return [
        (n % partitions, n, T0, a_request(n * every_ms, event_id=f"r{n}", user_id=f"u{n % partitions}"))
        for n in range(count)
    ]


def wins(bids: Iterable[Bid], *, cost: int, at_ms: int, first: int) -> list[Any]:
    """A notice for each bid that was made."""
    offsets = itertools.count(first)
    made = [one for one in bids if one.campaign is not None]
    return [
        (one.partition, next(offsets), T0, a_win(one.bid_id, at_ms, cost / 1_000, event_id=f"w{one.bid_id}",
                                                 user_id=one.user_id))
        for one in made
    ]  # fmt: skip


def reasons(loop: Loop) -> Counter[str]:
    return Counter(one.reason for one in loop.bids)


@pytest.mark.parametrize("partitions", [1, 2, 5])
def test_a_budget_is_spent_once_whatever_the_number_of_partitions(partitions: int) -> None:
    loop = Loop(partitions).run(requests(60, partitions))

    assert reasons(loop) == {"bid": 10, "budget": 50}
    assert [loop.book(number) for number in range(partitions)] == [
        Allowance("shoes", DAY, reserved=BUDGET) for _ in range(partitions)
    ]


def test_what_a_win_leaves_of_its_bid_is_there_for_all() -> None:
    loop = Loop(3).run(requests(30, 3))

    loop.run(wins(loop.bids, cost=BID // 2, at_ms=MINUTE, first=100))
    loop.run([(n % 3, 200 + n, T0, a_request(2 * MINUTE + n, event_id=f"s{n}", user_id=f"u{n % 3}")) for n in range(9)])

    assert reasons(loop) == {"bid": 15, "budget": 24}
    assert loop.book() == Allowance("shoes", DAY, spent=BUDGET // 2, reserved=BUDGET // 2)


def test_what_was_granted_live_says_nothing_of_a_replay_that_bids_otherwise() -> None:
    live = [(n, 900 + n, T0, event) for n in range(3) for event in (begun(), a_grant(2 * BID))]

    loop = Loop(3).run([*live, *requests(60, 3)])

    assert reasons(loop) == {"bid": 10, "budget": 50}


def test_a_bid_that_was_made_over_http_is_paid_from_the_pot() -> None:
    answers = Loop(1).run(requests(8, 1)).bids
    answered = [
        (2, 500 + n, T0, a_request(n, event_id=f"h{n}", user_id="u2", answered=one)) for n, one in enumerate(answers)
    ]

    loop = Loop(3).run([*answered, *requests(30, 3)])

    assert reasons(loop) == {"bid": 8 + 2, "budget": 28}


@given(cut=st.integers(0, 90), chunk=st.integers(1, 100))
@settings(max_examples=10, deadline=None)
def test_neither_chunks_nor_an_interruption_change_a_bid(cut: int, chunk: int) -> None:
    asked = requests(40, 3)
    log = asked + wins(Loop(3).run(asked).bids, cost=BID // 3, at_ms=MINUTE, first=100)
    log += [(n % 3, 300 + n, T0, a_request(2 * MINUTE + n, event_id=f"s{n}", user_id=f"u{n % 3}")) for n in range(40)]
    whole = Loop(3).run(log)

    first = Loop(3).run(log[:cut], chunk)
    second = first.gone_on_with().run(log[cut:], chunk)

    assert [encode_json(one) for one in first.bids + second.bids] == [encode_json(one) for one in whole.bids]
    assert second.book() == whole.book()


def test_a_day_has_a_budget_of_its_own_and_is_let_go_of_when_it_is_long_past() -> None:
    loop = Loop(3).run(requests(12, 3, every_ms=DAY_MS))
    desk = loop.loop.core(0).desk

    loop.run([])

    assert reasons(loop) == {"bid": 12}
    assert desk is not None
    assert len(desk.allowances.state(T0)) == 5, "from two days before the partition furthest behind"


def test_what_only_a_worker_takes_does_not_pile_up_in_a_replay() -> None:
    loop = Loop(2, granted=True).run(requests(10, 2))
    desk = loop.loop.core(0).desk

    loop.run([])

    assert reasons(loop) == {"budget": 10}
    assert desk is not None
    assert (dict(desk.allowances.take_wants()), desk.allowances.take_changed()) == ({}, [])


def test_a_market_that_is_not_known_yet_paces_nobody() -> None:
    features = compile_features(FEATURES)
    objectives = parse_objectives({"ad_click": AD_CLICK}, features=features)
    bidding = parse_bidding({"click": "ad_click"}, features=features, objectives=objectives)
    market = Market(bidding)
    market._set("shoes", 0, 1.0, 0, 0)
    market._publish("shoes")
    replica = OwnReplica(market, prior=0.0)

    before, replica.version = dict(replica.weights), 3

    assert (before, bool(replica.weights)) == ({}, True)


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(1, 60), st.integers(0, 60)), max_size=40))
def test_what_is_spent_and_set_aside_is_never_more_than_the_budget(bids: list[tuple[str, int, int]]) -> None:
    pot = Pot()
    for name, amount, cost in bids:
        place = (name, DAY)
        if amount > pot.free(place, 100):
            continue
        pot.reserve(place, amount, 100)
        if cost <= amount:
            pot.spend(place, cost)
            pot.release(place, amount, 100)

    assert all(0 <= one.spent + one.reserved <= 100 for one in pot.state(T0))
