"""Attribution: joins each trigger with its outcome, in stream time.

The rules:

- An outcome at the trigger's own time, or up to and including ``window_ms`` later, makes it positive.
- Records are judged in the order of the log. A window closes when *stream time* (the highest event
  time that the partition has seen) has passed its end plus a grace for events out of order.
- A trigger whose outcome came before it in the log gets no label: the outcome is already in the
  features, and an example made of them would give its own answer away.
- What is open is bounded, for each user and for each partition; what is cut is counted.

Nothing here touches a clock; replaying the log closes the same windows at the same records.
"""

from __future__ import annotations

from online_models.objectives import Objective
from schemas.user_state import OpenAttribution

# A user with more triggers open than this is a crawler or a wall of teasers; the oldest go unlabelled.
MAX_OPEN_PER_USER = 256
# About 300 bytes each in the store; 2 million are 600 MB and a busy day of one partition.
MAX_OPEN_PER_PARTITION = 2_000_000


def mark_outcome(objective: Objective, open_: list[OpenAttribution], key: str, ts: int) -> list[OpenAttribution]:
    """Turn the open triggers positive that an outcome belongs to.

    Parameters
    ----------
    open_
        The user's open attributions; those that match get ``hit = True``.
    key, ts
        Match key and event time of the outcome.

    Returns
    -------
    list of OpenAttribution
        Those that were not positive before, in the order of their triggers.
    """
    name, earliest = objective.name, ts - objective.window_ms
    matching = [
        one for one in open_ if not one.hit and one.key == key and earliest <= one.ts <= ts and one.objective == name
    ]
    if objective.credit == "last" and matching:
        matching = [max(matching, key=lambda one: (one.ts, one.offset))]
    for one in matching:
        one.hit = True
    return matching
