"""Every pacer: spends what there is along the plan, within its bounds, and the same whenever it is done again."""

from __future__ import annotations

from collections.abc import Sequence
from math import exp, isfinite
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from online_models.bidding.pacing import (
    KINDS,
    Flight,
    Pace,
    Pacer,
    build_pacer,
    from_numbers,
    takes_part,
    to_numbers,
)
from online_models.bidding.plan import DAY_MS, Plan, even_plan
from online_models.errors import ConfigError
from schemas.codec import BadRecord

BOUNDS = {
    "dual": {"start": 1.0, "least": 0.1, "most": 5.0},
    "pid": {"start": 1.0, "least": 0.1, "most": 5.0},
    "throttle": {"multiplier": 0.5, "most": 5.0},
    "layers": {"multiplier": 0.5, "most": 5.0},
}
LOWEST = {"dual": 0.1, "pid": 0.1, "throttle": 0.5, "layers": 0.5}
every_kind = pytest.mark.parametrize("kind", KINDS)

# A time, and what happens then: an opportunity of a value, or a cost.
EVENT = st.tuples(
    st.integers(-DAY_MS, 3 * DAY_MS),
    st.booleans(),
    st.one_of(st.just(0.0), st.floats(0.0, 1e-9), st.floats(0.0, 10.0), st.floats(0.0, 1e12)),
)
EVENTS = st.lists(EVENT, max_size=120)


def a_pacer(kind: str, **options: Any) -> Pacer:
    return build_pacer({"kind": kind, **BOUNDS[kind], **options})


def a_day(budget: float, day: int = 0, plan: Plan | None = None) -> Flight:
    starts_ms, ends_ms = day * DAY_MS, (day + 1) * DAY_MS
    return Flight(budget, plan or even_plan(starts_ms, ends_ms), starts_ms, ends_ms)


def tell(pacer: Pacer, events: Sequence[tuple[int, bool, float]]) -> list[Pace]:
    """Tell a pacer what happened; return its pace after each event."""
    paces = []
    for at_ms, won, amount in events:
        (pacer.spent if won else pacer.opportunity)(at_ms, amount)
        paces.append(pacer.pace)
    return paces


class Auctions:
    """Second-price auctions of a day, the same for every pacer: values are log-normal around 1, so are prices."""

    def __init__(
        self, *, count: int = 12_000, dearer_after: float = 2.0, silent: tuple[float, float] = (2.0, 2.0)
    ) -> None:
        rng = Random(1)
        self.auctions = []
        for number in range(count):
            part = number / count
            value, price, draw = exp(rng.gauss(0.0, 1.0)), exp(rng.gauss(0.0, 0.7)), rng.random()
            if not silent[0] <= part < silent[1]:
                self.auctions.append((part, value, price * (2.0 if part > dearer_after else 1.0), draw))
        self.total_cost = sum(price for _, _, price, _ in self.auctions)

    def run(
        self,
        pacer: Pacer,
        flight: Flight,
        *,
        until: float = 1.0,
        since: float = 0.0,
        left: float | None = None,
        lag: int = 1,
    ) -> list[tuple[float, float, Pace]]:
        """Return time, what was spent, and the pace, after each auction; the ledger lets nobody overspend."""
        left = flight.budget if left is None else left
        spent, history, pace = 0.0, [], pacer.pace
        for number, (part, value, price, draw) in enumerate(self.auctions):
            if not since <= part < until:
                continue
            if number % lag == 0:
                pace = pacer.pace
            at_ms = flight.starts_ms + int(part * DAY_MS)
            pacer.opportunity(at_ms, value)
            if takes_part(pace, value, draw) and min(value * pace.multiplier, left) > price:
                left -= price
                spent += price
                pacer.spent(at_ms, price)
            history.append((part, spent, pacer.pace))
        return history


# ---------------------------------------------------------------- it spends


@every_kind
@pytest.mark.parametrize("part", [0.4, 0.1])
@pytest.mark.parametrize("lag", [1, 20])
def test_on_a_market_that_stays_the_same_nearly_all_is_spent_along_the_plan(kind: str, part: float, lag: int) -> None:
    auctions, pacer = Auctions(), a_pacer(kind)
    budget = part * auctions.total_cost
    for day in (0, 1):
        pacer.begin(a_day(budget, day))
        history = auctions.run(pacer, a_day(budget, day), lag=lag)

    errors = [spent / budget - part for part, spent, _ in history]
    assert 0.97 <= history[-1][1] / budget <= 1.0
    assert (sum(error**2 for error in errors) / len(errors)) ** 0.5 <= 0.05


@every_kind
def test_when_prices_double_the_rest_of_the_day_is_still_spent(kind: str) -> None:
    auctions, pacer = Auctions(dearer_after=0.5), a_pacer(kind)
    flight = a_day(0.2 * auctions.total_cost)
    pacer.begin(flight)

    history = auctions.run(pacer, flight)

    assert 0.95 <= history[-1][1] / flight.budget <= 1.0


@every_kind
def test_a_plan_that_is_not_even_is_followed(kind: str) -> None:
    auctions, pacer = Auctions(), a_pacer(kind)
    flight = a_day(0.1 * auctions.total_cost, plan=Plan(0, (DAY_MS // 2, DAY_MS), (0.7, 1.0)))
    pacer.begin(flight)

    history = auctions.run(pacer, flight)

    at_noon = next(spent for part, spent, _ in history if part >= 0.5)
    assert [at_noon / flight.budget, history[-1][1] / flight.budget] == pytest.approx([0.7, 1.0], abs=0.04)


@every_kind
def test_a_budget_that_is_raised_at_noon_is_spent_by_the_evening(kind: str) -> None:
    auctions, pacer = Auctions(), a_pacer(kind)
    before, after = a_day(0.1 * auctions.total_cost), a_day(0.2 * auctions.total_cost)
    pacer.begin(before)
    morning = auctions.run(pacer, before, until=0.5)[-1][1]
    pacer.begin(after)

    history = auctions.run(pacer, after, since=0.5, left=after.budget - morning)

    at_six = next(spent for part, spent, _ in history if part >= 0.75)
    assert morning / before.budget == pytest.approx(0.5, abs=0.05)
    # Half of what was left is to be spent by six: no jump to where the new budget would have been.
    assert at_six / (after.budget - morning) == pytest.approx(0.5, abs=0.1)
    assert (morning + history[-1][1]) / after.budget == pytest.approx(1.0, abs=0.03)


@every_kind
def test_a_budget_that_is_cut_below_what_was_spent_stops_the_spending(kind: str) -> None:
    auctions, pacer = Auctions(), a_pacer(kind)
    before = a_day(0.2 * auctions.total_cost)
    pacer.begin(before)
    auctions.run(pacer, before, until=0.5)
    pacer.begin(a_day(0.01 * auctions.total_cost))
    at_the_cut = pacer.pace

    paces = [pace for _, _, pace in auctions.run(pacer, before, since=0.5, left=0.0)]

    assert max(pace.multiplier for pace in paces) <= at_the_cut.multiplier * 1.01
    assert max(sum(pace.rates) / len(pace.rates) for pace in paces) <= 1.0


@every_kind
def test_hours_without_traffic_are_not_followed_by_a_spree(kind: str) -> None:
    # traffic       nothing            traffic
    # |--------|                |------------------|
    auctions, pacer = Auctions(silent=(0.3, 0.5)), a_pacer(kind)
    flight = a_day(0.1 * auctions.total_cost)
    pacer.begin(flight)

    history = auctions.run(pacer, flight)

    before = next(spent for part, spent, _ in history if part >= 0.29)
    soon = next(spent for part, spent, _ in history if part >= 0.52)
    # Two hundredths of the day later: at most twice as fast as the plan, and what the pacers need to find back.
    assert (soon - before) / flight.budget < 0.12
    assert 0.97 <= history[-1][1] / flight.budget <= 1.0


@every_kind
def test_what_was_learned_is_the_start_of_the_next_day(kind: str) -> None:
    auctions, pacer = Auctions(), a_pacer(kind)
    pacer.begin(a_day(0.1 * auctions.total_cost))
    auctions.run(pacer, a_day(0.1 * auctions.total_cost))
    learned = pacer.pace

    pacer.begin(a_day(0.1 * auctions.total_cost, day=1))

    assert pacer.pace.multiplier == pytest.approx(learned.multiplier, rel=0.2)
    assert pacer.pace.rates == learned.rates


# ---------------------------------------------------------------- whatever happens


@every_kind
@settings(max_examples=60)
@given(budget=st.floats(0.0, 1e9), events=EVENTS, again=EVENTS)
def test_a_pace_stays_within_its_bounds_whatever_happens(
    kind: str, budget: float, events: list[tuple[int, bool, float]], again: list[tuple[int, bool, float]]
) -> None:
    pacer = a_pacer(kind, **({"every": "1s"} if kind != "dual" else {}))
    paces = tell(pacer, events[:5])  # before any flight
    for number, some in enumerate((events, again)):
        pacer.begin(a_day(budget, number))
        paces += tell(pacer, sorted(some) if number else some)
        pacer.begin(a_day(budget / 2, number))
        paces += tell(pacer, some)

    for pace in paces:
        assert isfinite(pace.multiplier)
        assert LOWEST[kind] <= pace.multiplier <= 5.0
        assert len(pace.rates) == len(pace.edges) + 1
        assert all(0.0 <= rate <= 1.0 for rate in pace.rates)
        assert list(pace.edges) == sorted(set(pace.edges))
        assert from_numbers(to_numbers(pace)) == pace


@every_kind
@settings(max_examples=60)
@given(events=EVENTS, cut=st.integers(0, 120))
def test_a_pacer_restored_in_the_middle_of_a_day_goes_on_bit_for_bit(
    kind: str, events: list[tuple[int, bool, float]], cut: int
) -> None:
    options: dict[str, Any] = {"every": "1s"} if kind != "dual" else {}
    straight, before, after = (a_pacer(kind, **options) for _ in range(3))
    straight.begin(a_day(50.0))
    before.begin(a_day(50.0))
    events = sorted(events)

    expected = tell(straight, events)[cut:]
    tell(before, events[:cut])
    after.restore(before.state())
    found = tell(after, events[cut:])

    assert found == expected
    assert after.state() == straight.state()


@every_kind
def test_a_restored_day_of_auctions_is_the_same_day(kind: str) -> None:
    auctions, straight, before, after = Auctions(count=4_000), *(a_pacer(kind) for _ in range(3))
    flight = a_day(0.1 * auctions.total_cost)
    straight.begin(flight)
    before.begin(flight)
    whole = auctions.run(straight, flight)

    morning = auctions.run(before, flight, until=0.5)
    after.restore(before.state())
    auctions.run(after, flight, since=0.5, left=flight.budget - morning[-1][1])

    assert after.state() == straight.state()
    assert after.pace == whole[-1][2]


@every_kind
def test_the_state_of_another_pacer_is_refused_and_changes_nothing(kind: str) -> None:
    other = next(one for one in KINDS if one != kind)
    pacer = a_pacer(kind)
    before = pacer.state()

    for blob in (a_pacer(other).state(), b"", b"\x93", b"\x93\xa1\xff"):
        with pytest.raises(BadRecord, match="pacing"):
            pacer.restore(blob)

    assert pacer.state() == before


@every_kind
def test_a_state_from_wider_bounds_is_put_within_the_own(kind: str) -> None:
    own = {"multiplier": 0.5} if kind in ("throttle", "layers") else {"start": 0.5}
    wide, narrow = a_pacer(kind), build_pacer({"kind": kind, "most": 0.5, **own})
    wide.begin(a_day(1e9))
    tell(wide, [(second * 1_000, False, 1.0) for second in range(0, 80_000, 7)])
    assert wide.pace.multiplier > 0.5

    narrow.restore(wide.state())

    assert narrow.pace.multiplier <= 0.5


@every_kind
def test_costs_of_the_day_before_are_not_paid_from_this_days_budget(kind: str) -> None:
    on_time, late = a_pacer(kind), a_pacer(kind)
    for pacer in (on_time, late):
        pacer.begin(a_day(100.0, day=1))
        tell(pacer, [(DAY_MS + second * 1_000, False, 1.0) for second in range(600)])
    late.spent(DAY_MS - 1, 1e6)

    # Nothing is won for hours: as long as there is a budget, bids go as high as they may.
    for pacer in (on_time, late):
        tell(pacer, [(DAY_MS + second * 1_000, False, 1.0) for second in range(600, 30_000)])
    assert late.pace == on_time.pace
    assert late.pace.multiplier == pytest.approx(5.0)


@every_kind
def test_one_price_like_no_other_does_not_stop_the_steering(kind: str) -> None:
    auctions, pacer = Auctions(), a_pacer(kind)
    flight = a_day(0.1 * auctions.total_cost)
    pacer.begin(flight)
    auctions.run(pacer, flight)
    pacer.spent(DAY_MS - 1, 1e9)

    tomorrow = a_day(flight.budget, day=1)
    pacer.begin(tomorrow)
    history = auctions.run(pacer, tomorrow)

    assert 0.9 <= history[-1][1] / tomorrow.budget <= 1.0


# ---------------------------------------------------------------- layers


def test_layers_let_the_best_take_part_first() -> None:
    auctions, pacer = Auctions(), a_pacer("layers")
    flight = a_day(0.02 * auctions.total_cost)
    pacer.begin(flight)
    auctions.run(pacer, flight)

    rates = pacer.pace.rates

    assert list(rates) == sorted(rates)
    assert rates[0] == 0.0
    assert rates[-1] == 1.0
    assert sum(0.0 < rate < 1.0 for rate in rates) <= 1


@given(st.lists(st.floats(0.0, 10.0), max_size=5, unique=True), st.floats(0.0, 20.0), st.floats(0.0, 0.999))
def test_who_takes_part_is_decided_by_the_rate_of_the_layer(edges: list[float], value: float, draw: float) -> None:
    edges = sorted(edges)
    rates = tuple(number / len(edges) if edges else 1.0 for number in range(len(edges) + 1))
    layer = sum(value >= edge for edge in edges)

    assert takes_part(Pace(1.0, tuple(edges), rates), value, draw) == (draw < rates[layer])


# ---------------------------------------------------------------- declarations


@pytest.mark.parametrize(
    ("declared", "path", "message"),
    [
        ({"kind": "fast"}, ("kind",), "Expected one of: dual, pid, throttle, layers; got 'fast'"),
        ({"kind": "dual", "kp": 1}, ("kp",), "Unknown key for dual"),
        ({"kind": "dual", "step": 0}, ("step",), "Expected a number from 0.001 to 10; got 0"),
        ({"most": float("nan")}, ("most",), "Expected a number"),
        ({"least": 2.0}, ("least",), "Expected a number from 1e-09 to 1; got 2.0"),
        ({"kind": "pid", "start": 3}, ("start",), "Expected a number from 0.001 to 1; got 3"),
        ({"kind": "pid", "every": 60}, ("every",), "Expected a duration"),
        ({"kind": "pid", "every": "2h"}, ("every",), "Expected from 1s to 1h"),
        ({"kind": "throttle", "multiplier": True}, ("multiplier",), "Expected a number"),
        ({"kind": "throttle", "multiplier": 2.0, "most": 1.0}, ("most",), "Expected a number from 2 to 1e+09"),
        ({"kind": "layers", "layers": 1}, ("layers",), "Expected a whole number from 2 to 30; got 1"),
    ],
)
def test_a_wrong_declaration_is_refused_with_its_place(
    declared: dict[str, Any], path: tuple[str], message: str
) -> None:
    with pytest.raises(ConfigError) as refused:
        build_pacer(declared)

    assert refused.value.path == path
    assert message in refused.value.message


def test_what_is_no_mapping_is_refused() -> None:
    with pytest.raises(ConfigError, match="Expected a mapping"):
        build_pacer("dual")  # type: ignore[arg-type]


def test_without_a_word_pacing_is_dual_and_never_bids_above_the_value() -> None:
    pacer = build_pacer({})
    pacer.begin(a_day(1e9))
    tell(pacer, [(second * 1_000, False, 1.0) for second in range(0, 80_000, 7)])

    assert pacer.pace == Pace(1.0)
