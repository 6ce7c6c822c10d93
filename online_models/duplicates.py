"""Repeats of an event, told by its id among the user's recent ones."""

from __future__ import annotations

from hashlib import blake2b

# Producers repeat an event within their retries, so few ids suffice; a full ring costs 288 bytes.
REMEMBERED_IDS = 32


def remember(recent_ids: list[int], event_id: str) -> bool:
    """Note an event id in the ring of recent ones, in place.

    Returns
    -------
    bool
        False if the id was there already: the event is a repeat.

    Examples
    --------
    >>> recent = []
    >>> remember(recent, "e1"), remember(recent, "e2"), remember(recent, "e1")
    (True, True, False)
    """
    # 64 bits: with 32 ids remembered, one event in 10**17 would wrongly count as a repeat.
    digest = int.from_bytes(blake2b(event_id.encode(), digest_size=8).digest(), "big")
    if digest in recent_ids:
        return False
    recent_ids.append(digest)
    if len(recent_ids) > REMEMBERED_IDS:
        del recent_ids[0]
    return True
