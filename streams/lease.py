"""Notices that this process did not run for longer than its group waits for it.

A process that was stopped, swapped out or moved goes on where it was and does not know that others have its partitions
by now. What it would write to the store is refused by the offset; what it would publish is not. So before publishing
the time since it last ran is looked at: after a gap in which the group may have given it up, nothing of what it held
before counts.
"""

from __future__ import annotations

import time
from collections.abc import Callable


class Lease:
    """Counts the stretches of time in which the process ran without a gap.

    To be asked often, also while nothing happens.

    Parameters
    ----------
    gap_s
        The shortest gap after which another process may own what we held.

    Examples
    --------
    >>> now = 0.0
    >>> lease = Lease(gap_s=8.0, clock=lambda: now)
    >>> now = 7.0; lease.term()
    0
    >>> now = 16.0; lease.term()
    1
    """

    def __init__(self, *, gap_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._gap_s = gap_s
        self._clock = clock
        self._seen = clock()
        self._term = 0

    def term(self) -> int:
        """Return the number of the present stretch; whoever began in another one must let go."""
        now = self._clock()
        if now - self._seen > self._gap_s:
            self._term += 1
        self._seen = now
        return self._term
