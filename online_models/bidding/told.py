"""What partitions tell the learner of the market, as features of examples: names that say what, and plain numbers.

An example has no place for anything else, and learners of earlier versions refuse magnitudes above a million. So a time
is a day and a second, and a budget is thousands and a rest.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from math import isfinite

from online_models.bidding.campaigns import DAY_MS, Checked
from online_models.bidding.money import MICROS, per_impression
from online_models.guard import NOT_FINITE, OUT_OF_RANGE
from schemas.bids import BidDecision

_DAY, _SECOND = "day", "second"
VALUE, COST, BID, PRICE = "value:", "cost:", "bid:", "price:"
VERSION, THOUSANDS, REST, PACER, OFFSET = "version:", "thousands:", "rest:", "pacer:", "offset:"

# As much as campaigns and notices may say (`schemas`), by what it means. A version is an offset, exact up to 2^53.
_LARGEST = {VALUE: 1e9, COST: 1e6, BID: 1e6, PRICE: 1e6, VERSION: 2.0**53, THOUSANDS: 1e6, REST: 1e3}
_LARGEST_OF_OTHERS = 1e6  # days, seconds, a pacer's number, minutes; the only ones that may be negative

Told = dict[str, float]


def _at(ts: int) -> Told:
    return {_DAY: float(ts // DAY_MS), _SECOND: ts % DAY_MS / 1000}


def time_of(told: Mapping[str, float]) -> int:
    """Return the event time, epoch ms.

    >>> time_of(_at(1_700_000_000_123))
    1700000000123
    """
    return int(told[_DAY]) * DAY_MS + round(told[_SECOND] * 1000)


def opportunities(ts: int, decision: BidDecision) -> Told:
    """Tell what the impression was worth to each campaign that could have bid; empty: there was none."""
    values = {
        VALUE + name: per_impression(one.value) for name, one in decision.considered.items() if one.value is not None
    }
    return _at(ts) | values if values else {}


def win(ts: int, campaign: str, cost: float, *, key: str, bid: float, price: float | None) -> Told:
    """Tell of an impression that was won; `price`: the competing price, where it is known."""
    return _at(ts) | {COST + campaign: cost, BID + key: bid} | ({} if price is None else {PRICE + key: price})


def loss(ts: int, *, key: str, bid: float, price: float | None) -> Told:
    """Tell of an auction that was lost."""
    return _at(ts) | {BID + key: bid} | ({} if price is None else {PRICE + key: price})


def late_win(ts: int, campaign: str, cost: float) -> Told:
    """Tell of the cost of an impression whose auction was told of as lost."""
    return _at(ts) | {COST + campaign: cost}


def campaign_is(ts: int, name: str, version: int, campaign: Checked | None) -> Told:
    """Tell how a campaign is to be paced from now on; None: not at all."""
    budget = campaign.budget / MICROS if campaign is not None and campaign.declared.active else 0.0
    thousands, rest = divmod(budget, 1_000.0)
    return _at(ts) | {
        VERSION + name: float(version),
        THOUSANDS + name: thousands,
        REST + name: rest,
        PACER + name: float(campaign.pacer if campaign else 0),
        OFFSET + name: float(campaign.declared.tz_offset_min if campaign else 0),
    }


def refusal(told: Mapping[str, float]) -> str | None:
    """Tell why the market must not learn something; None: it may. However many campaigns it names.

    >>> refusal({"value:shoes": 2e6, "version:tents": 1e7})
    >>> refusal({"value:shoes": -1.0}), refusal({"cost:shoes": float("inf")})
    ('out_of_range', 'not_finite')
    """
    for name, number in told.items():
        kind, colon, _ = name.partition(":")
        most = _LARGEST.get(kind + colon)
        low, high = (-_LARGEST_OF_OTHERS, _LARGEST_OF_OTHERS) if most is None else (0.0, most)
        if not low <= number <= high:
            return OUT_OF_RANGE if isfinite(number) else NOT_FINITE
    return None


def named(told: Mapping[str, float], prefix: str) -> Iterator[tuple[str, float]]:
    """Yield what is told under a prefix: (name without it, number).

    >>> list(named({"cost:shoes": 0.5, "day": 3.0}, "cost:"))
    [('shoes', 0.5)]
    """
    for name, number in told.items():
        if name.startswith(prefix):
            yield name[len(prefix) :], number
