"""Decayed means: recent observations count more.

The state is ``[height of the weights, mean]`` (see `decay`): exact in any order, and always between the
smallest and the largest observation.
"""

from __future__ import annotations

from math import exp2

from online_models.features.decay import LANDMARK_MS, raised

Mean = list[float]


def mean_with(state: Mean | None, x: float, ts: int, per_ms: float) -> Mean:
    """Return the decayed mean after observing `x` at `ts`.

    Parameters
    ----------
    per_ms
        1 / half-life in ms.
    """
    at = (ts - LANDMARK_MS) * per_ms
    if state is None:
        return [at, x]
    height = raised(state[0], at)
    mean = state[1]
    return [height, mean + (x - mean) * exp2(at - height)]
