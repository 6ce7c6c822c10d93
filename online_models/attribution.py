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

import heapq
from collections.abc import Iterable, Iterator

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


class Timers:
    """When each user's earliest window closes; one timer a user, in event time.

    The order of expiry is total, (time, user id), so that it does not depend on how records were cut
    into chunks or on what was restored from the store.
    """

    def __init__(self, due_of: Iterable[tuple[str, int]] = ()) -> None:
        self._due_of: dict[str, int] = dict(due_of)
        self._heap: list[tuple[int, str]] = [(due, user_id) for user_id, due in self._due_of.items()]
        heapq.heapify(self._heap)
        self._changed: set[str] = set()

    def __len__(self) -> int:
        return len(self._due_of)

    def earlier(self, user_id: str, due_ms: int) -> None:
        """Set the user's timer unless an earlier one is set."""
        known = self._due_of.get(user_id)
        if known is None or due_ms < known:
            self.set(user_id, due_ms)

    def set(self, user_id: str, due_ms: int | None) -> None:
        """Set or (None) remove the user's timer."""
        self._changed.add(user_id)
        if due_ms is None:
            self._due_of.pop(user_id, None)
            return
        self._due_of[user_id] = due_ms
        heapq.heappush(self._heap, (due_ms, user_id))

    def is_due(self, now_ms: int) -> bool:
        """Tell whether `pop_due` may have something to yield."""
        heap = self._heap
        return bool(heap) and heap[0][0] <= now_ms

    def pop_due(self, now_ms: int) -> Iterator[tuple[int, str]]:
        """Yield (time, user) of the timers that are due, earliest first; the caller sets each user's next."""
        heap, due_of = self._heap, self._due_of
        while heap and heap[0][0] <= now_ms:
            due_ms, user_id = heapq.heappop(heap)
            if due_of.get(user_id) == due_ms:  # otherwise the timer was moved, and stands elsewhere in the heap
                yield due_ms, user_id

    def due_until(self, now_ms: int) -> list[str]:
        """Return the users whose timer is due at `now_ms`, without touching the timers."""
        heap, due_of = self._heap, self._due_of
        found: list[str] = []
        pending = [0]
        while pending:  # every entry that is due hangs below one that is due
            index = pending.pop()
            if index < len(heap) and heap[index][0] <= now_ms:
                due_ms, user_id = heap[index]
                if due_of.get(user_id) == due_ms:
                    found.append(user_id)
                pending += (2 * index + 1, 2 * index + 2)
        return found

    def take_changed(self) -> dict[str, int | None]:
        """Return the timers that were set or removed since the last call, for the store."""
        changed = {user_id: self._due_of.get(user_id) for user_id in sorted(self._changed)}
        self._changed.clear()
        return changed
