"""How many triggers of a partition wait for their labels, also when visitors are lost with theirs.

The triggers stand in the states of the visitors. When the store loses a state (its time to live is over, or it was
evicted), nobody can tell how many waited there: they would be counted for ever, an idle partition would be ticked for
ever, and finally nothing more would be opened. But none waits beyond the end of its window. So they are counted by the
time at which that ends, and what is left of a span that is over was lost.

Where nothing is lost nothing is ever left, so that replays, which lose nothing, count the same.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from online_models.objectives import Objective
from schemas.user_state import PartitionMeta

# Spans of 2 ** 24 ms, that is 4 h 40 min: six of them, or five bytes each in the store, for a window of a day.
SPAN_BITS = 24
_MOVED_AT_ONCE = 1_000


class OpenCount:
    """Counts what waits, in all and by the span of event time in which its window ends.

    Parameters
    ----------
    total, by_end
        What the store held; a version before has counted in all only.
    latest_ms
        When at the latest the windows end that are not in `by_end`, epoch ms.

    Attributes
    ----------
    about
        Triggers that wait, to be read for each event: too low by those of lost visitors who come back within a batch.
    """

    def __init__(self, total: int = 0, by_end: Mapping[int, int] | None = None, *, latest_ms: int = 0) -> None:
        self._by_end = dict(by_end or {})
        not_told = total - sum(self._by_end.values())
        if not_told > 0:
            span = latest_ms >> SPAN_BITS
            self._by_end[span] = self._by_end.get(span, 0) + not_told
        self.about = sum(self._by_end.values())
        self._tidied_to = 0
        # Ends of windows that were opened, or (all bits turned over) closed, in order: put into spans batch by batch.
        self._moved: list[int] = []

    @property
    def total(self) -> int:
        """Triggers that wait."""
        self._settle()
        return self.about

    def by_end(self) -> dict[int, int]:
        """Return the counts by span, earliest first, for the store."""
        self._settle()
        return dict(sorted(self._by_end.items()))

    def opened(self, due_ms: int) -> None:
        """Count a trigger whose window ends at `due_ms`."""
        self.about += 1
        self._moved.append(due_ms)
        if len(self._moved) > _MOVED_AT_ONCE:  # a replay knows no batches
            self._settle()

    def closed(self, due_ms: int, n: int = 1) -> None:
        """Count `n` triggers less, whose windows ended at `due_ms`, or would have."""
        self.about -= n
        if n == 1:
            self._moved.append(~due_ms)
        else:
            self._moved += [~due_ms] * n

    def _settle(self) -> None:
        by_end, moved = self._by_end, self._moved
        if not moved:
            return
        for end_ms in moved:
            if end_ms >= 0:
                span = end_ms >> SPAN_BITS
                by_end[span] = by_end.get(span, 0) + 1
                continue
            span = ~end_ms >> SPAN_BITS
            if span not in by_end:  # counted by a version before, which did not tell when it ends, or not at all
                if not by_end:
                    continue
                span = min(by_end)
            if by_end[span] > 1:
                by_end[span] -= 1
            else:
                del by_end[span]
        moved.clear()
        self.about = sum(by_end.values())

    def tidy(self, now_ms: int) -> None:
        """Leave out what was lost; to be called when all windows up to stream time `now_ms` are closed."""
        self._settle()
        now = now_ms >> SPAN_BITS
        if now == self._tidied_to:
            return
        self._tidied_to = now
        for span in [one for one in self._by_end if one < now]:
            self.about -= self._by_end.pop(span)


def count_of(meta: PartitionMeta | None, objectives: Sequence[Objective]) -> OpenCount:
    """Return the count of a partition, as the store held it; None: of a new one."""
    if meta is None:
        return OpenCount()
    longest_ms = max((one.closes_after_ms for one in objectives), default=0)
    return OpenCount(meta.open_count, meta.open_by_end, latest_ms=meta.stream_time_ms + longest_ms)
