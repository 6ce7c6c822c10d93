from __future__ import annotations

import asyncio
import logging
import random
from itertools import islice

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.retry import Backoff, Outages, retrying
from streams.stores import Unavailable


class World:
    """Away for some attempts, with a clock that pauses move on."""

    def __init__(self, away: int, fault: Exception | None = None) -> None:
        self.away = away
        self.fault = fault
        self.now = 100.0
        self.pauses: list[float] = []
        self.outages = Outages()
        self.seen: list[tuple[float | None, list[str]]] = []

    async def step(self) -> str:
        self.seen.append((self.outages.degraded_since, self.outages.steps))
        if len(self.seen) <= self.away:
            raise Unavailable("away")
        if self.fault:
            raise self.fault
        return "done"

    async def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.now += seconds

    async def run(self) -> str:
        return await retrying(
            self.step,
            name="save",
            outages=self.outages,
            backoff=Backoff(jitter=0),
            sleep=self.sleep,
            clock=lambda: self.now,
        )


async def test_pauses_double_and_readiness_knows_since_when() -> None:
    world = World(away=8)

    assert await world.run() == "done"

    assert world.pauses == [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0]
    assert world.seen == [(None, [])] + 8 * [(100.0, ["save"])]
    assert (world.outages.degraded_since, world.outages.steps) == (None, [])


async def test_an_outage_is_logged_when_it_begins_and_when_it_ends(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="streamscore.retry"):
        await World(away=5).run()
        await World(away=0).run()

    fields = [(record.message, record.fields) for record in caplog.records]
    assert fields == [
        ("dependency is away, trying again", {"step": "save", "why": "away"}),
        ("dependency is back", {"step": "save", "away_s": 3.1}),
    ]


async def test_an_outage_that_ends_in_another_fault_is_over() -> None:
    world = World(away=2, fault=KeyError("a bug"))

    with pytest.raises(KeyError):
        await world.run()

    assert world.outages.degraded_since is None


async def test_an_outage_that_is_cancelled_is_over() -> None:
    outages = Outages()

    async def away() -> None:
        raise Unavailable("away")

    waiting = asyncio.create_task(retrying(away, name="save", outages=outages))
    await asyncio.sleep(0)
    degraded = outages.degraded_since is not None
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting

    assert degraded
    assert outages.degraded_since is None


def test_the_oldest_of_several_outages_counts() -> None:
    outages = Outages()
    outages.began(1, "save", 20.0)
    outages.began(2, "publish", 10.0)
    both = outages.degraded_since, outages.steps
    outages.ended(2)
    outages.ended(2)

    assert both == (10.0, ["publish", "save"])
    assert (outages.degraded_since, outages.steps) == (20.0, ["save"])


@given(seed=st.integers(), jitter=st.floats(0, 1))
def test_pauses_stay_within_their_bounds(seed: int, jitter: float) -> None:
    pauses = list(islice(Backoff(jitter=jitter).pauses(random.Random(seed)), 12))
    full = list(islice(Backoff(jitter=0).pauses(random.Random(seed)), 12))

    assert all(whole * (1 - jitter) <= pause <= whole <= 5 for pause, whole in zip(pauses, full, strict=True))


async def test_chance_is_its_own() -> None:
    random.seed(1)
    state = random.getstate()

    await retrying(World(away=2).step, name="save", sleep=World(0).sleep)

    assert random.getstate() == state


def test_each_step_tells_for_how_long_its_oldest_outage_has_lasted_and_nothing_afterwards() -> None:
    told: list[str] = []
    outages = Outages(told.append)
    outages.began(1, "save", 20.0)
    outages.began(2, "publish", 10.0)
    outages.began(3, "save", 15.0)
    during = outages.waiting_s(60.0)
    outages.ended(2)
    outages.ended(3)

    assert during == {"save": 45.0, "publish": 50.0}
    assert outages.waiting_s(60.0) == {"save": 40.0, "publish": 0.0}
    assert told == ["save", "publish", "save"]
