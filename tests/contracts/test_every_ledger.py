"""What every budget ledger promises, asked of each in turn."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from budget_ledgers import LosableDict, LosableRedis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from streams.budgets import CampaignDay, Draw, Drawn, Entry, Totals, Want

SHOES = CampaignDay("shoes", "2026-11-26")
HATS = CampaignDay("hats {x}: ü", "2026-11-26")
SHOES_TOMORROW = CampaignDay("shoes", "2026-11-27")
PARTITIONS = ["events-0", "events-1", "events-2"]
BUDGET = 1_000


@pytest.fixture(params=["memory", "valkey", "redis_server", "cluster"])
async def ledger(request: pytest.FixtureRequest, unique: Callable[[str], str]) -> AsyncIterator[Any]:
    if request.param == "memory":
        yield LosableDict()
        return
    url = request.getfixturevalue(f"{request.param}_url")
    made = LosableRedis.at(url, unique("ledger"), cluster=request.param == "cluster")
    yield made
    await made.close()


async def epoch_of(ledger: Any) -> str:
    return str((await ledger.draw("events-0", "", {})).epoch)


async def opened(ledger: Any, entries: dict[str, dict[CampaignDay, Entry]] | None = None) -> str:
    """Register all partitions; return the epoch."""
    epoch = await epoch_of(ledger)
    for name in PARTITIONS:
        await ledger.register(name, epoch, (entries or {}).get(name, {}), expected=PARTITIONS)
    return epoch


async def draw(ledger: Any, holder: str, epoch: str, micros: int, **options: int) -> Drawn:
    want = Want(micros, options.get("unit", 1_000), options.get("budget", BUDGET), options.get("received", 0))
    found: Drawn = (await ledger.draw(holder, epoch, {SHOES: want})).drawn[SHOES]
    return found


async def test_a_ledger_that_nobody_used_knows_nothing(ledger: Any) -> None:
    epoch = await epoch_of(ledger)

    assert epoch
    assert await ledger.draw("events-0", epoch, {SHOES: Want(10, 1, BUDGET, 0)}) == Draw(epoch, 1, {})
    assert await ledger.totals(SHOES.day) == {}
    assert await ledger.spent_total(*SHOES) == 0


async def test_nothing_is_granted_before_every_partition_has_registered(ledger: Any) -> None:
    epoch = await epoch_of(ledger)
    wants = {SHOES: Want(10, 1, BUDGET, 0)}

    missing = []
    for name in ("http-1", "events-2", "events-2", "events-0", "events-1"):
        missing.append((await ledger.register(name, epoch, {}, expected=PARTITIONS)).missing)
        missing.append((await ledger.draw("http-1", epoch, wants)).missing)

    assert missing == [3, 3, 2, 2, 2, 2, 1, 1, 0, 0]
    assert (await ledger.draw("http-1", epoch, wants)).drawn == {SHOES: Drawn(10, 0, 10, 990)}


async def test_who_registers_without_naming_partitions_opens_nothing(ledger: Any) -> None:
    epoch = await epoch_of(ledger)

    assert (await ledger.register("http-1", epoch, {}, expected=[])).missing == 1


async def test_a_partition_that_is_added_closes_the_ledger_until_it_registers(ledger: Any) -> None:
    epoch = await opened(ledger)
    grown = [*PARTITIONS, "events-3"]

    assert (await ledger.register("events-0", epoch, {}, expected=grown)).missing == 1
    assert (await ledger.register("events-3", epoch, {}, expected=grown)).missing == 0


async def test_all_draws_together_stay_within_the_budget(ledger: Any) -> None:
    epoch = await opened(ledger)

    answers = [await draw(ledger, name, epoch, 400) for name in PARTITIONS]

    assert answers == [Drawn(400, 400, 400, 600), Drawn(400, 400, 800, 200), Drawn(200, 200, 1_000, 0)]
    assert await draw(ledger, "http-1", epoch, 1) == Drawn(0, 0, 1_000, 0)


async def test_of_draws_at_once_none_is_granted_what_another_got(ledger: Any) -> None:
    epoch = await opened(ledger)

    answers = await asyncio.gather(*(draw(ledger, f"http-{n}", epoch, 30) for n in range(50)))

    assert sum(one.granted for one in answers) == BUDGET


async def test_a_draw_whose_answer_was_lost_is_told_what_it_got_and_gets_no_more(ledger: Any) -> None:
    epoch = await opened(ledger)
    await draw(ledger, "events-0", epoch, 100)

    again = await draw(ledger, "events-0", epoch, 100)
    then = await draw(ledger, "events-0", epoch, 100, received=again.total)

    assert (again, then) == (Drawn(100, 0, 100, 900), Drawn(200, 100, 200, 800))


async def test_who_knows_of_less_than_it_drew_is_told_what_it_spent_and_gave_back_of_it(ledger: Any) -> None:
    epoch = await opened(ledger)
    await draw(ledger, "events-0", epoch, 100)
    await ledger.report("events-0", {SHOES: Entry(100, returned=20, spent=70, moved=5)})

    await ledger.register("events-0", epoch, {SHOES: Entry(0)}, expected=PARTITIONS)
    lost = await draw(ledger, "events-0", epoch, 100)
    told = await draw(ledger, "events-0", epoch, 100, received=lost.total)

    assert lost == Drawn(100, 0, 85, 915, returned=20, spent=70, moved=5)  # 80, and 5 that no holder has named
    assert told == Drawn(200, 100, 185, 815)


async def test_slices_get_smaller_towards_the_end_but_not_below_the_unit(ledger: Any) -> None:
    epoch = await opened(ledger)
    received = dict.fromkeys(PARTITIONS, 0)
    slices = []
    for step in range(18):
        name = PARTITIONS[step % 3]
        answer = await draw(ledger, name, epoch, BUDGET, unit=40, received=received[name])
        received[name] = answer.total
        slices.append(answer.granted)

    # left // (2 * holders): 1000 // 2, 500 // 4, 375 // 6, 313 // 6, 261 // 6, then the unit, then the rest
    assert slices == [500, 125, 62, 52, 43, 40, 40, 40, 40, 40, 18, 0, 0, 0, 0, 0, 0, 0]
    assert sum(received.values()) == BUDGET


async def test_what_is_given_back_is_granted_to_others(ledger: Any) -> None:
    epoch = await opened(ledger)
    await draw(ledger, "events-0", epoch, BUDGET)

    await ledger.report("events-0", {SHOES: Entry(received=1_000, returned=300, spent=250)})

    assert await draw(ledger, "events-1", epoch, BUDGET) == Drawn(300, 300, 1_000, 0)
    assert await ledger.totals(SHOES.day) == {"shoes": Totals(BUDGET, 1_000, 250)}


async def test_reports_may_be_repeated_and_come_in_any_order(ledger: Any) -> None:
    await opened(ledger)
    early, late = {SHOES: Entry(100, 10, 50)}, {SHOES: Entry(200, 10, 70), HATS: Entry(5, 0, 5)}

    for entries in (early, late, late, early):
        await ledger.report("events-0", entries)
    await ledger.report("events-1", early)

    assert await ledger.spent_total(*SHOES) == 120
    assert await ledger.totals(SHOES.day) == {"shoes": Totals(0, 280, 120), HATS.campaign: Totals(0, 5, 5)}


async def test_days_and_campaigns_have_budgets_of_their_own(ledger: Any) -> None:
    epoch = await opened(ledger)
    want = Want(600, 1_000, BUDGET, 0)

    answers = [await ledger.draw(name, epoch, dict.fromkeys([SHOES, HATS, SHOES_TOMORROW], want)) for name in "ab"]

    first, second = Drawn(600, 600, 600, 400), Drawn(400, 400, 1_000, 0)
    assert [one.drawn for one in answers] == [
        dict.fromkeys((SHOES, HATS, SHOES_TOMORROW), one) for one in (first, second)
    ]
    assert await ledger.totals(SHOES_TOMORROW.day) == {"shoes": Totals(BUDGET, 1_000, 0)}


async def test_a_lowered_budget_grants_nothing_until_as_much_has_come_back_and_a_raised_one_grants_again(
    ledger: Any,
) -> None:
    epoch = await opened(ledger)
    await draw(ledger, "events-0", epoch, 900)

    assert await draw(ledger, "events-1", epoch, 100, budget=500) == Drawn(0, 0, 900, 0)
    await ledger.report("events-0", {SHOES: Entry(900, 500, 100)})
    assert await draw(ledger, "events-1", epoch, 200, budget=500) == Drawn(100, 100, 500, 0)
    assert await draw(ledger, "events-2", epoch, 200, budget=2_000) == Drawn(200, 200, 700, 1_300)


async def test_what_late_wins_cost_above_a_slice_is_taken_from_what_is_left(ledger: Any) -> None:
    epoch = await opened(ledger)
    await draw(ledger, "events-0", epoch, 100)

    await ledger.report("events-0", {SHOES: Entry(100, 0, 150)})

    assert await ledger.totals(SHOES.day) == {"shoes": Totals(BUDGET, 150, 150)}
    # 50 of it only make up for what is spent already.
    assert await draw(ledger, "events-0", epoch, 60, received=100) == Drawn(160, 60, 160, 840)


async def test_a_lost_ledger_grants_nothing_it_has_granted_before(ledger: Any) -> None:
    epoch = await opened(ledger)
    for name in PARTITIONS:
        await draw(ledger, name, epoch, 300)
    await ledger.lose(SHOES)

    refused = await ledger.draw("events-0", epoch, {SHOES: Want(100, 1, BUDGET, 300)})
    later = await opened(ledger, {name: {SHOES: Entry(300, 0, 200)} for name in PARTITIONS})

    assert (refused, later != epoch) == (Draw(later, 1, {}), True)
    assert await draw(ledger, "events-0", later, 300, received=300) == Drawn(400, 100, 1_000, 0)
    assert await ledger.spent_total(*SHOES) == 600


async def test_who_registers_in_an_epoch_that_is_over_changes_nothing(ledger: Any) -> None:
    epoch = await opened(ledger)
    await ledger.lose(SHOES)

    answer = await ledger.register("events-0", epoch, {SHOES: Entry(5)}, expected=PARTITIONS)

    assert answer == Draw(await epoch_of(ledger), 1, {})
    assert answer.epoch != epoch
    assert await ledger.totals(SHOES.day) == {}


@pytest.mark.parametrize("loss", ["lose_book", "lose_epoch"])
async def test_a_ledger_that_lost_a_part_asks_all_again(ledger: Any, loss: str) -> None:
    epoch = await opened(ledger)
    await draw(ledger, "events-0", epoch, 700)
    await getattr(ledger, loss)(SHOES)

    refused = await ledger.draw("events-1", epoch, {SHOES: Want(BUDGET, 1, BUDGET, 0)})
    later = await opened(ledger, {"events-0": {SHOES: Entry(700)}})

    assert (refused, later != epoch) == (Draw(later, 1, {}), True)
    assert await draw(ledger, "events-1", later, BUDGET) == Drawn(300, 300, 1_000, 0)


async def test_what_http_holders_had_drawn_counts_after_a_loss_as_far_as_a_partition_was_told(ledger: Any) -> None:
    epoch = await opened(ledger)
    await draw(ledger, "http-1", epoch, 400)
    await draw(ledger, "http-2", epoch, 100)
    seen = (await draw(ledger, "events-0", epoch, 200)).committed
    await ledger.lose(SHOES)

    later = await opened(ledger, {"events-0": {SHOES: Entry(200, seen=seen)}})
    before = await draw(ledger, "events-1", later, 50)
    await ledger.report("http-1", {SHOES: Entry(received=400, spent=20)})
    await ledger.report("http-1", {SHOES: Entry(received=400, returned=300, spent=20)})
    after = await draw(ledger, "events-1", later, BUDGET, received=50)

    assert before == Drawn(50, 50, 750, 250)  # 200 + 500 that no holder has named + 50
    assert after == Drawn(600, 550, 1_000, 0)  # 200 + 100 of http-1 + 100 that no holder has named + 600


async def test_what_an_http_holder_gave_back_before_a_loss_names_nothing(ledger: Any) -> None:
    epoch = await opened(ledger)
    await draw(ledger, "http-1", epoch, 400)
    await draw(ledger, "http-2", epoch, 500)
    await ledger.report("http-2", {SHOES: Entry(received=500, returned=450)})
    seen = (await draw(ledger, "events-0", epoch, 10)).committed
    await ledger.lose(SHOES)

    later = await opened(ledger, {"events-0": {SHOES: Entry(10, seen=seen)}})
    before = await draw(ledger, "events-1", later, 40)
    await ledger.report("http-2", {SHOES: Entry(received=500, returned=450)})
    after = await draw(ledger, "events-1", later, BUDGET, received=40)

    assert before == Drawn(40, 40, 500, 500)  # 10 + 450 that no holder has named + 40
    assert after == Drawn(540, 500, 1_000, 0)  # 10 + 50 of http-2 + 400 that no holder has named + 540


async def test_what_moved_to_a_partition_counts_once_and_what_it_gives_back_of_that_is_granted_again(
    ledger: Any,
) -> None:
    epoch = await opened(ledger)
    await draw(ledger, "http-1", epoch, 100, budget=100)
    await ledger.report("http-1", {SHOES: Entry(received=100)})

    await ledger.report("events-0", {SHOES: Entry(0, returned=50, spent=10, moved=60)})

    # 40 are still with the HTTP holder, and 10 are spent: 50 were given back.
    assert await ledger.totals(SHOES.day) == {"shoes": Totals(100, 50, 10)}
    assert await draw(ledger, "events-1", epoch, 60, budget=100) == Drawn(50, 50, 100, 0)
    await ledger.report("events-0", {SHOES: Entry(0, returned=50, spent=12, moved=60)})
    # 2 of its own overdraft: it had 10 left, and they make up for what is spent already.
    assert await ledger.totals(SHOES.day) == {"shoes": Totals(100, 102, 12)}
    assert await draw(ledger, "events-0", epoch, 60, budget=110) == Drawn(10, 10, 110, 0)


async def test_who_holds_what_moved_to_it_shares_what_is_left(ledger: Any) -> None:
    epoch = await opened(ledger)
    await draw(ledger, "http-1", epoch, 200)
    await ledger.report("events-0", {SHOES: Entry(0, moved=100)})

    # Three share 800: this one, who had nothing, the HTTP holder, and who has what moved to it.
    assert await draw(ledger, "events-1", epoch, BUDGET, unit=1) == Drawn(133, 133, 333, 667)
    await ledger.report("events-0", {SHOES: Entry(0, spent=100, moved=100)})
    # Two share 667: who has spent all that moved to it holds nothing.
    assert await draw(ledger, "events-1", epoch, BUDGET, unit=1, received=133) == Drawn(299, 166, 499, 501)


async def test_after_a_loss_what_moved_to_partitions_is_not_granted_twice(ledger: Any) -> None:
    epoch = await opened(ledger)
    await draw(ledger, "http-1", epoch, 400)
    await draw(ledger, "http-2", epoch, 600)
    await ledger.lose(SHOES)

    entries = {"events-0": Entry(0, spent=300, moved=400), "events-1": Entry(0, returned=150, moved=600)}
    later = await opened(ledger, {name: {SHOES: entry} for name, entry in entries.items()})
    closed = await ledger.totals(SHOES.day)
    first = await draw(ledger, "events-2", later, BUDGET)
    await ledger.report("http-2", {SHOES: Entry(600)})
    named = await draw(ledger, "events-2", later, BUDGET, received=150)

    assert closed == {"shoes": Totals(0, 850, 300)}  # 400 of events-0 and 450 of events-1
    assert first == Drawn(150, 150, 1_000, 0)
    assert named == Drawn(150, 0, 1_000, 0)


async def test_what_moves_after_a_loss_is_what_was_drawn_after_it(ledger: Any) -> None:
    epoch = await opened(ledger)
    await draw(ledger, "http-1", epoch, 400)
    await ledger.lose(SHOES)

    later = await opened(ledger, {"events-0": {SHOES: Entry(0, moved=400)}})
    drawn = await draw(ledger, "http-2", later, 100)
    await ledger.report("events-0", {SHOES: Entry(0, moved=500)})

    assert drawn == Drawn(100, 100, 500, 500)
    assert await draw(ledger, "events-1", later, BUDGET) == Drawn(500, 500, 1_000, 0)


async def test_who_registers_in_an_open_ledger_takes_nothing_away(ledger: Any) -> None:
    epoch = await opened(ledger)
    seen = (await draw(ledger, "events-0", epoch, 900)).committed
    await ledger.report("events-0", {SHOES: Entry(900, 900, 0)})

    await ledger.register("events-0", epoch, {SHOES: Entry(900, 900, 0, seen)}, expected=PARTITIONS)

    assert await draw(ledger, "events-1", epoch, BUDGET) == Drawn(1_000, 1_000, 1_000, 0)


@pytest.mark.parametrize("micros", [10**14, 2**53 - 2])
async def test_large_amounts_are_exact(ledger: Any, micros: int) -> None:
    epoch = await opened(ledger)

    drawn = await draw(ledger, "events-0", epoch, micros, unit=micros, budget=micros + 1)
    await ledger.report("events-0", {SHOES: Entry(micros, 0, micros - 1)})

    assert drawn == Drawn(micros, micros, micros, 1)
    assert await ledger.totals(SHOES.day) == {"shoes": Totals(micros + 1, micros, micros - 1)}


@pytest.mark.parametrize(
    ("place", "entry", "message"),
    [
        (CampaignDay("shoes", "2026:11"), Entry(0), "Expected a day without a colon, got '2026:11'"),
        (SHOES, Entry(0, -1), "Expected 0 to 9007199254740991 micros, got -1 - at returned"),
        (SHOES, Entry(2**53), "got 9007199254740992 - at received"),
        (SHOES, Entry(5, moved=-2), "got -2 - at moved"),
    ],
)
async def test_what_a_ledger_cannot_keep_is_refused_whole(
    ledger: Any, place: CampaignDay, entry: Entry, message: str
) -> None:
    epoch = await opened(ledger)

    with pytest.raises(ValueError, match=message):
        await ledger.report("events-0", {HATS: Entry(7), place: entry})
    with pytest.raises(ValueError, match=message):
        await ledger.register("events-0", epoch, {HATS: Entry(7), place: entry}, expected=PARTITIONS)

    assert await ledger.totals(HATS.day) == {}


# Few holders and small numbers, so that the same ones meet again.
HOLDERS = st.sampled_from(["events-0", "events-1", "http-1"])
PLACES = st.sampled_from([SHOES, HATS])
SMALL = st.integers(0, 40)
ENTRIES = st.dictionaries(PLACES, st.builds(Entry, *[SMALL] * 5), max_size=2)
WANTS = st.dictionaries(PLACES, st.builds(Want, SMALL, st.integers(0, 5), st.integers(0, 90), SMALL), max_size=2)
STEPS = st.tuples(
    st.sampled_from(["draw", "draw", "draw", "report", "register", "register", "lose", "lose_epoch"]),
    *(HOLDERS, WANTS, ENTRIES, st.sampled_from([["events-0"], ["events-0", "events-1"]])),
)


@settings(max_examples=80, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=st.lists(STEPS, max_size=25))
@pytest.mark.parametrize("kind", ["valkey", "redis_server"])
async def test_any_steps_have_in_redis_the_outcome_that_they_have_in_memory(
    kind: str, steps: list[Any], request: pytest.FixtureRequest, unique: Callable[[str], str]
) -> None:
    async def outcome(ledger: Any, step: Any) -> object:
        name, holder, wants, entries, expected = step
        epoch = await epoch_of(ledger)
        if name == "draw":
            return (await ledger.draw(holder, epoch, wants))[1:]
        if name == "register":
            return (await ledger.register(holder, epoch, entries, expected=expected))[1:]
        if name == "report":
            return await ledger.report(holder, entries)
        return await getattr(ledger, name)(*([SHOES, HATS] if name == "lose" else [SHOES]))

    memory = LosableDict()
    redis_ledger = LosableRedis.at(request.getfixturevalue(f"{kind}_url"), unique("law"))
    try:
        for step in steps:
            assert await outcome(redis_ledger, step) == await outcome(memory, step)
            assert await redis_ledger.totals(SHOES.day) == await memory.totals(SHOES.day)
    finally:
        await redis_ledger.close()
