"""Whether events come in the order of their times.

Files are replayed in the order of their rows. A row that is dated far ahead of its neighbours, or files that
are named the wrong way round, leave all that follows behind the stream's time: windows are closed, events are
late, and models, which reach the scorers as event time goes on, stand still.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime

_HOUR_MS = 3_600_000
# Streams that were put together from several servers' logs have some; where it is one in a hundred, something is wrong.
_WRONG = 0.01


class TimeOrder:
    """Counts events that lie far behind one that came before them; made from `state` to go on."""

    def __init__(
        self, events: int = 0, behind: int = 0, latest_ms: int = 0, from_ms: int = 0, to_ms: int = 0, step_at: int = 0
    ) -> None:
        self._events = events
        self._behind = behind
        self._latest_ms = latest_ms
        self._step = (from_ms, to_ms, step_at)  # the largest forward

    def see(self, times: Iterable[int]) -> None:
        """Take the times of the next events, epoch ms."""
        times = list(times)
        if times and self._latest_ms:
            low, high = min(self._latest_ms, *times), max(self._latest_ms, *times)
            if high - low <= _HOUR_MS:  # as nearly always: neither behind nor a step worth a word
                self._events, self._latest_ms = self._events + len(times), high
                return
        latest_ms, behind = self._latest_ms, self._behind
        from_ms, to_ms, _ = self._step
        largest_ms = to_ms - from_ms
        number = self._events
        for ts in times:
            number += 1
            if ts > latest_ms:
                if ts - latest_ms > largest_ms and latest_ms:
                    largest_ms = ts - latest_ms
                    self._step = (latest_ms, ts, number)
                latest_ms = ts
            elif latest_ms - ts > _HOUR_MS:
                behind += 1
        self._events, self._behind, self._latest_ms = number, behind, latest_ms

    def notes(self) -> list[str]:
        """Return what is to be said of the order: nothing, if all is well.

        Examples
        --------
        >>> order = TimeOrder()
        >>> order.see(range(1_000_000_000_000, 1_000_000_200_000, 1000))
        >>> order.notes()
        []
        >>> order.see([1_600_000_000_000, *range(1_000_000_200_000, 1_000_000_210_000, 1000)])
        >>> order.notes()[0][:98]
        '10 of 211 events lie more than an hour behind an earlier one (event 201 is dated 2020-09-13 12:26 '
        """
        if self._behind < _WRONG * self._events or not self._behind:
            return []
        from_ms, to_ms, number = self._step
        since = f" (event {number:,} is dated {_moment(to_ms)}, those before it to {_moment(from_ms)})"
        return [
            f"{self._behind:,} of {self._events:,} events lie more than an hour behind an earlier one"
            + (since if to_ms - from_ms > _HOUR_MS else "")
            + ": they may count as late, and no model changes until their time is past that of the earlier one. "
            "Are rows and files in the order of their times?"
        ]

    def state(self) -> list[int]:
        """Return everything as plain values."""
        return [self._events, self._behind, self._latest_ms, *self._step]


def _moment(ms: int) -> str:
    return f"{datetime.fromtimestamp(ms / 1000, UTC):%Y-%m-%d %H:%M} UTC"
