"""Replays of auctions: no budget is overspent, nothing of the second part reaches a choice, and figures add up."""

from __future__ import annotations

import gzip
import json
from dataclasses import replace
from html.parser import HTMLParser
from math import fsum
from pathlib import Path

import numpy as np
import pytest
from auctions import AMOUNTS, a_market, whole_flight
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from online_models.bidding.pacing import KINDS, build_pacer
from streams.cli.main import app
from streams.simulate.auctions import InvalidAuctions, Options, Row, compare, generated, read_auctions
from streams.simulate.auctions.files import HOUR_MS, spread_over_hours
from streams.simulate.auctions.intervals import Difference, against_linear
from streams.simulate.auctions.replaying import replay_bids, replay_paced
from streams.simulate.auctions.strategies import STRATEGIES, fitted
from streams.simulate.auctions.tuning import bought_with, calibrated, tuned

KEYS = [
    *("campaign", "budget_fraction", "strategy", "pacer", "clicks", "value", "spend", "budget", "ecpc"),
    *("rmse_to_target", "exhausted_at"),
]


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A log like a real one: four hours of a made-up market, prices in whole CPM, the hour in place of the time."""
    market = generated("dearer", auctions=3_000, seed=3)
    path = tmp_path_factory.mktemp("auctions") / "small_log.csv.gz"
    with gzip.open(path, "wt") as lines:
        lines.write("click,win_price,pctr,hour_idx,split\n")
        for at_ms, clicked, price, pctr in zip(market.at_ms, market.clicked, market.price, market.pctr, strict=True):
            lines.write(f"{int(clicked)},{1000 * price:.3f},{pctr:.6f},{at_ms // HOUR_MS},train\n")
    return path


@pytest.fixture(scope="module")
def rows() -> list[Row]:
    return list(compare(generated("jump", auctions=20_000, seed=5), Options(budgets=(0.25, 0.0625), curve="traffic")))


# ---------------------------------------------------------------- the replay


@pytest.mark.parametrize("first_price", [False, True])
@given(auctions=st.lists(st.tuples(AMOUNTS, AMOUNTS), max_size=40), budget=st.floats(0.0, 5.0))
def test_no_bids_overspend_a_budget(auctions: list[tuple[float, float]], budget: float, first_price: bool) -> None:
    market = a_market(price=[price for price, _ in auctions], first_price=first_price)

    bought = replay_bids(market, budget, np.array([bid for _, bid in auctions]))

    assert fsum(bought.cost) <= budget * (1 + 1e-12)
    assert all(auctions[number][1] > auctions[number][0] for number in bought.won)


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=40)
@given(
    auctions=st.lists(st.tuples(AMOUNTS, AMOUNTS), min_size=1, max_size=40),
    budget=st.floats(0.0, 5.0),
    lag=st.integers(0, 9),
    first_price=st.booleans(),
)
def test_no_pacer_overspends_a_budget_and_each_decides_the_same_again(
    kind: str, auctions: list[tuple[float, float]], budget: float, lag: int, first_price: bool
) -> None:
    prices, values = zip(*auctions, strict=True)
    market = a_market(price=prices, pctr=values, first_price=first_price)

    bought, again = (
        replay_paced(market, whole_flight(market, budget), build_pacer({"kind": kind}), lag=lag, seed=1)
        for _ in range(2)
    )

    assert fsum(bought.cost) <= budget * (1 + 1e-12)
    assert [*bought.won, *bought.cost] == [*again.won, *again.cost]


def test_who_bids_more_than_the_others_pays_the_price_or_the_own_bid() -> None:
    prices, bids = [0.3, 0.5, 0.5, 0.2], np.array([0.4, 0.5, 0.6, 0.9])

    second = replay_bids(a_market(price=prices), 10.0, bids)
    first = replay_bids(a_market(price=prices, first_price=True), 10.0, bids)

    assert [*second.won] == [*first.won] == [0, 2, 3]
    assert [*second.cost] == [0.3, 0.5, 0.2]
    assert [*first.cost] == [0.4, 0.6, 0.9]


def test_a_bid_is_cut_to_what_is_left() -> None:
    prices, bids = [0.3, 0.3, 0.1], np.array([0.5, 0.5, 0.5])

    second = replay_bids(a_market(price=prices), 0.5, bids)
    first = replay_bids(a_market(price=prices, first_price=True), 0.9, bids)

    assert ([*second.won], [*second.cost]) == ([0, 2], [0.3, 0.1])
    assert ([*first.won], [*first.cost]) == ([0, 1], [0.5, 0.4])


# ---------------------------------------------------------------- tuning


def test_a_tuned_level_buys_nearly_what_the_best_of_all_levels_buys() -> None:
    market = generated("daily", auctions=2_000, seed=2)
    fit, budget = fitted(market, seed=1), market.total_cost / 8
    assert market.truth is not None

    for name, strategy in STRATEGIES.items():
        level = tuned(market, budget, market.truth, lambda level, s=strategy: s.bids(market, level, fit))  # type: ignore[misc]
        tried = [
            bought_with(market, budget, market.truth, strategy.bids(market, one, fit))
            for one in np.geomspace(1e-5, 0.05, 1_000)
        ]
        assert bought_with(market, budget, market.truth, strategy.bids(market, level, fit)) >= 0.97 * max(tried), name


def test_bids_grow_with_their_level_and_linear_ones_with_the_prediction() -> None:
    market = generated("daily", auctions=500, seed=2)
    fit = fitted(market, seed=1)

    for strategy in STRATEGIES.values():
        assert (strategy.bids(market, 0.002, fit) > strategy.bids(market, 0.001, fit)).all()
    bids = {name: strategy.bids(market, 0.001, fit) for name, strategy in STRATEGIES.items()}
    assert bids["linear"] / market.pctr == pytest.approx(np.full(len(market), 0.001 / market.pctr.mean()))
    # ORTB bids more than in proportion where little is promised, and less where much is.
    bold = market.pctr > market.pctr.mean()
    assert (bids["ortb"][bold] < bids["linear"][bold]).all()
    assert (bids["ortb"][~bold] >= bids["linear"][~bold]).all()


def test_predictions_that_are_wrong_by_a_ratio_up_to_a_cap_are_put_right() -> None:
    market = generated("stationary", auctions=50_000, seed=4)
    assert market.truth is not None
    boasting = np.where(market.truth > 0.03, 0.9, market.truth / 4.0)

    rates = calibrated(replace(market, pctr=boasting, truth=None))(boasting)

    assert rates.sum() == pytest.approx(market.clicked.sum(), rel=0.01)
    assert np.median(rates / market.truth) == pytest.approx(1.0, abs=0.1)


@pytest.mark.parametrize("name", ["daily", "first-price", "first-price-kept"])
def test_nothing_of_the_second_part_reaches_a_choice(name: str) -> None:
    # What is told of the first half of the second part is the same, whatever its other half holds.
    market = generated(name, auctions=2_000, seed=6)
    cut = len(market) * 3 // 4
    other = replace(
        market,
        price=np.concatenate([market.price[:cut], market.price[cut:][::-1]]),  # the same budget
        clicked=np.concatenate([market.clicked[:cut], ~market.clicked[cut:]]),
        truth=None,
    )

    options = Options(budgets=(0.1,))
    for ours, others in zip(compare(replace(market, truth=None), options), compare(other, options), strict=True):
        assert ours.name == others.name
        assert ours.curve[:400].tolist() == pytest.approx(others.curve[:400].tolist())


# ---------------------------------------------------------------- the comparison


def test_every_strategy_and_pacer_has_a_row_at_every_budget(rows: list[Row]) -> None:
    names = ["constant", "random", "linear", "ortb", "hindsight", *(f"paced {kind}" for kind in KINDS)]

    assert [(row.budget_fraction, row.name) for row in rows] == [
        (fraction, name) for fraction in (0.25, 0.0625) for name in names
    ]


def test_pacers_spend_all_along_the_plan_and_buy_nearly_what_the_best_fixed_multiplier_does(rows: list[Row]) -> None:
    best = {row.budget_fraction: row.value for row in rows if row.strategy == "hindsight"}

    for row in rows:
        if row.pacer:
            assert 0.97 <= row.used <= 1.0, row.name
            assert row.rmse_to_target <= 0.05, row.name
            assert row.value >= 0.95 * best[row.budget_fraction], row.name
    # The multiplier of the day before is far too low after a jump of prices.
    assert all(row.value < 0.8 * best[row.budget_fraction] for row in rows if row.strategy == "linear")


def test_figures_of_a_row_add_up(rows: list[Row]) -> None:
    market = generated("jump", auctions=20_000, seed=5)
    for row in rows:
        assert row.budget == pytest.approx(row.budget_fraction * market.part(20_000, 40_000).total_cost)
        assert row.spend <= row.budget
        assert row.curve[-1] == pytest.approx(row.used)
        assert row.clicks == row.clicks_won.sum()
        assert row.ecpc == pytest.approx(row.spend / row.clicks)
        assert row.cpm == pytest.approx(1000 * row.spend / row.impressions)
        assert (row.exhausted_at is None) == (row.used <= 0.999)


def test_the_bidder_may_look_at_its_pace_from_time_to_time(rows: list[Row]) -> None:
    market = generated("jump", auctions=20_000, seed=5)

    late = list(compare(market, Options(budgets=(0.25,), curve="traffic", lag=50, pacers=("dual", "pid"))))

    at_once = {row.name: row.value for row in rows if row.budget_fraction == 0.25}
    for row in late:
        assert row.value >= 0.99 * at_once[row.name], row.name


def test_differences_are_paired_and_those_of_all_budgets_are_their_sum(rows: list[Row]) -> None:
    found = against_linear(rows)

    assert found["linear", None] == Difference(0.0, 0.0, 0.0, alone=0, linear_alone=0)
    for row in rows:
        linear = next(one for one in rows if (one.strategy, one.budget_fraction) == ("linear", row.budget_fraction))
        difference = found[row.name, row.budget_fraction]
        assert difference.clicks == row.clicks - linear.clicks == difference.alone - difference.linear_alone
        assert difference.low <= difference.clicks <= difference.high
    dual = [found["paced dual", fraction].clicks for fraction in (0.25, 0.0625)]
    assert found["paced dual", None].clicks == sum(dual) > 0
    assert found["paced dual", None].low > 0


def test_a_real_log_is_spent_nearly_whole_along_the_plan(real_data: Path) -> None:
    # Its first half, on which everything was chosen; the second is for those who report figures.
    market = read_auctions(real_data / "ipinyou_bid_1458_300k.csv.gz", limit=150_000)

    for row in compare(market, Options(budgets=(1 / 4, 1 / 16))):
        if row.pacer:
            assert 0.97 <= row.used <= 1.0, row.name
            assert row.rmse_to_target <= 0.05, row.name


# ---------------------------------------------------------------- files


def test_auctions_of_an_hour_are_spread_over_it_and_the_last_hour_may_break_off() -> None:
    hours = [5] * 4 + [6] * 4 + [7] * 2

    assert [at_ms / HOUR_MS for at_ms in spread_over_hours(hours)] == [
        *(5.0, 5.25, 5.5, 5.75),
        *(6.0, 6.25, 6.5, 6.75),
        *(7.0, 7.25),
    ]


def test_a_log_is_read_as_it_was_written(log: Path) -> None:
    market, short = read_auctions(log), read_auctions(log, campaign="c", limit=500)

    expected = generated("dearer", auctions=3_000, seed=3)
    assert market.name == "small_log"
    assert market.price == pytest.approx(expected.price, abs=1e-6)
    assert market.pctr == pytest.approx(expected.pctr, abs=1e-6)
    assert (market.clicked == expected.clicked).all()
    assert np.abs(market.at_ms - expected.at_ms).max() < HOUR_MS
    assert market.truth is None
    assert (short.name, len(short)) == ("c", 500)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("click,pctr,hour_idx\n", r"expected the columns win_price; got click, pctr, hour_idx"),
        ("click,win_price,pctr\n", r"expected the columns ts_ms or hour_idx"),
        ("", r"got none"),
        ("click,win_price,pctr,ts_ms\n0,1,0.1,1\n0,x,0.1,2\n", r"line 3: .* for win_price, got 'x'"),
        ("click,win_price,pctr,ts_ms\n0,1,nan,1\n", r"line 2: expected a number from 0 to 1 for pctr, got 'nan'"),
        ("click,win_price,pctr,ts_ms\n0,1,0.1\n", r"line 2: .* for ts_ms, got None"),
        ("click,win_price,pctr,ts_ms\n" + "0,1,0.1,1\n" * 99, r"expected at least 100 auctions, got 99"),
        (
            "click,win_price,pctr,ts_ms\n" + "0,1,0.1,2\n" * 99 + "0,1,0.1,1\n",
            r"expected auctions in the order of ts_ms",
        ),
    ],
)
def test_a_file_that_is_no_log_is_refused_with_the_place(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "log.csv"
    path.write_text(text)

    with pytest.raises(InvalidAuctions, match=message):
        read_auctions(path)


def test_a_log_may_begin_with_a_byte_order_mark(log: Path, tmp_path: Path) -> None:
    text = gzip.decompress(log.read_bytes())
    (tmp_path / "a.csv").write_bytes(b"\xef\xbb\xbf" + text)
    (tmp_path / "b.csv.gz").write_bytes(gzip.compress(b"\xef\xbb\xbf" + text))

    for name in ("a.csv", "b.csv.gz"):
        assert (read_auctions(tmp_path / name).price == read_auctions(log).price).all()


def test_a_log_that_is_cut_off_or_no_csv_is_refused(log: Path, tmp_path: Path) -> None:
    packed = log.read_bytes()
    (tmp_path / "cut.csv.gz").write_bytes(packed[: len(packed) // 2])
    (tmp_path / "damaged.csv.gz").write_bytes(packed[:200] + bytes(200) + packed[400:])
    (tmp_path / "plain.csv.gz").write_bytes(gzip.decompress(packed))
    (tmp_path / "open_quote.csv").write_bytes(b'click,win_price,pctr,ts_ms\n"' + gzip.decompress(packed) * 3)

    for name in ("cut.csv.gz", "damaged.csv.gz", "plain.csv.gz"):
        with pytest.raises(InvalidAuctions, match="is cut off or damaged; get it once more"):
            read_auctions(tmp_path / name)
    with pytest.raises(InvalidAuctions, match=r"open_quote\.csv is not valid CSV: "):
        read_auctions(tmp_path / "open_quote.csv")


# ---------------------------------------------------------------- the command


def test_the_command_writes_exactly_what_was_agreed(log: Path, tmp_path: Path) -> None:
    out, page = tmp_path / "rows.json", tmp_path / "page.html"

    done = CliRunner().invoke(
        app, ["simulate-auctions", str(log), "--budgets", "1/4,0.05", "--json", str(out), "--html", str(page)]
    )

    assert done.exit_code == 0, done.output
    assert "all budgets" in done.output
    rows = json.loads(out.read_text())
    assert len(rows) == 2 * (4 + len(KINDS))
    assert all(list(row) == KEYS for row in rows)
    assert {row["campaign"] for row in rows} == {"small_log"}
    assert {row["budget_fraction"] for row in rows} == {0.25, 0.05}
    assert {(row["strategy"], row["pacer"]) for row in rows} == {
        *((name, None) for name in STRATEGIES),
        *(("paced", kind) for kind in KINDS),
    }
    for row in rows:
        assert row["spend"] <= row["budget"]
        assert row["value"] == row["clicks"]
        assert row["ecpc"] == (pytest.approx(row["spend"] / row["clicks"]) if row["clicks"] else None)
    text = page.read_text()
    HTMLParser().feed(text)
    assert text.count("<svg") == 2
    assert "<script" not in text


def test_the_command_runs_made_up_markets_and_says_the_same_again() -> None:
    arguments = ["simulate-auctions", "--market", "sparse", "--auctions", "20000", "--budgets", "1/4", "--json", "-"]

    first, second = (CliRunner().invoke(app, arguments).stdout for _ in range(2))

    assert first == second
    rows = json.loads(first)
    assert [row["strategy"] for row in rows] == [*STRATEGIES, "hindsight", *["paced"] * len(KINDS)]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--market", "bazaar"], "There is no market 'bazaar'; expected one of: stationary,"),
        (["--market", "daily", "--budgets", "2"], "--budgets: expected different fractions up to 1"),
        (["--market", "daily", "--budgets", "1/0"], "--budgets: expected different fractions up to 1"),
        (["no/such.csv"], "No such file"),
        (["no/such.csv", "--market", "daily"], "Either a log or --market, not both"),
    ],
)
def test_what_cannot_be_run_is_said_in_a_sentence(arguments: list[str], message: str) -> None:
    done = CliRunner().invoke(app, ["simulate-auctions", *arguments])

    assert done.exit_code == 1
    assert message in str(done.exception)
