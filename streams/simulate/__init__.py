"""A simulated web shop: made-up visitors, for demos and tests."""

from streams.simulate.shop import Shop
from streams.simulate.trouble import disturbed

__all__ = ["Shop", "disturbed"]
