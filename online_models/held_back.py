"""Held back: what is known of a trigger before its window has closed waits until then.

Under the policy `immediate` a positive is known when its outcome comes, a negative when the window has closed. Counted
at once, nearly all that is counted at first would be positive. The clock of its own partition tells when a window has
closed: while that one works off a backlog, others are hours ahead, and by their clocks its positives would count at
once, its negatives a window later.

Learners outlive a log: `events` can get another name. Of the windows that were open then no negatives come, so their
positives are given up, once the clock of the partition that has the same number now is past them. Kept by topic and
number they would wait for ever.
"""

from __future__ import annotations

from collections.abc import Sequence
from heapq import heappop, heappush
from typing import Any, Generic, TypeVar

from schemas.examples import Example

# Begins with the end of its window (epoch ms) and a number that makes rows unlike.
R = TypeVar("R", bound=tuple[Any, ...])


class HeldBack(Generic[R]):
    """Rows that wait for the ends of their windows: tuples that begin with (end in epoch ms, a number of its own)."""

    def __init__(self) -> None:
        # Heaps of (row, topic), by partition.
        self._waiting: dict[int, list[tuple[R, str]]] = {}
        # A heap of what an earlier version has stored, which noted no partition; without a topic.
        self._of_any: list[tuple[R, str]] = []
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def add(self, example: Example, row: R) -> None:
        """Hold back what an example has told."""
        self._count += 1
        heappush(self._of(example.partition), (row, example.topic))

    def released(self, example: Example) -> list[R]:
        """Take out what the clock of an example's partition has passed, in order."""
        now_ms, topic = example.released_ts, example.topic
        waiting, of_any = self._of(example.partition), self._of_any
        while of_any and of_any[0][0][0] <= now_ms:
            heappush(waiting, heappop(of_any))
        found = []
        while waiting and waiting[0][0][0] <= now_ms:
            row, of_topic = heappop(waiting)
            self._count -= 1
            if of_topic in (topic, ""):
                found.append(row)
        return found

    def earliest(self) -> R:
        """Take out the earliest row of the partition that has most; raises ValueError if nothing waits."""
        _, _, most = max(((len(one), partition, one) for partition, one in self._waiting.items()), default=(0, 0, []))
        row, _ = heappop(min((one for one in (most, self._of_any) if one), key=lambda heap: heap[0]))
        self._count -= 1
        return row

    def _of(self, partition: int) -> list[tuple[R, str]]:
        waiting = self._waiting.get(partition)
        if waiting is None:
            waiting = self._waiting[partition] = []
        return waiting

    def state(self) -> list[list[Any]]:
        """Return rows as flat lists, each behind its topic and partition."""
        return [
            *(list(row) for row, _ in self._of_any),
            *(
                [[topic, partition], *row]
                for partition, waiting in sorted(self._waiting.items())
                for row, topic in waiting
            ),
        ]

    def restore(self, state: Sequence[Sequence[Any]]) -> None:
        """Take up what `state` gave; rows without a partition go with the first clock that passes them."""
        self._waiting, self._of_any, self._count = {}, [], len(state)
        row: Any
        for first, *others in state:
            if isinstance(first, int):
                row = (first, *others)
                self._of_any.append((row, ""))
            else:
                topic, partition = first
                row = tuple(others)
                self._of(partition).append((row, topic))
