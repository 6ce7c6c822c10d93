"""Replays of auctions: what a campaign would have won, with different budgets, strategies and pacers."""

from streams.simulate.auctions.compare import Options, compare
from streams.simulate.auctions.files import InvalidAuctions, read_auctions
from streams.simulate.auctions.generated import MARKETS, generated
from streams.simulate.auctions.market import Market
from streams.simulate.auctions.outcome import Row

__all__ = ["MARKETS", "InvalidAuctions", "Market", "Options", "Row", "compare", "generated", "read_auctions"]
