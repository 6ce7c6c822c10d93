"""Made-up markets of which the truth is known: two days of auctions, the second not always like the first.

The click-through rate of an impression is log-normal around 1 %, and known to the bidder. What others bid is log-normal
too, and correlated with it: they see some of what makes an impression good. Nothing in it is anybody's data.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from streams.simulate.auctions.market import Floats, Market

DAY_MS = 86_400_000
_MEDIAN_CTR, _CTR_SPREAD, _MOST_CTR = 0.01, 0.8, 0.5
_MEDIAN_PRICE, _PRICE_SPREAD = 0.001, 0.7
_CORRELATION = 0.4
# Requests of each hour of a day, against the mean: a night, a morning and an evening.
_DAILY = (
    *(0.5, 0.3, 0.2, 0.2, 0.2, 0.3, 0.5, 0.8, 1.0, 1.1, 1.2, 1.3),
    *(1.3, 1.3, 1.2, 1.2, 1.2, 1.3, 1.4, 1.6, 1.8, 1.7, 1.4, 1.0),
)
_EVEN = (1.0,) * 24


class Kind(NamedTuple):
    """What a market is like.

    Attributes
    ----------
    traffic
        Of the hours of a day, relative to each other.
    level
        Of the prices, by the time in days from the start: 0 to 1 is the first day, 1 to 2 the second.
    density
        Auctions of a day, as a part of what is asked for.
    kept
        What is not spent is kept.
    """

    what: str
    traffic: tuple[float, ...] = _EVEN
    level: Callable[[Floats], Floats] = np.ones_like
    first_price: bool = False
    density: float = 1.0
    kept: bool = False


MARKETS: dict[str, Kind] = {
    "stationary": Kind("the same all the time"),
    "daily": Kind("few requests in the night, many in the evening", traffic=_DAILY),
    "drift": Kind("prices double during each day", traffic=_DAILY, level=lambda days: 0.7 * 2.0 ** (days % 1.0)),
    "jump": Kind(
        "prices rise by four fifths in the afternoon of the second day",
        traffic=_DAILY,
        level=lambda days: np.where(days > 1.6, 1.8, 1.0),
    ),
    "dearer": Kind("prices are half as high again the next day", level=lambda days: np.where(days > 1.0, 1.5, 1.0)),
    "sparse": Kind("a twentieth of the requests", traffic=_DAILY, density=0.05),
    "first-price": Kind("whoever wins pays the own bid", traffic=_DAILY, first_price=True, density=0.5),
    "first-price-kept": Kind(
        "others bid as much as it is worth, and what is not spent is kept",
        traffic=_DAILY,
        level=lambda days: np.full_like(days, _MEDIAN_CTR / _MEDIAN_PRICE),
        first_price=True,
        density=0.5,
        kept=True,
    ),
}


def generated(name: str, *, auctions: int, seed: int) -> Market:
    """Return a market, the same for the same arguments.

    Parameters
    ----------
    name
        One of `MARKETS`.
    auctions
        Of each of its two days.
    """
    kind = MARKETS[name]
    rng = np.random.default_rng([seed, *name.encode()])
    count = max(100, round(auctions * kind.density))
    days = np.concatenate([day + _times(rng, count, kind.traffic) for day in (0, 1)])
    good = rng.standard_normal(2 * count)
    truth = np.minimum(_MEDIAN_CTR * np.exp(_CTR_SPREAD * good), _MOST_CTR)
    noise = rng.standard_normal(2 * count)
    seen = _CORRELATION * good + np.sqrt(1.0 - _CORRELATION**2) * noise
    return Market(
        name=name,
        at_ms=(days * DAY_MS).astype(np.int64),
        pctr=truth,
        price=_MEDIAN_PRICE * np.exp(_PRICE_SPREAD * seen) * kind.level(days),
        clicked=rng.random(2 * count) < truth,
        truth=truth,
        first_price=kind.first_price,
        kept=kind.kept,
    )


def _times(rng: np.random.Generator, count: int, traffic: tuple[float, ...]) -> Floats:
    """Return times of a day, from 0 up to 1, ascending."""
    reached = np.concatenate([[0.0], np.cumsum(traffic) / np.sum(traffic)])
    times: Floats = np.interp(np.sort(rng.random(count)), reached, np.linspace(0.0, 1.0, len(reached)))
    return times
