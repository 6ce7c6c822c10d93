"""Who visits the simulated shop: tastes, devices, places and habits that stay with a visitor."""

from __future__ import annotations

import math
from random import Random

from streams.simulate.catalogue import CATEGORIES, DAY_MS

_PHONES = (
    "Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) "
    "Version/17.5 Mobile/15E148 Safari/604.1",
    "Mozilla/5.0 (Linux; Android 14; Pixel 8) AppleWebKit/537.36 (KHTML, like Gecko) "
    "Chrome/126.0.0.0 Mobile Safari/537.36",
    "Mozilla/5.0 (Linux; Android 13; SM-S911B) AppleWebKit/537.36 (KHTML, like Gecko) "
    "SamsungBrowser/25.0 Chrome/121.0.0.0 Mobile Safari/537.36",
)
_TABLETS = (
    "Mozilla/5.0 (iPad; CPU OS 17_4 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) "
    "Version/17.4 Mobile/15E148 Safari/604.1",
)
_DESKTOPS = (
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0 Safari/537.36",
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) "
    "Chrome/126.0.0.0 Safari/537.36 Edg/126.0.0.0",
    "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) "
    "Version/17.5 Safari/605.1.15",
    "Mozilla/5.0 (X11; Linux x86_64; rv:127.0) Gecko/20100101 Firefox/127.0",
)
# Country, region, UTC offset in minutes, share of the visitors.
_PLACES = (
    ("DE", "BE", 60, 0.22),
    ("DE", "BY", 60, 0.18),
    ("FR", "IDF", 60, 0.14),
    ("GB", "ENG", 0, 0.16),
    ("ES", "MD", 60, 0.08),
    ("US", "NY", -300, 0.10),
    ("US", "CA", -480, 0.07),
    ("BR", "SP", -180, 0.05),
)
# Visits by local hour, relative to the busiest.
_ACTIVITY = (
    *(0.25, 0.15, 0.08, 0.05, 0.05, 0.10, 0.22, 0.38, 0.50, 0.55, 0.58, 0.62),
    *(0.68, 0.62, 0.58, 0.58, 0.62, 0.70, 0.80, 0.92, 1.00, 0.98, 0.78, 0.48),
)  # fmt: skip
MEAN_ACTIVITY = sum(_ACTIVITY) / 24
FAVOURITE, OTHER = 1.3, -0.9  # log odds of a click in a category that is or is not a favourite


class Visitor:
    """One made-up person; everything follows from the shop's seed and the number.

    Attributes
    ----------
    taste
        For each category, what it adds to the log odds of a click.
    eagerness
        Added to the log odds of every click.
    thrift
        Taken from the log odds for each factor of e that a price is above its category's median.
    visits_per_day
        Mean, before the hour of the day is taken into account.
    """

    def __init__(self, seed: int, number: int) -> None:
        rng = self.rng = Random(f"{seed}:visitor:{number}")
        self.user_id = f"visitor-{number}"
        self.visits = 0
        favourites = rng.sample(range(len(CATEGORIES)), rng.choice((1, 2, 2, 3)))
        self.taste = [(FAVOURITE if c in favourites else OTHER) + rng.gauss(0, 0.3) for c in range(len(CATEGORIES))]
        # What they look for themselves follows the same taste, more sharply.
        self.interest = [math.exp(1.2 * taste) for taste in self.taste]
        self.eagerness = rng.gauss(0, 0.4)
        self.thrift = abs(rng.gauss(0.4, 0.4))
        self.visits_per_day = math.exp(rng.gauss(-0.6, 0.8))
        first = rng.random()
        kind = _PHONES if first < 0.58 else _TABLETS if first < 0.64 else _DESKTOPS
        self.user_agent = rng.choice(kind)
        self.second_agent = rng.choice(_DESKTOPS if kind is _PHONES else _PHONES)
        place = rng.choices(_PLACES, [p[3] for p in _PLACES])[0]
        self.country, self.region, self.tz_offset_min = place[0], place[1], place[2]

    def next_visit(self, after_ms: int, pace: float) -> int:
        """Return when they come again: a Poisson process that follows the local hour of the day."""
        rng, ts = self.rng, float(after_ms)
        mean_ms = DAY_MS * MEAN_ACTIVITY / (self.visits_per_day * pace)
        while True:  # thinning (Lewis and Shedler, 1979)
            ts += rng.expovariate(1.0) * mean_ms
            hour = int((ts + self.tz_offset_min * 60_000) % DAY_MS / 3_600_000)
            if rng.random() < _ACTIVITY[hour]:
                return int(ts) + 1
