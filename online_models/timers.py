"""When windows close: one timer for each user, in event time.

Windows mostly have a few lengths, so most timers are set behind all others and run out in the order in which they were
set. A heap would find each one's place anew; here timers are put down by the second that they fall into, and a second
is sorted when its turn comes.
"""

from __future__ import annotations

from bisect import bisect_right, insort
from collections.abc import Iterable, Iterator
from heapq import heappop, heappush

# Timers that fall into the same so many milliseconds are put down together.
SPAN_MS = 1_000


class Timers:
    """When each user's earliest window closes; epoch ms of event time.

    The order of expiry is total, (time, user id), so that it does not depend on how records were cut
    into chunks or on what was restored from the store.

    A timer that is moved or removed stays where it was put down, and is passed over there.
    """

    def __init__(self, due_of: Iterable[tuple[str, int]] = ()) -> None:
        self._due_of: dict[str, int] = {}
        self._changed: set[str] = set()
        # (time, user) before `_front_end_ms`, sorted; those before the place `_at` have run out.
        self._front: list[tuple[int, str]] = []
        self._at = 0
        self._front_end_ms = 0
        # The others, by span; the numbers of the spans are a heap.
        self._spans: dict[int, list[tuple[int, str]]] = {}
        self._order: list[int] = []
        for user_id, due_ms in due_of:
            self._put(user_id, due_ms)

    def __len__(self) -> int:
        return len(self._due_of)

    def earlier(self, user_id: str, due_ms: int) -> None:
        """Set the user's timer unless an earlier one is set."""
        known = self._due_of.get(user_id)
        if known is None or due_ms < known:
            self._changed.add(user_id)
            self._put(user_id, due_ms)

    def set(self, user_id: str, due_ms: int | None) -> None:
        """Set or (None) remove the user's timer."""
        self._changed.add(user_id)
        if due_ms is None:
            self._due_of.pop(user_id, None)
        else:
            self._put(user_id, due_ms)

    def _put(self, user_id: str, due_ms: int) -> None:
        self._due_of[user_id] = due_ms
        if due_ms < self._front_end_ms:
            insort(self._front, (due_ms, user_id), lo=self._at)
            return
        span = due_ms // SPAN_MS
        waiting = self._spans.get(span)
        if waiting is None:
            self._spans[span] = [(due_ms, user_id)]
            heappush(self._order, span)
        else:
            waiting.append((due_ms, user_id))

    def is_due(self, now_ms: int) -> bool:
        """Tell whether `pop_due` may have something to yield."""
        if self._at < len(self._front):
            return self._front[self._at][0] <= now_ms
        return bool(self._order) and self._order[0] * SPAN_MS <= now_ms

    def pop_due(self, now_ms: int) -> Iterator[tuple[int, str]]:
        """Yield (time, user) of the timers that are due, earliest first; the caller sets each user's next."""
        due_of = self._due_of
        while True:
            front, at = self._front, self._at
            if at == len(front):
                if not self.is_due(now_ms):
                    return
                self._open_next()
                continue
            due_ms, user_id = front[at]
            if due_ms > now_ms:
                return
            self._at = at + 1
            if due_of.get(user_id) == due_ms:  # otherwise the timer was moved, and stands elsewhere
                yield due_ms, user_id

    def _open_next(self) -> None:
        span = heappop(self._order)
        self._front = sorted(self._spans.pop(span))
        self._front_end_ms = (span + 1) * SPAN_MS
        self._at = 0

    def due_until(self, now_ms: int) -> list[str]:
        """Return the users whose timer is due at `now_ms`, without touching the timers."""
        due_of, front, order = self._due_of, self._front, self._order
        until = (now_ms + 1,)  # before every pair of a later time
        due = front[self._at : bisect_right(front, until, lo=self._at)]
        pending = [0]
        while pending:  # a span that is due hangs below one that is due
            place = pending.pop()
            if place < len(order) and order[place] * SPAN_MS <= now_ms:
                due += [one for one in self._spans[order[place]] if one < until]
                pending += (2 * place + 1, 2 * place + 2)
        return [user_id for due_ms, user_id in sorted(due) if due_of.get(user_id) == due_ms]

    def take_changed(self) -> dict[str, int | None]:
        """Return the timers that were set or removed since the last call, for the store."""
        changed = {user_id: self._due_of.get(user_id) for user_id in sorted(self._changed)}
        self._changed.clear()
        return changed
