"""When the next window of each visitor of a partition closes.

Twice written: here in Python, and in `compiled_timers.pyx` for those who have a compiler at installation. Both are the
binary heap of the standard library's `heapq`, step by step, so that they tell the same in the same order;
`online_models.timers` chooses.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator

# A timer that is moved leaves its old entry in the heap until its time has come. Beyond twice the timers that count and
# this many, the heap is made anew of them: that is paid for by the entries that were pushed since it was made before.
MOST_STALE = 64


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
        if len(self._heap) > 2 * len(self._due_of) + MOST_STALE:
            self._compact()

    def _compact(self) -> None:
        """Let go of the entries of timers that were moved; what `pop_due` tells stays the same."""
        self._heap[:] = [(due, user_id) for user_id, due in self._due_of.items()]  # in place: `pop_due` may be at it
        heapq.heapify(self._heap)

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
