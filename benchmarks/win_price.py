"""How well the win-price model knows what bids win, what its shading earns, and what it costs.

    python -m benchmarks.win_price [--data FILE] [--auctions 300000] [--seeds 3] [--only prices|markets|speed]

FILE has columns win_price (CPM), pctr and hour_idx, csv.gz. Bids are made against its prices, which the model is told
in part only: always, when the auction was won (second price, or first price with the minimum bid to win), or never
(first price). Before it learns a chunk of 5,000 auctions, it is asked how likely bids are to win there: against the
share of prices below 40 bids (mean absolute error), and for each bid that is made (log loss; beside the lowest that a
constant could have).

Markets are generated and first-price. A bidder learns from the bids it makes itself, in all but the first tenth of
which its surplus counts (value - bid, when won), as a share of that of one who knows the distributions as they drift.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import random
import statistics
import time
from bisect import bisect_right
from collections.abc import Callable, Sequence
from math import exp, log, pi, sin
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

from benchmarks.win_price_rivals import Counted, Factor, LogLogistic, Once, Ours, Rival, ToldOnly
from online_models.bidding.landscape import Landscape
from online_models.bidding.price_curve import PriceRules
from online_models.bidding.win_price import WinPrices

CHUNK, BIDS_ASKED, HOUR_MS = 5_000, 40, 3_600_000
TOLD: dict[str, Callable[[bool], bool]] = {
    "always": lambda won: True,
    "when won": lambda won: won,
    "never": lambda won: False,
}
PUBLISHED_EVERY = 50
# The smallest step of the log-logistic curves: the best ones here, on the file and on the generated markets.
SLOW, FAST = 0.001, 0.01


class Auction(NamedTuple):
    """An auction, the value or bid of ours, and its competing price; per impression."""

    key: str
    mine: float
    price: float
    at_ms: int


def real_auctions(path: Path, count: int) -> list[Auction]:
    """Return bids against the prices of a file: about as high as its prices, higher where a click is likelier."""
    chance = random.Random(7)
    with gzip.open(path, "rt") as lines:
        rows = [row for _, row in zip(range(count), csv.DictReader(lines), strict=False)]
    usual = statistics.median(float(row["win_price"]) for row in rows) / 1000.0
    clicks = statistics.median(float(row["pctr"]) for row in rows)
    auctions, hour, within = [], "", 0
    for row in rows:
        within = within + 1 if row["hour_idx"] == hour else 0
        hour = row["hour_idx"]
        bid = usual * (float(row["pctr"]) / clicks) ** 0.5 * chance.lognormvariate(0.0, 0.5)
        at_ms = int(float(hour)) * HOUR_MS + min(100 * within, HOUR_MS - 1)
        auctions.append(Auction(f"{int(float(hour)) % 24}h", bid, float(row["win_price"]) / 1000.0, at_ms))
    return auctions


def known(auction: Auction, bid: float, told: str) -> tuple[bool, float | None]:
    """Return whether a bid wins, and the price if it is told."""
    won = bid >= auction.price
    return won, auction.price if TOLD[told](won) else None


def judged(model: Rival, auctions: Sequence[Auction], told: str) -> tuple[float, float]:
    """Return mean absolute error and log loss of win rates, each chunk but the first before it is learned."""
    prices = sorted(one.price for one in auctions)
    asked = [prices[(2 * k + 1) * len(prices) // (2 * BIDS_ASKED)] for k in range(BIDS_ASKED)]
    errors, losses = [], []
    for start in range(0, len(auctions), CHUNK):
        chunk = auctions[start : start + CHUNK]
        model.publish()
        if start:
            there = sorted(one.price for one in chunk)
            keys = {one.key for one in chunk}
            shares = {key: sum(one.key == key for one in chunk) / len(chunk) for key in keys}
            for bid in asked:
                said = sum(share * model.win_rate(key, bid) for key, share in shares.items())
                errors.append(abs(said - bisect_right(there, bid) / len(there)))
            for one in chunk:
                rate = min(max(model.win_rate(one.key, one.mine), 1e-4), 1.0 - 1e-4)
                losses.append(-log(rate if one.mine >= one.price else 1.0 - rate))
        for one in chunk:
            won, price = known(one, one.mine, told)
            model.learn(one.key, bid=one.mine, won=won, price=price, at_ms=one.at_ms)
    return statistics.mean(errors), statistics.mean(losses)


def prices(path: Path, count: int, rules: PriceRules) -> None:
    """Print how well win rates are known on the prices of a file."""
    auctions = real_auctions(path, count)
    later = [one.mine >= one.price for one in auctions[CHUNK:]]
    rate = statistics.mean(later)
    constant = -(rate * log(rate) + (1.0 - rate) * log(1.0 - rate))
    print(f"{len(auctions):,} auctions, {100 * rate:.1f} % won; log loss of a constant {constant:.4f}")
    print(f"{'price told':12}{'model':24}{'mean absolute error':>20}{'log loss':>10}")
    rivals: dict[str, Callable[[], Rival]] = {
        "ours": lambda: Ours(rules),
        "log-logistic, slow": lambda: LogLogistic(SLOW),
        "log-logistic, fast": lambda: LogLogistic(FAST),
        "blind to what is not told": lambda: ToldOnly(rules),
        "wins counted by bin": lambda: Counted(rules),
        "ours, learned once": lambda: Once(len(auctions) // 10, rules),
    }
    for told in TOLD:
        for name, new in rivals.items():
            if not (told == "never" and name.startswith("blind")):
                error, loss = judged(new(), auctions, told)
                print(f"{told:12}{name:24}{error:20.4f}{loss:10.4f}", flush=True)


class Market(NamedTuple):
    """Auctions with values in place of bids, and for each the distribution of its price.

    Attributes
    ----------
    centres, spreads
        Of ln(price), normal.
    heaps, heaped
        Prices on which prices stand in heaps, and the part of them that does, evenly.
    """

    auctions: list[Auction]
    centres: NDArray[np.float64]
    spreads: NDArray[np.float64]
    heaps: tuple[float, ...]
    heaped: float


def a_market(seed: int, count: int, *, values: float, heaped: float) -> Market:
    """Return two days of twelve slices, whose prices rise and fall with the hour and jump up after one day.

    Parameters
    ----------
    values
        Standard deviation of ln(value).
    """
    chance = random.Random(seed)
    slices = [(chance.gauss(log(0.05), 0.4), chance.uniform(0.3, 0.7)) for _ in range(12)]
    heaps = (0.02, 0.05, 0.07)
    auctions, centres, spreads = [], [], []
    for number in range(count):
        which = chance.randrange(len(slices))
        day = 2.0 * number / count
        centre = slices[which][0] + 0.3 * sin(2.0 * pi * day) + (0.3 if day >= 1.0 else 0.0)
        spread = slices[which][1]
        price = chance.choice(heaps) if chance.random() < heaped else exp(chance.gauss(centre, spread))
        value = chance.lognormvariate(log(0.1), values)
        auctions.append(Auction(f"slice-{which}", value, price, int(day * 24 * HOUR_MS)))
        centres.append(centre)
        spreads.append(spread)
    return Market(auctions, np.array(centres), np.array(spreads), heaps, heaped)


def knowing(market: Market) -> list[float]:
    """Return the bids of one who knows the distributions: the best of 400 shares of the value, and of the heaps."""
    values = np.array([one.mine for one in market.auctions])
    best, gain = np.zeros(len(values)), np.zeros(len(values))
    for bid in [*(values * share for share in np.arange(1, 400) / 400), *(values * 0 + heap for heap in market.heaps)]:
        below = ndtr((np.log(bid) - market.centres) / market.spreads) * (1.0 - market.heaped)
        below += market.heaped * np.mean([bid >= heap for heap in market.heaps], axis=0)
        here = (values - bid) * below
        best, gain = np.where(here > gain, bid, best), np.maximum(here, gain)
    found: list[float] = best.tolist()
    return found


def surplus(auctions: Sequence[Auction], bids: Sequence[float]) -> float:
    """Return what bids gained in all but the first tenth."""
    pairs = zip(auctions[len(auctions) // 10 :], bids[len(auctions) // 10 :], strict=True)
    return sum(one.mine - bid for one, bid in pairs if bid >= one.price)


def bids_of(model: Rival, auctions: Sequence[Auction], told: str) -> list[float]:
    """Return the bids of a bidder who learns from them."""
    bids = []
    for number, one in enumerate(auctions):
        if number % PUBLISHED_EVERY == 0:
            model.publish()
        bid = model.shade(one.key, one.mine, low=0.0, high=one.mine)
        won, price = known(one, bid, told)
        model.learn(one.key, bid=bid, won=won, price=price, at_ms=one.at_ms)
        bids.append(bid)
    return bids


def in_hindsight(auctions: Sequence[Auction], *, by_slice: bool) -> float:
    """Return the surplus of the best share of the value, one for all or one for each slice, chosen afterwards."""
    parts: dict[str, list[Auction]] = {}
    for one in auctions[len(auctions) // 10 :]:
        parts.setdefault(one.key if by_slice else "", []).append(one)
    total = 0.0
    for part in parts.values():
        values, prices = np.array([one.mine for one in part]), np.array([one.price for one in part])
        shares = np.arange(1, 101) / 100
        total += max(float(((1 - f) * values * (f * values >= prices)).sum()) for f in shares)
    return total


def markets(count: int, seeds: int, rules: PriceRules) -> None:
    """Print what shading earns on generated markets."""
    kinds = {
        "values vary, prices lognormal": {"values": 0.6, "heaped": 0.0},
        "values vary, half of the prices on three heaps": {"values": 0.6, "heaped": 0.5},
        "every value the same, prices lognormal": {"values": 0.0, "heaped": 0.0},
    }
    rivals: dict[str, Callable[[], Rival]] = {
        "ours": lambda: Ours(rules),
        "log-logistic, slow": lambda: LogLogistic(SLOW),
        "log-logistic, fast": lambda: LogLogistic(FAST),
        "wins counted by bin": lambda: Counted(rules),
        "ours, learned once": lambda: Once(count // 10, rules),
        "share, tuned first": lambda: Factor(count // 10),
    }
    for name, kind in kinds.items():
        made = [a_market(seed, count, **kind) for seed in range(seeds)]
        best = [surplus(market.auctions, knowing(market)) for market in made]
        print(f"{name}: surplus, % of one who knows the distributions (median, range of {seeds})")
        rows: list[tuple[str, list[float]]] = [
            ("best share in hindsight", [in_hindsight(market.auctions, by_slice=False) for market in made]),
            ("best share of each slice", [in_hindsight(market.auctions, by_slice=True) for market in made]),
            ("bid the value", [0.0 for _ in made]),
        ]
        for told in ("never", "when won", "always"):
            for rival, new in rivals.items():
                if told == "never" or rival in ("ours", "log-logistic, slow", "log-logistic, fast"):
                    runs = [surplus(one.auctions, bids_of(new(), one.auctions, told)) for one in made]
                    rows.append((f"{rival}, told {told}", runs))
        for row, gained in rows:
            parts = [100 * one / most for one, most in zip(gained, best, strict=True)]
            print(f"  {row:40}{statistics.median(parts):7.1f}  ({min(parts):.1f} to {max(parts):.1f})", flush=True)


def speed(rules: PriceRules, *, rounds: int = 7, calls: int = 20_000) -> None:
    """Print microseconds of processor time for each call, median of rounds; 12 slices."""
    market = a_market(1, calls, values=0.6, heaped=0.0).auctions
    found: dict[str, list[float]] = {}

    def took(name: str, calls: int, start: float) -> None:
        found.setdefault(name, []).append((time.process_time() - start) / calls * 1e6)

    for _ in range(rounds):
        for told in ("when won", "never"):
            learner = WinPrices(rules)
            known_here = [(one, one.mine * 0.7, *known(one, one.mine * 0.7, told)) for one in market]
            start = time.process_time()
            for one, bid, won, price in known_here:
                learner.learn(one.key, bid=bid, won=won, price=price, at_ms=one.at_ms)
            took(f"learn, price told {told}", calls, start)
        landscape = Landscape(learner.weights, rules)
        keys = sorted({one.key for one in market})
        start = time.process_time()
        for key in keys:
            landscape.curve(key)
        took("curve of a slice, once for each version", len(keys), start)
        start = time.process_time()
        for one in market:
            landscape.shade(one.key, one.mine, low=0.0, high=one.mine)
        took("shade", calls, start)
        start = time.process_time()
        for one in market:
            landscape.win_rate(one.key, one.mine)
        took("win_rate", calls, start)
        start = time.process_time()
        for one in market:
            landscape.expected_cost(one.key, one.mine, "second")
        took("expected_cost, second price", calls, start)
    print(f"numbers of 12 slices and the whole: {len(learner.weights)}")
    for name, times in found.items():
        print(f"{name:42}{statistics.median(times):7.1f} us  ({min(times):.1f} to {max(times):.1f})")


def main() -> None:
    """Measure the parts that are asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="prices of auctions, csv.gz; without it generated markets only")
    parser.add_argument("--auctions", type=int, default=300_000, help="of the file")
    parser.add_argument("--market", type=int, default=60_000, help="auctions of a generated market")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--bins", type=int, default=PriceRules().bins)
    parser.add_argument("--strength", type=float, default=PriceRules().strength)
    parser.add_argument("--half-life-hours", type=float, default=PriceRules().half_life_ms / HOUR_MS)
    parser.add_argument("--only", choices=("prices", "markets", "speed"))
    given = parser.parse_args()
    rules = PriceRules(bins=given.bins, strength=given.strength, half_life_ms=int(given.half_life_hours * HOUR_MS))
    if given.data is not None and given.only in (None, "prices"):
        prices(given.data, given.auctions, rules)
    if given.only in (None, "markets"):
        markets(given.market, given.seeds, rules)
    if given.only in (None, "speed"):
        speed(rules)


if __name__ == "__main__":
    main()
