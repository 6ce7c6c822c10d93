"""Keeps a campaign to its budget: pacers that say how to bid, by what was spent so far and what was planned."""

from online_models.bidding.pacing.base import Flight, Pace, Pacer, from_numbers, takes_part, to_numbers
from online_models.bidding.pacing.declarations import DEFAULT_KIND, KINDS, build_pacer

__all__ = [
    "DEFAULT_KIND",
    "KINDS",
    "Flight",
    "Pace",
    "Pacer",
    "build_pacer",
    "from_numbers",
    "takes_part",
    "to_numbers",
]
