"""What the simulated shop sells, and how what is popular moves over the day."""

from __future__ import annotations

import math
from bisect import bisect
from itertools import accumulate
from random import Random
from typing import NamedTuple

DAY_MS = 86_400_000
# Popularity is recomputed this often in event time; it moves by less than 7 % in between.
REFRESH_MS = 15 * 60_000

# Name, median price, hour of the day (UTC) at which it is in demand.
CATEGORIES = (
    ("shoes", 79.0, 19),
    ("jackets", 129.0, 17),
    ("jeans", 69.0, 20),
    ("shirts", 35.0, 12),
    ("dresses", 59.0, 21),
    ("bags", 89.0, 13),
    ("watches", 159.0, 22),
    ("outdoor", 99.0, 8),
    ("running", 85.0, 6),
    ("kids", 29.0, 9),
    ("home", 45.0, 15),
    ("beauty", 24.0, 11),
)
# One slot in five is filled evenly at random, so that every item is shown and propensities stay > 0.
EVEN_SHARE = 0.2


class Item(NamedTuple):
    """One article; `quality` is added to the log odds of every click on it."""

    item_id: str
    category: int
    price: float
    quality: float
    demand: float
    peak_hour: float


def demand_at(item: Item, ts_ms: int) -> float:
    """Return how much an item is asked for at a time: a daily wave around its base demand.

    Examples
    --------
    >>> boots = Item("i1", 0, 79.0, 0.0, 2.0, peak_hour=18.0)
    >>> demand_at(boots, 18 * 3_600_000), round(demand_at(boots, 6 * 3_600_000), 9)
    (3.6, 0.4)
    """
    hour = ts_ms % DAY_MS / 3_600_000
    return item.demand * (1 + 0.8 * math.cos(2 * math.pi * (hour - item.peak_hour) / 24))


class Shelf:
    """Items a page chooses from, by popularity at a time, without repeating one.

    The choice of a slot is a weighted draw among the items that are not yet on the page; its
    probability is the propensity, exactly.
    """

    def __init__(self, items: list[Item]) -> None:
        self.items = items
        self.appeal: list[float] = []
        self._cumulative: list[float] = []
        self._weights: list[float] = []

    def refresh(self, ts_ms: int) -> None:
        demands = [demand_at(item, ts_ms) for item in self.items]
        total, n = sum(demands), len(demands)
        self._weights = [(1 - EVEN_SHARE) * d / total + EVEN_SHARE / n for d in demands]
        self._cumulative = list(accumulate(self._weights))
        # What is in demand is clicked more: a factor of e in demand adds 0.5 to the log odds.
        self.appeal = [0.5 * math.log(d * n / total) for d in demands]

    def draw(self, rng: Random, n: int) -> list[tuple[int, float]]:
        """Return up to `n` different pairs (index into `items`, propensity)."""
        cumulative, weights = self._cumulative, self._weights
        last, left = len(weights) - 1, 1.0
        chosen: list[tuple[int, float]] = []
        taken: set[int] = set()
        for _ in range(min(n, len(weights))):
            # Drawing again until the item is new is the same as drawing among those left.
            index = min(bisect(cumulative, rng.random()), last)
            while index in taken:
                index = min(bisect(cumulative, rng.random()), last)
            taken.add(index)
            chosen.append((index, min(weights[index] / left, 1.0)))
            left -= weights[index]
        return chosen


class Catalogue:
    """All items, with a shelf for the home page and one for each category."""

    def __init__(self, n_items: int, rng: Random) -> None:
        self.items: list[Item] = [_item(number, rng) for number in range(n_items)]
        self.home = Shelf(self.items)
        by_category = [[item for item in self.items if item.category == c] for c in range(len(CATEGORIES))]
        self.shelves = [Shelf(items) for items in by_category]
        self._fresh_until_ms = -1

    def refresh(self, ts_ms: int) -> None:
        """Bring popularity up to `ts_ms`; cheap unless `REFRESH_MS` have passed."""
        if ts_ms >= self._fresh_until_ms:
            start = ts_ms - ts_ms % REFRESH_MS
            self._fresh_until_ms = start + REFRESH_MS
            for shelf in (self.home, *self.shelves):
                shelf.refresh(start)


def _item(number: int, rng: Random) -> Item:
    category = number % len(CATEGORIES)
    _, median_price, peak_hour = CATEGORIES[category]
    return Item(
        item_id=f"item-{number}",
        category=category,
        price=round(median_price * math.exp(rng.gauss(0, 0.35)), 2),
        quality=rng.gauss(0, 0.6),
        demand=math.exp(rng.gauss(0, 0.7)),
        peak_hour=peak_hour + rng.gauss(0, 2),
    )
