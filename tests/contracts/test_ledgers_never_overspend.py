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
        self.may_receive = 0  # highest total that an answer of its epoch told, even one that is lost or on its way
        self.when_it_came = Entry(0)  # what it knew when it changed to its epoch
        self.reports = [Entry(0)]

    @property
    def entry(self) -> Entry:
        return Entry(self.received, self.returned, self.spent, self.seen)

    @property
    def held(self) -> int:
        return max(0, self.received - self.returned - self.spent)


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
        self.budget = self.highest = 100
        self.excess = 0

    async def made(self) -> Any:
        return LosableDict()

    def teardown(self) -> None:
        self.runner.run(self.ledger.close())
        self.runner.close()

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
        entries = {DAY: holder.when_it_came if as_it_came else holder.entry}
        self.runner.run(self.ledger.register(holder.name, holder.epoch, entries, expected=PARTITIONS))

    @rule(target=answers, which=st.integers(0, 3), slice_=SLICES)
    def draw_and_wait(self, which: int, slice_: tuple[int, int]) -> tuple[Holder, Draw]:
        return self.draw(which, *slice_)

    def draw(self, which: int, micros: int, unit: int) -> tuple[Holder, Draw]:
        holder = self.holders[which % len(self.holders)]
        answer = self.ask(holder, {DAY: Want(micros, unit, self.budget, holder.received)})
        for drawn in answer.drawn.values():
            holder.may_receive = max(holder.may_receive, drawn.total)
            everything = [*self.holders, *self.dead]
            assert 0 <= drawn.granted <= micros
            assert not drawn.granted or sum(one.may_receive - one.returned for one in everything) <= self.budget
        return holder, answer

    @rule(which=st.integers(0, 3), slice_=SLICES)
    def draw_and_hear_of_it(self, which: int, slice_: tuple[int, int]) -> None:
        self.hear(self.draw(which, *slice_))

    @rule(answer=answers)  # not consumed: it may come twice, late, and in any order; or never
    def an_answer_comes(self, answer: tuple[Holder, Draw]) -> None:
        self.hear(answer)

    def hear(self, answer: tuple[Holder, Draw]) -> None:
        holder, (epoch, _, drawn) = answer
        if drawn and epoch == holder.epoch:
            holder.received = max(holder.received, drawn[DAY].total)
            holder.seen = drawn[DAY].committed

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
    @rule()
    def an_http_process_crashes(self) -> None:
        self.dead.append(self.holders.pop())
        self.holders.append(Holder(f"http-{len(self.dead)}"))
        self.change_epoch(self.holders[-1])

    @invariant()
    def spend_is_bounded(self) -> None:
        everything = [*self.holders, *self.dead]
        most = sum(max(one.received - one.returned, one.spent) for one in everything)

        assert most <= self.highest + self.excess

    @invariant()
    def the_ledger_knows_no_more_than_was_spent(self) -> None:
        known = self.runner.run(self.ledger.spent_total(*DAY))

        assert known <= sum(one.spent for one in [*self.holders, *self.dead])


class NeverOverspendsAfterLosses(NeverOverspends):
    """Partitions only, of which the bound is exact after losses too."""

    http = False

    @rule(what=st.sampled_from(["lose", "lose_book", "lose_epoch"]), left_out=st.integers(0, 5))
    def something_is_lost(self, what: str, left_out: int) -> None:
        self.runner.run(getattr(self.ledger, what)(DAY))
        self.come_to_the_present_epoch(left_out, as_it_came=True)
        for which in range(len(self.holders)):
            self.hear(self.draw(which, 200, 200))


@pytest.mark.parametrize("machine", [NeverOverspends, NeverOverspendsAfterLosses])
def test_no_interleaving_overspends_in_memory(machine: type[NeverOverspends]) -> None:
    run_state_machine_as_test(machine, settings=law(max_examples=80, stateful_step_count=40))


@pytest.fixture(params=[NeverOverspends, NeverOverspendsAfterLosses])
def on_redis(request: pytest.FixtureRequest, redis_url: str, unique: Any) -> type[NeverOverspends]:
    class OnRedis(request.param):  # type: ignore[name-defined, misc]
        async def made(self) -> Any:
            return LosableRedis.at(redis_url, unique("law"))

    return OnRedis


def test_no_interleaving_overspends_in_redis(on_redis: type[NeverOverspends]) -> None:
    run_state_machine_as_test(on_redis, settings=law(max_examples=20, stateful_step_count=40))


def law(**options: Any) -> settings:
    return settings(deadline=None, derandomize=True, suppress_health_check=list(HealthCheck), **options)
