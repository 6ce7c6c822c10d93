"""The win-price model: against plain estimates, under any finite input, saved and restored, and what shading earns."""

from __future__ import annotations

import random
from bisect import bisect_left, bisect_right
from collections import Counter

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from online_models.bidding.landscape import Landscape
from online_models.bidding.price_curve import Curve, PriceRules, hazards, likely_below, spread
from online_models.bidding.price_heaps import PriceHeaps
from online_models.bidding.win_price import GONE, Saved, WinPrices

RULES = PriceRules(lowest=0.01, highest=2.0, bins=60, half_life_ms=1_000, most_slices=4, enough=5.0)
FOR_EVER = msgspec.structs.replace(RULES, half_life_ms=10**12)
Told = tuple[str, float, bool, float | None, int]

amounts = st.floats(min_value=0.0, max_value=1e300)
auctions = st.tuples(
    st.sampled_from(["", "a", "b", "c", "d", "e"]),
    amounts,
    st.booleans(),
    st.none() | amounts,
    st.integers(-(2**53), 2**53) | st.integers(0, 100_000),
)


def learned(told: list[Told], rules: PriceRules = RULES) -> WinPrices:
    learner = WinPrices(rules)
    for key, bid, won, price, at_ms in told:
        learner.learn(key, bid=bid, won=won, price=price, at_ms=at_ms)
    return learner


def landscape(told: list[Told], rules: PriceRules = RULES) -> Landscape:
    return Landscape(learned(told, rules).weights, rules)


def uniform_prices(count: int, seed: int) -> list[float]:
    chance = random.Random(seed)
    return [chance.random() for _ in range(count)]


def test_with_every_price_told_the_win_rate_at_an_edge_is_the_share_of_prices_below_it() -> None:
    prices = uniform_prices(500, seed=1)
    known = landscape([("", 0.0, False, price, 0) for price in prices], FOR_EVER)

    for edge in RULES.edges():
        share = bisect_right(sorted(prices), edge) / len(prices)
        assert known.win_rate("", edge) == pytest.approx(share, abs=0.005)  # one price in 500 is believed beforehand


def kaplan_meier(observed: list[tuple[float, bool]], at: float) -> float:
    """Return the share below a price; observed is (price, told) or (bid that lost, not told)."""
    survival, everybody = 1.0, sorted(one for one, _ in observed)
    for price, died in sorted(Counter(price for price, told in observed if told and price <= at).items()):
        survival *= 1.0 - died / (len(everybody) - bisect_left(everybody, price))
    return 1.0 - survival


@pytest.mark.parametrize(("on_edges", "within"), [(True, 0.003), (False, 0.015)])
def test_with_won_prices_told_the_win_rate_is_the_estimate_of_kaplan_and_meier(on_edges: bool, within: float) -> None:
    chance = random.Random(2)
    edges = [edge for edge in RULES.edges() if edge <= 1.0]
    told: list[Told] = []
    for price in uniform_prices(2_000, seed=3):
        bid = chance.random()
        bid = edges[bisect_right(edges, bid) - 1] if on_edges else bid
        told.append(("", bid, bid >= price, price if bid >= price else None, 0))
    observed = [(bid if price is None else price, price is not None) for _, bid, _, price, _ in told]
    known = landscape(told, FOR_EVER)

    for bid in edges[:-6]:  # higher ones were seldom made
        assert known.win_rate("", bid) == pytest.approx(kaplan_meier(observed, bid), abs=within)


def test_ignoring_that_lost_prices_are_higher_would_be_far_off() -> None:
    prices = uniform_prices(1_000, seed=3)
    told: list[Told] = [("", 0.4, price <= 0.4, price if price <= 0.4 else None, 0) for price in prices]

    assert landscape(told, FOR_EVER).win_rate("", 0.4) == pytest.approx(0.4, abs=0.03)
    assert landscape([one for one in told if one[3] is not None], FOR_EVER).win_rate("", 0.4) > 0.99


def test_with_no_price_ever_told_wins_and_losses_alone_give_the_distribution() -> None:
    chance = random.Random(4)
    told: list[Told] = []
    for price in uniform_prices(20_000, seed=5):
        bid = chance.random()
        told.append(("", bid, bid >= price, None, 0))
    known = landscape(told, FOR_EVER)

    for bid in (0.1, 0.25, 0.5, 0.75, 0.9):
        assert known.win_rate("", bid) == pytest.approx(bid, abs=0.05)


def test_spreading_again_and_again_ends_at_the_share_won_where_the_bids_lie_apart() -> None:
    # 10 bids at the first edge, of which 2 won; 10 at the second, of which 7 won: the likeliest curve is 0.2, 0.7, 1.
    left, beyond = [2.0, 7.0, 0.0], [8.0, 3.0, 0.0]
    prices = [1.0, 1.0, 1.0]
    for _ in range(500):
        below = likely_below(hazards(prices, beyond, [1 / 3, 1 / 2, 1.0], 1e-9))
        prices = [0.0, 0.0, 0.0]
        spread(left, below, prices)

    assert below == pytest.approx([0.0, 0.2, 0.7, 1.0], abs=1e-6)


def test_a_won_price_that_was_not_told_lies_at_or_below_the_bid() -> None:
    known = landscape([("", 0.1, True, None, 0)] * 200)

    assert known.win_rate("", 0.1) > 0.99


def test_a_slice_with_little_data_says_what_the_whole_does_and_one_with_much_its_own() -> None:
    many: list[Told] = [("other", 0.0, False, 1.0, 0)] * 1_000
    few = landscape([*many, ("mine", 0.0, False, 0.1, 0)])
    much = landscape([*many, *[("mine", 0.0, False, 0.1, 0)] * 1_000])

    assert few.win_rate("unknown", 0.5) == few.win_rate("", 0.5)
    assert few.win_rate("mine", 0.5) < 0.05
    assert much.win_rate("mine", 0.5) > 0.95
    assert much.win_rate("other", 0.5) < 0.05


def test_what_happened_half_lives_ago_is_forgotten() -> None:
    before: list[Told] = [("a", 0.0, False, 1.0, 0)] * 100
    after: list[Told] = [("a", 0.0, False, 0.1, 20_000)] * 100

    assert landscape(before).win_rate("a", 0.5) < 0.05
    assert landscape(before + after).win_rate("a", 0.5) > 0.95


def test_a_late_auction_counts_what_it_would_have_counted_in_time() -> None:
    one, other = ("a", 0.0, False, 1.0, 0), ("a", 0.0, False, 0.1, 700)

    in_time, late = landscape([one, other]), landscape([other, one])
    assert late.win_rate("a", 0.5) == pytest.approx(in_time.win_rate("a", 0.5), rel=1e-12)


def test_with_nothing_known_prices_are_log_uniform_and_bids_start_at_a_share_of_the_value() -> None:
    nothing = Landscape({}, PriceRules(lowest=0.01, highest=1.0, bins=3, start=0.6))

    assert [nothing.win_rate("a", edge) for edge in (0.0, 0.01, 0.1, 1.0, 5.0)] == pytest.approx(
        [0.0, 1 / 3, 2 / 3, 1.0, 1.0]
    )
    assert nothing.shade("a", 0.5, low=0.0, high=1.0) == 0.3
    assert nothing.shade("a", 0.5, low=0.0, high=0.2) == 0.2


@settings(max_examples=150, deadline=None)
@given(st.lists(auctions, max_size=40), st.lists(amounts, min_size=2, max_size=6), st.sampled_from(["", "a", "zz"]))
def test_win_rates_are_shares_that_never_fall_and_costs_never_exceed_the_bid(
    told: list[Told], bids: list[float], key: str
) -> None:
    known = landscape(told)

    bids.sort()
    rates = [known.win_rate(key, bid) for bid in bids]
    assert rates == sorted(rates)
    assert all(0.0 <= rate <= 1.0 for rate in rates)
    for bid, rate in zip(bids, rates, strict=True):
        assert known.expected_cost(key, bid, "first") == bid * rate
        assert 0.0 <= known.expected_cost(key, bid, "second") <= bid * rate


@settings(max_examples=150, deadline=None)
@given(st.lists(auctions, max_size=40), amounts, amounts, amounts)
def test_shaded_bids_stay_within_bounds_and_no_bid_gains_more(
    told: list[Told], value: float, one: float, other: float
) -> None:
    low, high = sorted((one, other))
    rules = msgspec.structs.replace(RULES, enough=0.0)
    known = landscape(told, rules)

    bid = known.shade("a", value, low=low, high=high)

    gain = (value - bid) * known.win_rate("a", bid)
    tried = [low + (high - low) * k / 50 for k in range(51)] + [edge for edge in RULES.edges() if low <= edge <= high]
    assert low <= bid <= high
    assert gain >= max((value - some) * known.win_rate("a", some) for some in tried) - 1e-9 * value


@settings(max_examples=100, deadline=None)
@given(st.lists(auctions, max_size=40), st.lists(auctions, max_size=20))
def test_restored_it_goes_on_as_if_nothing_had_happened(before: list[Told], after: list[Told]) -> None:
    went_on = learned(before)
    packed = msgspec.msgpack.encode(went_on.state())
    restored = WinPrices(RULES)
    restored.restore(msgspec.msgpack.decode(packed, type=Saved))
    for key, bid, won, price, at_ms in after:
        for learner in (went_on, restored):
            learner.learn(key, bid=bid, won=won, price=price, at_ms=at_ms)

    assert restored.weights == went_on.weights
    assert restored.state() == went_on.state()


@settings(max_examples=100, deadline=None)
@given(st.lists(auctions, max_size=40), st.integers(1, 10))
def test_a_reader_who_takes_what_changed_has_what_the_learner_has(told: list[Told], every: int) -> None:
    learner = WinPrices(RULES)
    learner.take_changed()
    read: dict[str, float] = {}
    for number, (key, bid, won, price, at_ms) in enumerate(told):
        learner.learn(key, bid=bid, won=won, price=price, at_ms=at_ms)
        if number % every == 0:
            read.update(learner.weights_of(learner.take_changed()))
    read.update(learner.weights_of(learner.take_changed()))

    assert {name: weight for name, weight in read.items() if weight != GONE} == learner.weights
    assert learner.take_changed() == []


def test_when_it_is_published_changes_nothing_that_is_learned() -> None:
    asked, unasked = WinPrices(RULES), WinPrices(RULES)
    for number, price in enumerate(uniform_prices(300, seed=6)):
        for learner in (asked, unasked):
            learner.learn("a", bid=0.5, won=price <= 0.5, price=None, at_ms=10 * number)
        asked.take_changed()

    assert asked.weights == unasked.weights


def test_slices_are_bounded_and_those_of_which_least_is_known_go() -> None:
    learner = learned([("big", 0.5, True, 0.4, 0)] * 3 + [(f"small-{k}", 0.5, True, 0.4, 0) for k in range(20)])

    keys = {name.split("#")[0] for name in learner.weights}
    assert keys == {"", "big", "small-17", "small-18", "small-19"}


def test_a_reader_sees_numbers_that_change_under_it() -> None:
    learner = WinPrices(RULES)
    known = Landscape(learner.weights, RULES)
    before = known.win_rate("a", 0.5)
    for _ in range(100):
        learner.learn("a", bid=0.5, won=False, price=None, at_ms=0)
    _ = learner.weights

    assert known.win_rate("a", 0.5) < 0.2 < before


def test_in_a_uniform_market_half_the_value_is_bid() -> None:
    known = landscape([("a", 0.0, False, price, 0) for price in uniform_prices(20_000, seed=7)], FOR_EVER)

    for value in (0.3, 0.6, 0.9):
        bid = known.shade("a", value, low=0.0, high=value)
        assert (value - bid) * bid == pytest.approx(value**2 / 4, rel=0.02)


@pytest.mark.parametrize("told", [True, False])
def test_learning_from_its_own_bids_it_earns_most_of_what_one_who_knows_the_market_does(told: bool) -> None:
    chance = random.Random(8)
    learner = WinPrices(FOR_EVER)
    known = Landscape(learner.weights, FOR_EVER)
    surplus = best = 0.0
    for number, price in enumerate(uniform_prices(8_000, seed=9)):
        value = chance.random()
        bid = known.shade("a", value, low=0.0, high=value)
        won = bid >= price
        learner.learn("a", bid=bid, won=won, price=price if won and told else None, at_ms=number)
        if number % 50 == 0:
            _ = learner.weights
        if number >= 2_000:
            surplus += (value - bid) * won
            best += (value - value / 2) * (value / 2 >= price)

    assert surplus > 0.9 * best  # bidding the value earns nothing


def test_where_prices_stand_in_heaps_the_win_rate_steps_and_bids_are_shaded_onto_the_step() -> None:
    prices = [0.123 if number % 2 else price for number, price in enumerate(uniform_prices(4_000, seed=10))]
    known = landscape([("a", 0.0, False, price, 0) for price in prices], FOR_EVER)

    assert known.win_rate("a", 0.1229) == pytest.approx(0.5 * 0.123, abs=0.02)
    assert known.win_rate("a", 0.123) == pytest.approx(0.5 + 0.5 * 0.123, abs=0.02)
    assert known.win_rate("unknown", 0.123) - known.win_rate("unknown", 0.1229) == pytest.approx(0.5, abs=0.02)
    assert known.shade("a", 0.4, low=0.0, high=0.4) == 0.123


def test_a_heap_is_the_price_on_which_most_of_a_bin_stand_and_none_if_all_differ() -> None:
    heaps = PriceHeaps.of(2)
    chance = random.Random(11)
    for _ in range(2_000):
        heaps.add(0, 0.5 if chance.random() < 0.6 else chance.random(), 1.0)
        heaps.add(1, 1.0 + chance.random(), 1.0)

    assert heaps.prices[0] == 0.5
    assert heaps.share(0, 1.0) == pytest.approx(0.6, abs=0.05)
    assert heaps.share(1, 1.0) == 0.0


def test_the_cost_in_a_second_price_auction_is_the_mean_of_the_prices_that_lose() -> None:
    curve = Curve([0.0, 1.0, 2.0], [0.0, 0.5, 1.0])

    assert [curve.paid(bid, "second") for bid in (0.0, 1.0, 2.0, 9.0)] == [0.0, 0.25, 1.0, 1.0]
    assert curve.paid(2.0, "first") == 2.0


def test_numbers_of_other_bins_are_refused_and_change_nothing() -> None:
    learner = learned([("a", 0.5, True, 0.4, 0)])
    before = learner.state()

    with pytest.raises(ValueError, match="expected 60 bins"):
        learner.restore(WinPrices(PriceRules(bins=3)).state())
    with pytest.raises(ValueError, match="expected format 1, got 2"):
        learner.restore(msgspec.structs.replace(before, format=2))
    assert learner.state() == before


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"lowest": 0.0}, "lowest < highest"),
        ({"highest": float("inf")}, "lowest < highest"),
        ({"bins": 0}, "at least 1"),
        ({"strength": 0.0}, "strength > 0"),
        ({"start": 1.5}, "start from 0 to 1"),
    ],
)
def test_rules_that_make_no_sense_are_refused(wrong: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        PriceRules(**wrong)  # type: ignore[arg-type]
