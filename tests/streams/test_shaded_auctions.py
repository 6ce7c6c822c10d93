"""Bids shaded in replays of first-price auctions: within the worth, within the budget, and by what was told alone."""

from __future__ import annotations

import json
from math import fsum

import pytest
from auctions import AMOUNTS, a_market, whole_flight
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from online_models.bidding.pacing import build_pacer
from streams.cli.main import app
from streams.simulate.auctions import Options, Row, compare, generated
from streams.simulate.auctions.replaying import replay_paced
from streams.simulate.auctions.shading import Shaded, Told, Truthful


class Halved(Truthful):
    """Bids half of what it is worth, and notes what it is told."""

    def __init__(self) -> None:
        self.heard: list[tuple[int, float, float]] = []

    def bid(self, value: float, multiplier: float) -> float:
        return value * multiplier / 2.0

    def learn(self, at_ms: int, value: float, *, bid: float, price: float) -> None:
        self.heard.append((at_ms, value, bid))


class Watched(Shaded):
    """Notes what it is asked for, and what it answers."""

    def __init__(self, told: Told) -> None:
        super().__init__(told)
        self.asked: list[tuple[float, float]] = []

    def bid(self, value: float, multiplier: float) -> float:
        bid = super().bid(value, multiplier)
        self.asked.append((value * multiplier, bid))
        return bid


@pytest.fixture(scope="module")
def kept_rows() -> list[Row]:
    market = generated("first-price-kept", auctions=20_000, seed=5)
    options = Options(budgets=(1.0, 0.0625), curve="traffic", pacers=("dual", "pid"), told="losers")
    return list(compare(market, options))


def test_bids_may_be_shaded_between_the_value_and_the_auction() -> None:
    market = a_market(price=[0.2, 0.2], pctr=[0.9, 0.3], first_price=True)
    pacer = build_pacer({"kind": "throttle"})

    bought = replay_paced(market, whole_flight(market, 9.0), pacer, lag=0, seed=1, shade=(shade := Halved()))

    assert ([*bought.won], [*bought.cost]) == ([0], [0.45])
    assert shade.heard == [(0, 0.9, 0.45), (1000, 0.3, 0.15)]


@pytest.mark.parametrize("kind", ["dual", "pid"])
@settings(max_examples=40)
@given(
    auctions=st.lists(st.tuples(AMOUNTS, AMOUNTS), min_size=1, max_size=120),
    budget=st.floats(0.0, 5.0),
    told=st.sampled_from(["nobody", "losers", "all"]),
)
def test_shaded_bids_are_never_above_the_value_times_the_multiplier_and_overspend_nothing(
    kind: str, auctions: list[tuple[float, float]], budget: float, told: Told
) -> None:
    prices, values = zip(*auctions, strict=True)
    market = a_market(price=prices, pctr=values, first_price=True)
    shade = Watched(told)

    bought = replay_paced(market, whole_flight(market, budget), build_pacer({"kind": kind}), lag=1, seed=1, shade=shade)

    assert all(0.0 <= bid <= worth for worth, bid in shade.asked)
    assert fsum(bought.cost) <= budget * (1 + 1e-12)


@pytest.mark.parametrize(("told", "tells_apart"), [("nobody", False), ("losers", True), ("all", True)])
def test_a_lost_auction_tells_its_price_where_losers_are_told(told: Told, tells_apart: bool) -> None:
    # Others bid 0.3 or 0.6, and bids of 0.1 lose in either market: only who is told can know which it is.
    def bid_after(price: float) -> float:
        shade = Shaded(told)
        for second in range(200):
            shade.learn(second * 1000, 0.9, bid=0.1, price=price)
        shade.look()
        return shade.bid(0.9, 1.0)

    assert (bid_after(0.3) != bid_after(0.6)) == tells_apart
    if tells_apart:
        assert bid_after(0.3) == pytest.approx(0.3, rel=0.01)


@pytest.mark.parametrize(("told", "known"), [("nobody", False), ("losers", False), ("all", True)])
def test_a_won_auction_tells_its_price_only_where_all_are_told(told: Told, known: bool) -> None:
    def bid_after(price: float) -> float:
        shade = Shaded(told)
        for second in range(200):
            shade.learn(second * 1000, 0.9, bid=0.8, price=price)
        shade.look()
        return shade.bid(0.9, 1.0)

    assert (bid_after(0.3) != bid_after(0.6)) == known


def test_in_first_price_markets_pacers_that_move_the_bid_shade_too(kept_rows: list[Row]) -> None:
    names = [
        "constant",
        "random",
        "linear",
        "ortb",
        "hindsight",
        "paced dual",
        "paced pid",
        "shaded dual",
        "shaded pid",
    ]

    assert [(row.budget_fraction, row.name) for row in kept_rows] == [
        (fraction, name) for fraction in (1.0, 0.0625) for name in names
    ]
    assert all(row.surplus == row.counts == row.value - row.spend for row in kept_rows)
    assert all(row.spend <= row.budget for row in kept_rows)


def test_a_budget_that_does_not_bind_leaves_a_surplus_to_whoever_shades_and_none_to_whoever_does_not(
    kept_rows: list[Row],
) -> None:
    surplus = {row.name: row.surplus for row in kept_rows if row.budget_fraction == 1.0}

    for kind in ("dual", "pid"):
        assert surplus[f"shaded {kind}"] > 20.0 * abs(surplus[f"paced {kind}"])
        # The share of the value that would have been best on that very day.
        assert surplus[f"shaded {kind}"] > surplus["hindsight"]


def test_under_a_budget_that_binds_shading_buys_more_where_losers_are_told_the_price() -> None:
    market = generated("first-price", auctions=50_000, seed=5)

    found = compare(market, Options(budgets=(0.5,), curve="traffic", pacers=("dual", "pid"), told="losers"))

    rows = {row.name: row for row in found}
    for kind in ("dual", "pid"):
        shaded, paced = rows[f"shaded {kind}"], rows[f"paced {kind}"]
        assert shaded.value > 1.01 * paced.value
        assert 0.97 <= shaded.used <= 1.0
        assert shaded.rmse_to_target <= 0.05


def test_the_command_shows_the_surplus_of_first_price_markets_and_its_json_stays_as_it_is() -> None:
    arguments = ["simulate-auctions", "--market", "first-price-kept", "--auctions", "2000", "--budgets", "1"]

    done = CliRunner().invoke(app, [*arguments, "--told", "losers", "--json", "-"])
    shown = CliRunner().invoke(app, arguments).stdout

    rows = json.loads(done.stdout)
    assert [(row["strategy"], row["pacer"]) for row in rows[-2:]] == [("shaded", "dual"), ("shaded", "pid")]
    assert all("surplus" not in row for row in rows)
    assert shown.count("surplus") == 2  # at the budget, and at all
    assert "…" not in shown


def test_a_second_price_market_has_no_surplus_and_nothing_is_shaded_in_it() -> None:
    shown = CliRunner().invoke(app, ["simulate-auctions", "--market", "sparse", "--budgets", "1"]).stdout

    assert "surplus" not in shown
    assert "shaded" not in shown
