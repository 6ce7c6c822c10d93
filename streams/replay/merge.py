"""One order for the records of several partitions.

Records are merged by (stream time, partition, offset). A partition's *stream time* is the highest event
time it has shown so far, so its own records keep the order of the log, in which live scoring saw them,
and a record that came late waits for nobody. Kafka's own timestamps would do for a topic that visitors
filled; a topic that was filled from a file has timestamps of the filling, which say nothing of the order
in which visitors came.

A partition holds the merge up while it may still deliver something earlier, so each partition has a
buffer, which `Merge.hungry` keeps small.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Hashable, Iterable, Iterator
from typing import Any, Generic, TypeVar

T = TypeVar("T")


class Merge(Generic[T]):
    """Merges several sequences by a key that never falls within one of them.

    Parameters
    ----------
    lanes
        Names of the sequences, comparable: of equal keys the smaller name goes first.

    Examples
    --------
    >>> merge = Merge(["a", "b"])
    >>> merge.put("a", [(1, "a1"), (4, "a2")])
    >>> list(merge.ready())  # b may have something below 1
    []
    >>> merge.put("b", [(2, "b1")])
    >>> list(merge.ready())
    ['a1', 'b1']
    >>> merge.end("b")
    >>> list(merge.ready())
    ['a2']
    """

    def __init__(self, lanes: Iterable[Any]) -> None:
        self._waiting: dict[Any, deque[tuple[Any, T]]] = {lane: deque() for lane in lanes}
        self._open = set(self._waiting)
        self._heap: list[tuple[Any, Any]] = []
        self._missing = set(self._waiting)  # open lanes without a head in the heap

    def put(self, lane: Hashable, items: Iterable[tuple[Any, T]]) -> None:
        """Append (key, item) pairs to a lane."""
        waiting = self._waiting[lane]
        was_empty = not waiting
        waiting.extend(items)
        if was_empty and waiting:
            self._missing.discard(lane)
            heapq.heappush(self._heap, (waiting[0][0], lane))

    def end(self, lane: Hashable) -> None:
        """Note that a lane gets nothing more."""
        self._open.discard(lane)
        self._missing.discard(lane)

    @property
    def hungry(self) -> set[Any]:
        """Lanes that hold the merge up."""
        return set(self._missing)

    def waiting(self, lane: Hashable) -> int:
        """Return how many items of a lane wait."""
        return len(self._waiting[lane])

    @property
    def ended(self) -> bool:
        """Whether nothing waits and nothing more comes."""
        return not self._open and not self._heap

    def ready(self, most: int | None = None) -> Iterator[T]:
        """Yield what comes next, as long as no lane could still have something before it."""
        heap, missing = self._heap, self._missing
        while heap and not missing and (most is None or most > 0):
            _, lane = heap[0]
            waiting = self._waiting[lane]
            _, item = waiting.popleft()
            if waiting:
                heapq.heapreplace(heap, (waiting[0][0], lane))
            else:
                heapq.heappop(heap)
                if lane in self._open:
                    missing.add(lane)
            if most is not None:
                most -= 1
            yield item
