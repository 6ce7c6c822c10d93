"""No interleaving of draws, lost answers, crashes, losses and changed budgets grants more than the budget."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from budget_ledgers import LosableDict, LosableRedis
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle as Answers
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from streams.budgets import CampaignDay, Draw, Entry, Want

DAY = CampaignDay("shoes", "2026-11-26")
PARTITIONS = ["events-0", "events-1", "events-2"]
AMOUNTS = st.sampled_from([0, 1, 7, 30, 60])
# Large and few, so that the budget is often used up.
SLICES = st.sampled_from([(10, 10), (60, 60), (60, 0), (200, 200), (0, 0)])
BUDGETS = st.sampled_from([0, 90, 110])


class Holder:
    """What a holder knows, and what it may come to know."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.epoch = ""
        self.received = self.returned = self.spent = self.seen = 0
        self.seen_at = 0  # the number of the grant that told `seen`
        self.moved = self.moved_told = 0  # what came over HTTP, and as much of it as the ledger was told
        self.bid = self.gone = 0  # over HTTP: what was set aside for bids, and as much of it as partitions have
        self.may_receive = 0  # highest total that an answer of its epoch told, even one that is lost or on its way
        self.when_it_came = Entry(0)  # what it knew when it changed to its epoch
        self.reports = [Entry(0)]

    @property
    def entry(self) -> Entry:
        return Entry(self.received, self.returned, self.spent, self.seen, self.moved)

    @property
    def had(self) -> int:
        return self.received + self.moved - self.returned - self.gone

    @property
    def held(self) -> int:
        return max(0, self.received + self.moved - self.returned - self.spent - self.bid)


class NeverOverspends(RuleBasedStateMachine):
    """Holders of one campaign's day: three partitions, and HTTP processes that crash for good."""

    ledger: Any
    http = True
    answers = Answers("answers")

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.ledger = self.runner.run(self.made())
        names = [*PARTITIONS, "http-0"] if self.http else PARTITIONS
        self.holders = [Holder(name) for name in names]
        self.dead: list[Holder] = []
        self.grants: list[tuple[Holder, int]] = []
        self.untold: set[int] = set()  # grants to HTTP holders of which no partition knew when the ledger was lost
        self.budget = self.highest = 100
        self.excess = 0
        self.hidden = 0  # as much of it as may count, after a loss, as what a partition had been told of

    async def made(self) -> Any:
        return LosableDict()

    def teardown(self) -> None:
        self.runner.run(self.ledger.close())
        self.runner.close()

    @property
    def everybody(self) -> list[Holder]:
        return [*self.holders, *self.dead]

    @property
    def unknowable(self) -> int:
        return sum(self.grants[number - 1][1] for number in self.untold)

    def ask(self, holder: Holder, wants: dict[CampaignDay, Want]) -> Draw:
        answer: Draw = self.runner.run(self.ledger.draw(holder.name, holder.epoch, wants))
        return answer

    @initialize()
    def all_registered(self) -> None:
        for holder in self.holders:
            self.change_epoch(holder)
            self.register(holder)

    def change_epoch(self, holder: Holder) -> None:
        epoch = self.ask(holder, {}).epoch
        if epoch != holder.epoch:
            holder.epoch, holder.may_receive, holder.when_it_came = epoch, holder.received, holder.entry

    def register(self, holder: Holder, *, as_it_came: bool = False) -> None:
        told = holder.when_it_came if as_it_came else holder.entry
        self.runner.run(self.ledger.register(holder.name, holder.epoch, {DAY: told}, expected=PARTITIONS))
        holder.moved_told = max(holder.moved_told, told.moved)

    @rule(target=answers, which=st.integers(0, 3), slice_=SLICES)
    def draw_and_wait(self, which: int, slice_: tuple[int, int]) -> tuple[Holder, Draw, int]:
        return self.draw(which, *slice_)

    def draw(self, which: int, micros: int, unit: int) -> tuple[Holder, Draw, int]:
        holder = self.holders[which % len(self.holders)]
        answer = self.ask(holder, {DAY: Want(micros, unit, self.budget, holder.received)})
        for drawn in answer.drawn.values():
            holder.may_receive = max(holder.may_receive, drawn.total)
            self.grants.append((holder, drawn.granted))
            assert 0 <= drawn.granted <= micros
            if drawn.granted:
                self.all_that_may_be_held_is_within_the_budget()
        return holder, answer, len(self.grants)

    def all_that_may_be_held_is_within_the_budget(self) -> None:
        partitions = [one for one in self.holders if one.name in PARTITIONS]

        assert (
            sum(one.may_receive - one.returned for one in self.everybody) <= self.budget + self.unknowable + self.hidden
        )
        # After a loss too this is exact.
        assert sum(one.may_receive + one.moved_told - one.returned for one in partitions) <= self.budget

    @rule(which=st.integers(0, 3), slice_=SLICES)
    def draw_and_hear_of_it(self, which: int, slice_: tuple[int, int]) -> None:
        self.hear(self.draw(which, *slice_))

    @rule(answer=answers)  # not consumed: it may come twice, late, and in any order; or never
    def an_answer_comes(self, answer: tuple[Holder, Draw, int]) -> None:
        self.hear(answer)

    def hear(self, answer: tuple[Holder, Draw, int]) -> None:
        holder, (epoch, _, drawn), number = answer
        if drawn and epoch == holder.epoch and drawn[DAY].total > holder.received:
            holder.received, holder.seen, holder.seen_at = drawn[DAY].total, drawn[DAY].committed, number

    @rule(which=st.integers(0, 3), spent=AMOUNTS, late=st.sampled_from([0, 0, 0, 5]), returned=AMOUNTS)
    def spend_and_give_back(self, which: int, spent: int, late: int, returned: int) -> None:
        holder = self.holders[which % len(self.holders)]
        holder.spent += min(spent, holder.held)
        holder.returned += min(returned, holder.held)
        holder.spent += late
        self.excess += late

    @rule(which=st.integers(0, 3), earlier=st.integers(0, 2))
    def report(self, which: int, earlier: int) -> None:
        holder = self.holders[which % len(self.holders)]
        holder.reports.append(holder.entry)
        told = holder.reports[-1 - earlier % len(holder.reports)]
        self.runner.run(self.ledger.report(holder.name, {DAY: told}))
        holder.moved_told = max(holder.moved_told, told.moved)

    @rule(left_out=st.integers(0, 5), as_it_came=st.booleans())
    def come_to_the_present_epoch(self, left_out: int, as_it_came: bool) -> None:
        for number, holder in enumerate(self.holders):
            if number != left_out:
                self.change_epoch(holder)
                self.register(holder, as_it_came=as_it_came)

    @rule(budget=BUDGETS)
    def change_the_budget(self, budget: int) -> None:
        self.budget, self.highest = budget, max(budget, self.highest)

    @precondition(lambda self: self.http)
    @rule(amount=AMOUNTS)
    def a_bid_is_made_over_http(self, amount: int) -> None:
        holder = self.holders[-1]
        holder.bid += min(amount, holder.held)

    @precondition(lambda self: any(one.bid > one.gone for one in self.everybody))
    @rule(partition=st.integers(0, 2), amount=AMOUNTS, which=st.integers(0, 3))
    def bids_made_over_http_reach_a_partition(self, partition: int, amount: int, which: int) -> None:
        waiting = [one for one in self.everybody if one.bid > one.gone]
        holder = waiting[which % len(waiting)]
        amount = min(amount, holder.bid - holder.gone)
        holder.gone += amount
        self.holders[partition].moved += amount

    @precondition(lambda self: self.http)
    @rule(partition=st.integers(0, 2), slice_=SLICES, returned=AMOUNTS)
    def all_goes_well(self, partition: int, slice_: tuple[int, int], returned: int) -> None:
        """What is drawn over HTTP is bid at once, reaches a partition, which gives back of it, and reports."""
        self.hear(self.draw(-1, *slice_))
        self.a_bid_is_made_over_http(slice_[0])
        one, other = self.holders[-1], self.holders[partition]
        one.gone, other.moved = one.bid, other.moved + one.bid - one.gone
        self.spend_and_give_back(partition, 0, 0, returned)
        self.report(partition, 0)

    @rule(partition=st.integers(0, 2), told=st.booleans())
    def a_partition_gives_back_all_that_is_free(self, partition: int, told: bool) -> None:
        holder = self.holders[partition]
        holder.returned += holder.held
        if told:
            self.report(partition, 0)

    @precondition(lambda self: self.http)
    @rule()
    def an_http_process_crashes(self) -> None:
        self.dead.append(self.holders.pop())
        self.holders.append(Holder(f"http-{len(self.dead)}"))
        self.change_epoch(self.holders[-1])

    @invariant()
    def spend_is_bounded(self) -> None:
        most = sum(max(one.had, one.spent) for one in self.everybody)

        assert most <= self.highest + self.excess + self.unknowable

    @invariant()
    def the_ledger_knows_no_more_than_was_spent(self) -> None:
        known = self.runner.run(self.ledger.spent_total(*DAY))

        assert known <= sum(one.spent for one in self.everybody)


class NeverOverspendsAfterLosses(NeverOverspends):
    """The bound is exact but for what HTTP processes drew that no partition can tell of."""

    @rule(what=st.sampled_from(["lose", "lose_book", "lose_epoch"]), left_out=st.integers(0, 5), crashes=st.booleans())
    def something_is_lost(self, what: str, left_out: int, crashes: bool) -> None:
        if crashes and self.http:
            self.an_http_process_crashes()
        self.runner.run(getattr(self.ledger, what)(DAY))
        if what != "lose_epoch":
            told = max(one.seen_at for one in self.holders if one.name in PARTITIONS)
            later = range(told + 1, len(self.grants) + 1)
            self.untold |= {number for number in later if self.grants[number - 1][0].name not in PARTITIONS}
            self.hidden = self.excess if self.http else 0
            for one in self.holders:
                one.moved_told = 0
        self.come_to_the_present_epoch(left_out, as_it_came=True)
        for which in range(len(self.holders)):
            self.hear(self.draw(which, 200, 200))


class NeverOverspendsAfterLossesOfPartitions(NeverOverspendsAfterLosses):
    """Partitions only: there the bound is exact."""

    http = False


MACHINES = [NeverOverspends, NeverOverspendsAfterLosses, NeverOverspendsAfterLossesOfPartitions]


@pytest.mark.parametrize("machine", MACHINES)
def test_no_interleaving_overspends_in_memory(machine: type[NeverOverspends]) -> None:
    run_state_machine_as_test(machine, settings=law(max_examples=80, stateful_step_count=40))


@pytest.fixture(params=MACHINES)
def on_redis(request: pytest.FixtureRequest, redis_url: str, unique: Any) -> type[NeverOverspends]:
    class OnRedis(request.param):  # type: ignore[name-defined, misc]
        async def made(self) -> Any:
            return LosableRedis.at(redis_url, unique("law"))

    return OnRedis


def test_no_interleaving_overspends_in_redis(on_redis: type[NeverOverspends]) -> None:
    run_state_machine_as_test(on_redis, settings=law(max_examples=20, stateful_step_count=40))


def law(**options: Any) -> settings:
    return settings(deadline=None, derandomize=True, suppress_health_check=list(HealthCheck), **options)
