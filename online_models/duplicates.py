"""Repeats of an event, told by its id among the user's recent ones.

A repeat bears the event time of the first, and what is more than `MAX_LATE_MS` behind the stream is passed over
anyway. So the ids of a visitor need not be kept longer than that after the last event; see `online_models.rest`.
"""

from __future__ import annotations

from hashlib import blake2b

from schemas.user_state import DIGEST_BYTES

# An event this much behind the stream comes from a stuck device; its visit is long over.
MAX_LATE_MS = 24 * 3_600_000
# Producers repeat an event within their retries, so few ids suffice; a full ring costs 162 bytes.
REMEMBERED_IDS = 32
_RING_BYTES = REMEMBERED_IDS * DIGEST_BYTES


def remember(recent_ids: bytes, event_id: str) -> bytes | None:
    """Note an event id in the ring of recent ones.

    Parameters
    ----------
    recent_ids
        Digests of the ids, one behind the other, oldest first.

    Returns
    -------
    bytes or None
        The new ring; None if the id was there already: the event is a repeat.

    Examples
    --------
    >>> ring = remember(b"", "e1")
    >>> remember(ring, "e2") is None, remember(ring, "e1") is None
    (False, True)
    """
    digest = blake2b(event_id.encode(), digest_size=8).digest()[:DIGEST_BYTES]
    place = recent_ids.find(digest)
    while place % DIGEST_BYTES and place > 0:  # across two digests
        place = recent_ids.find(digest, place + 1)
    if place >= 0:
        return None
    return (recent_ids + digest)[-_RING_BYTES:]
