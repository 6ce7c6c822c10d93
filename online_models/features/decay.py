"""Exponentially decayed sums that need no time stamp.

An event of weight w at time t counts w * 2 ** ((t - now) / half_life) at a later time now. The usual state is the
sum and the time it stands for, brought up to date at every event. Here the state is one float, the *height*:
log2 of the sum of w * 2 ** (t / half_life), with t counted from a fixed landmark (forward decay: Cormode,
Shkapenyuk, Srivastava, Xu, ICDE 2009, kept as a logarithm so that it cannot overflow). Hence

- the sum at time now is 2 ** (height - now / half_life);
- an event that comes late adds exactly what it would have added in time: order does not matter;
- the ratio of two sums with one half-life is 2 ** (their difference), whatever the time is;
- it packs in 9 bytes.

Precision: heights are about (now - landmark) / half_life, 3e6 for one minute, so a sum is exact to about 1e-9.
"""

from __future__ import annotations

from math import exp2, log2

# 2020-01-01T00:00:00Z: near the events, so that heights are small and hence precise.
LANDMARK_MS = 1_577_836_800_000


def raised(height: float | None, at: float) -> float:
    """Return the height after adding weight 2 ** (at - time) at that time, both in half-lives.

    Parameters
    ----------
    height
        Height before; None if nothing was added yet.
    at
        Event time since the landmark in half-lives, plus log2 of the weight.

    Examples
    --------
    >>> raised(5.0, 5.0)
    6.0
    """
    if height is None:
        return at
    if height < at:
        height, at = at, height
    return height + log2(1.0 + exp2(at - height))
