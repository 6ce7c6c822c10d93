"""Sliding counts in buckets.

A ring is ``[number of the newest bucket, its count, the count of the bucket before it, …]``, as long as
it must be and no longer than the window. A bucket's number is event time // bucket length.
"""

from __future__ import annotations

# Twelve buckets: an hour in steps of five minutes, a day in steps of two hours; a count is at most 1/12 of the
# window behind, for at most 18 bytes.
DEFAULT_BUCKETS = 12
MAX_BUCKETS = 60


def ring_sum(ring: list[int], bucket: int, buckets: int) -> int:
    """Return the count in the `buckets` buckets that end with `bucket`."""
    shift = bucket - ring[0]
    if shift <= 0:
        return sum(ring) - ring[0]
    return sum(ring[1 : buckets + 1 - shift]) if shift < buckets else 0


def ring_added(ring: list[int] | None, bucket: int, buckets: int) -> list[int]:
    """Count an event of `bucket`, in place where that is possible; return the ring."""
    if ring is None:
        return [bucket, 1]
    shift = bucket - ring[0]
    if shift == 0:
        ring[1] += 1
    elif shift >= buckets:
        return [bucket, 1]
    elif shift > 0:
        ring[0] = bucket
        ring[1:1] = [1] + [0] * (shift - 1)
        del ring[buckets + 1 :]
    elif -shift < buckets:  # late, but within the window
        place = 1 - shift
        ring.extend([0] * (place + 1 - len(ring)))
        ring[place] += 1
    return ring
