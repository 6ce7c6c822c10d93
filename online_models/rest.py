"""Visitors at rest: what of a visitor's state becomes smaller once the visitor has left.

Most of the visitors that a store holds are away, and what is away is not written again before they come back. So when
a window of theirs closes, which is written anyway, the state is made smaller:

- `QUIET_MS` after the last event, the accumulators are packed tightly (`schemas.resting`). Windows that close later do
  not touch them, and the next event of the visitor unpacks them: a visit pays for it once.
- `MAX_LATE_MS` after the last event, the recent ids go: a repeat of any of them would be passed over as late. The
  visitor's timer is set to that moment, behind the windows; in the log it is a place like any other, so live, replay
  and recovery forget at the same event.

Visitors without windows of a quarter of an hour or more keep their state as it is: setting a timer after each of many
short windows would cost more than it saves.
"""

from __future__ import annotations

from online_models.duplicates import MAX_LATE_MS
from schemas.codec import pack_resting, unpack_resting
from schemas.user_state import UserState

# Less than the window of half an hour that visits are mostly given, which begins before their last event; more than
# most pauses between two pages.
QUIET_MS = 15 * 60_000


def rest(user: UserState, now_ms: int, next_ms: int | None) -> int | None:
    """Make the state of a visitor smaller, in place, who has been away for `QUIET_MS` or more.

    Parameters
    ----------
    now_ms
        The time of the timer that has brought us here, epoch ms; not stream time, which depends on other visitors.
    next_ms
        When a window of the visitor closes next; None: none is open.

    Returns
    -------
    int or None
        When to come again; None: never.
    """
    if user.resting is None:
        pack_resting(user)
    if user.recent_ids:
        late_ms = user.last_ts + MAX_LATE_MS + 1
        if late_ms > now_ms:
            return late_ms if next_ms is None else min(late_ms, next_ms)
        user.recent_ids = b""
    return next_ms


def wake(user: UserState) -> None:
    """Put the accumulators of a visitor who has come back into their places."""
    unpack_resting(user)
