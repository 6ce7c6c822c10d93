"""What every pacer gives to the bidders, and what it hears from them.

A pacer turns the value of an impression to one campaign into a bid, so that the budget is spent along its plan: the bid
is value x multiplier, and a request is passed over with a chance that may depend on the layer its value lies in. It
hears of opportunities and of spend, in the order in which they are logged, and goes by event time and its own state
alone; so a replay repeats every decision. Times that go back count as the latest seen.

Pacing is control, not a guarantee: that no budget is overspent is the ledger's work.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping
from math import exp
from typing import NamedTuple, Protocol

from msgspec import Struct

from online_models.bidding.plan import Plan


class Flight(Struct, frozen=True, array_like=True):
    """A campaign's day.

    Attributes
    ----------
    budget
        What may be spent between `starts_ms` and `ends_ms`, in currency; >= 0.
    plan
        Which part of it should be spent by when.
    starts_ms, ends_ms
        Of a campaign that is declared in the course of a day, the flight starts then: what the plan wanted before
        would be made up for.
    """

    budget: float
    plan: Plan
    starts_ms: int
    ends_ms: int


class Pace(NamedTuple):
    """How a campaign bids at present; plain numbers that every bidder may have a copy of.

    Attributes
    ----------
    multiplier
        bid = value * multiplier.
    edges
        Lower bounds of the response layers after the first, ascending, in value per impression.
    rates
        Chance to take part, for each layer; one more than edges.
    """

    multiplier: float
    edges: tuple[float, ...] = ()
    rates: tuple[float, ...] = (1.0,)


def takes_part(pace: Pace, value: float, draw: float) -> bool:
    """Tell whether a campaign takes part in an auction.

    Parameters
    ----------
    value
        Of the impression to the campaign.
    draw
        Uniform from 0 up to 1, from the request's id.

    Examples
    --------
    >>> pace = Pace(1.0, edges=(0.5,), rates=(0.0, 1.0))
    >>> [takes_part(pace, value, draw=0.3) for value in (0.4, 0.5)]
    [False, True]
    """
    return draw < pace.rates[bisect_right(pace.edges, value)]


def to_numbers(pace: Pace) -> dict[str, float]:
    """Return a pace as numbers with names, to be sent as weights are.

    Examples
    --------
    >>> to_numbers(Pace(0.8, edges=(0.5,), rates=(0.0, 1.0)))
    {'multiplier': 0.8, 'layers': 2.0, 'rate_0': 0.0, 'edge_1': 0.5, 'rate_1': 1.0}
    """
    numbers = {"multiplier": pace.multiplier, "layers": float(len(pace.rates)), "rate_0": pace.rates[0]}
    for number, (edge, rate) in enumerate(zip(pace.edges, pace.rates[1:], strict=True), 1):
        numbers |= {f"edge_{number}": edge, f"rate_{number}": rate}
    return numbers


def from_numbers(numbers: Mapping[str, float]) -> Pace:
    """Return the pace that `to_numbers` was given. What is left over from a pace of more layers is passed over."""
    layers = range(int(numbers["layers"]))
    edges = tuple(numbers[f"edge_{number}"] for number in layers[1:])
    return Pace(numbers["multiplier"], edges, tuple(numbers[f"rate_{number}"] for number in layers))


class Pacer(Protocol):
    """Keeps one campaign to its plan.

    The bidders may see a pace some opportunities late. `begin` may come again within a flight, with another budget or
    plan: what was spent in it counts on, and what is left is spent after the plan. `opportunity` is told of every
    auction that the campaign might take part in, also of those it lets pass; `spent` of each win, with the time of its
    auction and a cost that is finite and >= 0.

    A pacer that is restored from a state goes on as the one that gave it, within its own bounds. `restore` raises
    BadRecord and changes nothing if the state is that of another kind of pacer.
    """

    @property
    def pace(self) -> Pace: ...
    def begin(self, flight: Flight) -> None: ...
    def opportunity(self, at_ms: int, value: float) -> None: ...
    def spent(self, at_ms: int, cost: float) -> None: ...
    def state(self) -> bytes: ...
    def restore(self, state: bytes) -> None: ...


class Bounds(NamedTuple):
    """Between which multipliers a pacer may choose, and where it starts."""

    least: float
    most: float
    start: float

    def multiplier(self, logarithm: float) -> float:
        """Return the multiplier of a logarithm, within the bounds to the last bit."""
        return min(max(exp(logarithm), self.least), self.most)
