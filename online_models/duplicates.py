"""Repeats of an event, told by its id among the user's recent ones."""

from __future__ import annotations

from hashlib import blake2b

# Producers repeat an event within their retries, so few ids suffice; a full ring costs 194 bytes.
REMEMBERED_IDS = 32
# 48 bits: of 10**13 events of visitors with full rings, one would wrongly count as a repeat.
DIGEST_BYTES = 6
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
