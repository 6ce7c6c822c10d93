"""The sums of `plain_sums`: compiled, where that could be done when the package was installed."""

from __future__ import annotations

try:
    from online_models.compiled_sums import Coordinate, move, score_named, sigmoid, sum_up

    COMPILED = True
except ImportError:  # slower, and the same to the last bit
    from online_models.plain_sums import Coordinate, move, score_named, sigmoid, sum_up

    COMPILED = False

__all__ = ["COMPILED", "Coordinate", "move", "score_named", "sigmoid", "sum_up"]
