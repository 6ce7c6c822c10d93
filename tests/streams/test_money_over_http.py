"""Money that came to partitions with bids over HTTP: it is spent there or goes back, and is never spent twice."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from online_models.bidding.allowances import Allowances
from streams.budgets import CampaignDay, DictLedger, Limits, Purse, Want
from streams.budgets.books import Books

DAY = CampaignDay("shoes", "2026-11-26")
PLACE = (DAY.campaign, DAY.day)
T0, SECOND = 1_764_115_200_000, 1_000


class Partition:
    """Books on a log: what is stored is what the ledger is told, whenever somebody does."""

    def __init__(self, name: str, ledger: DictLedger, epoch: str, budget: int) -> None:
        self.name, self.ledger, self.budget = name, ledger, budget
        self.allowances = Allowances(epoch=epoch)
        self.books = Books(epoch, [])
        self.open: list[int] = []
        self.spent = 0

    @property
    def reserved(self) -> int:
        return sum(self.open)

    def comes_over_http(self, bid: int) -> None:
        self.allowances.move_in(PLACE, bid)
        self.open.append(bid)

    def bid(self, bid: int) -> None:
        if bid <= self.allowances.free(PLACE, self.budget):
            self.allowances.reserve(PLACE, bid, self.budget)
            self.open.append(bid)
        else:
            self.allowances.fall_short(PLACE, bid, self.budget)

    def settle(self, cost: int) -> None:
        if self.open:
            bid = self.open.pop(0)
            self.allowances.spend(PLACE, min(cost, bid))
            self.allowances.release(PLACE, bid, self.budget)
            self.spent += min(cost, bid)

    def save(self) -> None:
        self.books.saved(self.allowances.epoch, self.allowances.take_changed(), self.allowances.take_wants())

    def restart(self) -> None:
        self.save()
        state = self.allowances.state(T0)
        self.allowances = Allowances(state, epoch=self.allowances.epoch, bidding=self.allowances.bidding())

    async def tell(self) -> None:
        await self.ledger.report(self.name, {DAY: self.books.entry(DAY)})

    async def draw(self) -> None:
        """Ask for what was wanted; the grant comes back through the log."""
        want = self.books.wants.pop(DAY, None)
        if want is None:
            return
        asked = Want(want.amount, want.least, want.budget, self.books.entry(DAY).received)
        answer = await self.ledger.draw(self.name, self.allowances.epoch, {DAY: asked})
        for drawn in answer.drawn.values():
            self.allowances.receive(PLACE, self.allowances.epoch, drawn.total, drawn.committed)


async def deployment(partitions: int, budget: int, bid: int) -> tuple[DictLedger, Purse, list[Partition]]:
    ledger, names = DictLedger(), [f"events-{number}" for number in range(partitions)]
    epoch = (await ledger.draw(names[0], "", {})).epoch
    for name in names:
        await ledger.register(name, epoch, {}, expected=names)
    limits: Mapping[CampaignDay, Limits] = {DAY: Limits(budget, bid)}
    purse = Purse(ledger, lambda: limits)
    for _ in range(2):
        await purse.refill()
    return ledger, purse, [Partition(name, ledger, epoch, budget) for name in names]


@pytest.mark.parametrize(
    ("partitions", "budget", "bid"), [(12, 50_000_000, 50_000), (4, 2_000_000, 5_000), (4, 200_000_000, 10_000)]
)
async def test_where_requests_come_over_http_only_the_budget_is_spent(partitions: int, budget: int, bid: int) -> None:
    _, purse, holders = await deployment(partitions, budget, bid)
    chance = random.Random(1)
    now_ms, quiet = T0, 0
    waiting: list[tuple[int, Partition]] = []
    while quiet < 60:
        now_ms += SECOND
        made = [chance.choice(holders) for _ in range(50) if purse.reserve(*DAY, bid)]
        for one in made:
            one.comes_over_http(bid)
            waiting.append((now_ms + 5 * SECOND, one))
        while waiting and waiting[0][0] <= now_ms:
            waiting.pop(0)[1].settle(bid // 2 if chance.random() < 0.3 else 0)
        for one in holders:
            one.save()
            await one.tell()
        await purse.refill()
        quiet = 0 if made or waiting else quiet + 1

    assert 0.97 * budget < sum(one.spent for one in holders) <= budget


async def test_a_partition_that_bids_itself_keeps_what_it_uses() -> None:
    _, purse, [one] = await deployment(1, 10_000_000, 10_000)
    one.bid(10_000)
    for _ in range(1_200):
        one.save()
        await one.draw()
        if purse.reserve(*DAY, 10_000):
            one.comes_over_http(10_000)
        one.bid(10_000)
        one.settle(0)

    assert one.books.entry(DAY).returned == 0
    assert one.allowances.free(PLACE, one.budget) >= 50_000


STEPS = st.tuples(
    st.sampled_from(["http", "http", "http", "bid", "settle", "settle", "report", "draw", "refill", "restart"]),
    st.integers(0, 2),
    st.sampled_from([10, 40, 90]),
)


@settings(max_examples=300, deadline=None, derandomize=True)
@given(steps=st.lists(STEPS, min_size=60, max_size=150))
async def test_whatever_goes_back_when_no_budget_is_overspent(steps: list[tuple[str, int, int]]) -> None:
    budget = 300
    _, purse, holders = await deployment(3, budget, 10)
    on_the_way: list[int] = []
    for step, which, amount in steps:
        one: Any = holders[which]
        if step == "http":
            if purse.reserve(*DAY, amount):
                on_the_way.append(amount)
            if len(on_the_way) > which:
                one.comes_over_http(on_the_way.pop(0))
        elif step == "bid":
            one.bid(amount)
        elif step == "settle":
            one.settle(amount // 10)
        elif step == "restart":
            one.restart()
        elif step == "report":
            one.save()
            await one.tell()
        elif step == "refill":
            await purse.refill()
        else:
            await one.draw()

        free = sum(other.allowances.free(PLACE, budget) for other in holders)
        promised = sum(other.spent + other.reserved for other in holders) + sum(on_the_way)
        assert promised + free + purse.held(*DAY) <= budget


@settings(max_examples=100, deadline=None, derandomize=True)
@given(steps=st.lists(STEPS, max_size=80))
async def test_a_process_that_starts_anew_decides_the_same(steps: list[tuple[str, int, int]]) -> None:
    _, _, [one] = await deployment(1, 10_000, 10)
    _, _, [again] = await deployment(1, 10_000, 10)
    again.allowances.epoch = one.allowances.epoch
    for step, _, amount in steps:
        for partition in (one, again):
            if step == "http":
                partition.comes_over_http(amount)
            elif step == "bid":
                partition.bid(amount)
            elif step == "settle":
                partition.settle(amount // 10)
            elif step == "draw":
                partition.allowances.receive(PLACE, one.allowances.epoch, 100 * amount, 0)
        again.restart()

    assert one.allowances.state(T0) == again.allowances.state(T0)
