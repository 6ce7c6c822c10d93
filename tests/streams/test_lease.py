from __future__ import annotations

import asyncio

import pytest

from streams.lease import Lease
from streams.stores import Fenced, Unavailable


class Group:
    """A coordinator that answers as it is told, and a clock.

    Attributes
    ----------
    answer, takes_s
        What it says next, and how long that takes.
    """

    def __init__(self) -> None:
        self.now_s = 100.0
        self.answer: bool | None = True
        self.takes_s = 0.0
        self.asked = 0
        self.lease = Lease(valid_s=8.0, ask=self._ask, clock=lambda: self.now_s)

    async def _ask(self) -> bool | None:
        self.asked += 1
        await asyncio.sleep(0)
        self.now_s += self.takes_s
        return self.answer


async def test_a_confirmation_counts_for_its_time_from_when_it_was_asked_for() -> None:
    group = Group()
    term = group.lease.begin()
    before = group.lease.is_valid
    group.takes_s = 3.0

    await group.lease.check(term)
    group.now_s = 108.0
    still = group.lease.is_valid
    await group.lease.check(term)
    group.now_s = 108.1

    assert (before, still, group.lease.is_valid, group.asked) == (False, True, False, 1)


async def test_who_was_held_up_asks_before_going_on() -> None:
    group = Group()
    term = group.lease.begin()
    await group.lease.check(term)

    group.now_s += 60.0
    await group.lease.check(term)
    group.now_s += 60.0
    group.answer = False

    with pytest.raises(Fenced, match="expected that of assignment 1, found another, or none"):
        await group.lease.check(term)
    assert not group.lease.is_valid


async def test_a_coordinator_that_does_not_answer_is_waited_for() -> None:
    group = Group()
    term = group.lease.begin()
    group.answer = None

    with pytest.raises(Unavailable, match="does not confirm"):
        await group.lease.check(term)
    group.answer = True
    await group.lease.check(term)


async def test_an_answer_that_does_not_come_takes_nothing_away_before_its_time() -> None:
    group = Group()
    term = group.lease.begin()
    await group.lease.check(term)
    group.answer = None

    group.now_s += 7.0
    await group.lease.renew()
    await group.lease.check(term)

    assert group.lease.is_valid


async def test_of_an_earlier_assignment_nothing_counts() -> None:
    group = Group()
    first = group.lease.begin()
    asking = asyncio.ensure_future(group.lease.renew())
    while not group.asked:
        await asyncio.sleep(0)
    second = group.lease.begin()
    await asking

    assert not group.lease.is_valid
    with pytest.raises(Fenced):
        await group.lease.check(first)
    await group.lease.check(second)


async def test_several_that_wait_ask_once() -> None:
    group = Group()
    term = group.lease.begin()

    await asyncio.gather(*(group.lease.check(term) for _ in range(5)))

    assert group.asked == 1
