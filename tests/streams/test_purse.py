"""What a process that answers bids over HTTP may bid with."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streams.budgets import CampaignDay, DictLedger, Draw, Entry, Limits, Purse, Totals, Want
from streams.stores import Unavailable

TODAY, TOMORROW = CampaignDay("shoes", "2026-11-26"), CampaignDay("shoes", "2026-11-27")
BUDGET, UNIT = 10_000, 10


class FlakyLedger(DictLedger):
    """Is away on demand, before or after it has done what was asked."""

    away = False
    loses_answers = False

    async def draw(self, holder: str, epoch: str, wants: Mapping[CampaignDay, Want]) -> Draw:
        if self.away:
            raise Unavailable("store: away")
        answer = await super().draw(holder, epoch, wants)
        if self.loses_answers:
            raise Unavailable("store: the answer was lost")
        return answer


class Bidder:
    """A purse on a ledger that one partition has opened."""

    def __init__(self) -> None:
        self.ledger = FlakyLedger()
        self.limits = {TODAY: Limits(BUDGET, UNIT)}
        self.now_s = 0.0
        self.purse = Purse(self.ledger, lambda: self.limits, clock=lambda: self.now_s)

    async def open(self) -> Bidder:
        epoch = (await self.ledger.draw("events-0", "", {})).epoch
        await self.ledger.register("events-0", epoch, {}, expected=["events-0"])
        await self.purse.refill()
        return self

    async def totals(self) -> Totals:
        return (await self.ledger.totals(TODAY.day))[TODAY.campaign]

    @property
    def held(self) -> int:
        return self.purse.held(*TODAY)


async def test_the_first_refill_brings_two_of_the_highest_bids() -> None:
    bidder = Bidder()
    before = bidder.purse.reserve(*TODAY, UNIT)

    await bidder.open()

    assert (before, bidder.purse.is_ready, bidder.held) == (False, True, 20)
    assert await bidder.totals() == Totals(BUDGET, 20, 0)


async def test_to_a_lost_ledger_a_purse_names_what_it_held_before_it_gives_that_back() -> None:
    bidder = await Bidder().open()
    await bidder.purse.refill()  # all it has is reported
    held = bidder.held
    bidder.ledger.forget()
    epoch = (await bidder.ledger.draw("events-0", "", {})).epoch
    # The partition had been told of what the purse drew.
    await bidder.ledger.register("events-0", epoch, {TODAY: Entry(0, seen=held)}, expected=["events-0"])
    await bidder.ledger.draw("events-0", epoch, {TODAY: Want(0, UNIT, BUDGET, 0)})
    unnamed = await bidder.totals()

    await bidder.purse.refill()

    assert (unnamed.committed, bidder.held) == (2 * UNIT, 2 * UNIT)
    assert (await bidder.totals()).committed == 2 * UNIT


async def test_no_more_is_reserved_than_is_held() -> None:
    bidder = await Bidder().open()

    assert [bidder.purse.reserve(*TODAY, micros) for micros in (15, 6, 5, 1, 0)] == [True, False, True, False, True]
    assert not bidder.purse.reserve(*TOMORROW, 1)
    assert bidder.held == 0


async def test_what_is_released_may_be_reserved_again_and_is_given_back_like_the_rest() -> None:
    bidder = await Bidder().open()
    bidder.purse.reserve(*TODAY, 15)

    bidder.purse.release(*TODAY, 15)
    bidder.purse.release(*TOMORROW, 15)
    again = bidder.purse.reserve(*TODAY, 20)
    bidder.purse.release(*TODAY, 20)
    with pytest.raises(ValueError, match="Expected 0 to 0 micros, as much as is reserved, got 1"):
        bidder.purse.release(*TODAY, 1)
    await bidder.purse.close()

    assert again
    assert await bidder.totals() == Totals(BUDGET, 0, 0)


async def test_use_and_refusals_make_it_hold_more_and_silence_less() -> None:
    bidder = await Bidder().open()
    bidder.purse.reserve(*TODAY, 20)
    bidder.purse.reserve(*TODAY, 80)

    held = []
    for _ in range(6):
        await bidder.purse.refill()
        held.append(bidder.held)

    assert held == [600, 600, 150, 150, 37, 37]  # six times 100, fading; given back above twice that
    assert await bidder.totals() == Totals(BUDGET, 20 + 37, 0)


async def test_while_the_ledger_is_away_what_is_held_is_used_up_and_then_nothing_is_bid() -> None:
    bidder = await Bidder().open()
    bidder.ledger.away = True

    for _ in range(3):
        with pytest.raises(Unavailable):
            await bidder.purse.refill()

    assert [bidder.purse.reserve(*TODAY, 10) for _ in range(3)] == [True, True, False]


async def test_a_lost_answer_is_made_up_for() -> None:
    bidder = Bidder()
    bidder.limits = {}
    await bidder.open()
    bidder.limits = {TODAY: Limits(BUDGET, UNIT)}
    bidder.ledger.loses_answers = True
    with pytest.raises(Unavailable):
        await bidder.purse.refill()
    held = bidder.held
    bidder.ledger.loses_answers = False
    await bidder.purse.refill()

    assert (held, bidder.held) == (0, 20)
    assert await bidder.totals() == Totals(BUDGET, 20, 0)


async def test_what_a_ledger_that_was_lost_had_granted_is_dropped_and_what_was_reserved_is_told_again() -> None:
    bidder = await Bidder().open()
    bidder.purse.reserve(*TODAY, 15)
    await bidder.purse.refill()
    bidder.ledger.forget()

    await bidder.purse.refill()

    assert (bidder.held, bidder.purse.is_ready) == (0, False)
    assert await bidder.totals() == Totals(0, 15, 0)


async def test_a_ledger_that_was_lost_is_told_even_what_has_not_changed() -> None:
    bidder = await Bidder().open()
    bidder.purse.reserve(*TODAY, 20)
    bidder.limits = {}
    await bidder.purse.refill()
    bidder.ledger.forget()

    await bidder.purse.refill()

    assert await bidder.totals() == Totals(0, 20, 0)


async def test_yesterday_is_given_back_and_forgotten_only_after_every_day_is_over() -> None:
    bidder = await Bidder().open()
    bidder.purse.reserve(*TODAY, 4)
    bidder.limits = {TOMORROW: Limits(BUDGET, UNIT)}
    await bidder.purse.refill()
    at_once = await bidder.totals(), bidder.held, bidder.purse.held(*TOMORROW)
    bidder.now_s = 3 * 86_400.0
    await bidder.purse.refill()
    kept = list(bidder.purse._slices)
    bidder.now_s = 4 * 86_400.0
    await bidder.purse.refill()

    assert at_once == (Totals(BUDGET, 4, 0), 0, 20)
    assert await bidder.totals() == Totals(BUDGET, 4, 0)
    assert (kept, list(bidder.purse._slices)) == ([TODAY, TOMORROW], [TOMORROW])


async def test_a_campaign_that_was_paused_goes_on_where_it_was() -> None:
    bidder = await Bidder().open()
    bidder.purse.reserve(*TODAY, 20)
    for limits in ({}, {}, {TODAY: Limits(30, UNIT)}):
        bidder.limits = limits
        await bidder.purse.refill()

    assert bidder.held == 10


async def test_closing_gives_back_all_but_what_is_reserved_even_what_a_lost_answer_brought() -> None:
    bidder = await Bidder().open()
    bidder.purse.reserve(*TODAY, 12)
    bidder.ledger.loses_answers = True
    with pytest.raises(Unavailable):
        await bidder.purse.refill()
    bidder.ledger.loses_answers = False

    await bidder.purse.close()
    closed = await bidder.totals(), bidder.purse.reserve(*TODAY, 1)
    await bidder.purse.close()

    assert closed == (Totals(BUDGET, 12, 0), False)
    assert await bidder.totals() == Totals(BUDGET, 12, 0)


STEPS = st.tuples(st.integers(0, 1), st.sampled_from(["reserve", "refill", "lost", "pause", "run"]), st.integers(0, 80))


@settings(max_examples=150, deadline=None, derandomize=True)
@given(steps=st.lists(STEPS, max_size=60))
async def test_two_purses_never_commit_more_than_the_budget(steps: list[tuple[int, str, int]]) -> None:
    budget = 300
    bidders = [first := Bidder(), Bidder()]
    for one in bidders:
        one.limits = {TODAY: Limits(budget, UNIT)}
    await first.open()
    bidders[1].ledger = first.ledger
    bidders[1].purse = Purse(first.ledger, lambda: bidders[1].limits)
    reserved = 0
    for which, step, micros in steps:
        bidder = bidders[which]
        if step == "reserve" and bidder.purse.reserve(*TODAY, micros):
            reserved += micros
        elif step in ("pause", "run"):
            bidder.limits = {TODAY: Limits(budget, UNIT)} if step == "run" else {}
        elif step in ("refill", "lost"):
            first.ledger.loses_answers = step == "lost"
            with contextlib.suppress(Unavailable):
                await bidder.purse.refill()
            first.ledger.loses_answers = False

        assert reserved + sum(one.held for one in bidders) <= budget
