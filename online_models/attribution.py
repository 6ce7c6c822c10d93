"""Attribution: joins each trigger with its outcome, in stream time.

The rules:

- An outcome at the trigger's own time, or up to and including ``window_ms`` later, makes it positive. The window is the
  one that was declared when the trigger opened.
- Records are judged in the order of the log. A window closes when *stream time* (the highest event
  time that the partition has seen) has passed its end plus a grace for events out of order.
- A trigger whose outcome came before it in the log gets no label: the outcome is already in the
  features, and an example made of them would give its own answer away.
- What is open is bounded, for each user and for each partition; what is cut is counted.

Nothing here touches a clock; replaying the log closes the same windows at the same records.
"""

from __future__ import annotations

from online_models.objectives import Objective
from schemas.user_state import USUAL_GRACE_MS, OpenAttribution

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
    name, last = objective.name, objective.credit == "last"
    matching = [
        one for one in open_ if (last or not one.hit) and one.key == key and one.ts <= ts and one.objective == name
    ]
    if matching:
        declared, window_ms = (objective.closes_after_ms, kept_grace_ms(objective)), objective.window_ms
        windows = [
            window_ms if (one.closes_after_ms, one.grace_ms) == declared else window_ms_of(one, objective)
            for one in matching
        ]
        matching = [one for one, its_ms in zip(matching, windows, strict=True) if ts - one.ts <= its_ms]
    if last and matching:
        # Also where it is positive already: a second click on it is no click on the one before.
        latest = max(matching, key=lambda one: (one.ts, one.offset))
        matching = [] if latest.hit else [latest]
    for one in matching:
        one.hit = True
    return matching


def kept_grace_ms(objective: Objective) -> int | None:
    """Return what a trigger keeps of its objective's grace; None stands for the usual one, in a byte."""
    return None if objective.grace_ms == USUAL_GRACE_MS else objective.grace_ms


def window_ms_of(one: OpenAttribution, objective: Objective) -> int:
    """Return the window of a trigger, which may have opened under another declaration of its objective."""
    if one.grace_ms is not None:
        return one.closes_after_ms - one.grace_ms
    # Of a version before, which did not keep the grace: as declared now, unless that closes at another time.
    if one.closes_after_ms in (-1, objective.closes_after_ms):
        return objective.window_ms
    return one.closes_after_ms - USUAL_GRACE_MS
