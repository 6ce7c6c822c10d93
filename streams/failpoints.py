"""Places at which a test may kill the process, to see what becomes of it. Off unless a variable says otherwise.

``STREAMSCORE_FAILPOINT=published:3`` kills the worker, as a power cut would, when it comes to that place for the third
time. Production does not set it, and a worker that runs with it says so at the start.
"""

from __future__ import annotations

import os
import signal
import threading

POINTS = (
    "published",  # outputs acknowledged, state not stored
    "saving",  # the state is on its way to the store
    "saved",  # state stored, not acknowledged to the transport
    "checkpointing",  # a piece of the learner's checkpoint is sent
    "checkpointed",  # checkpoint stored, the model that follows from it not published
    "model_published",  # model published, no checkpoint of it
    "in_transaction",  # outputs and offset sent, transaction not committed
    "committed",  # transaction committed, state not stored
)
# The write is under way for about this long.
_MOMENT_S = 0.0005


class Failpoint:
    """Kills this process at a place.

    Parameters
    ----------
    armed
        ``name:count``; empty: never.
    """

    def __init__(self, armed: str) -> None:
        self.name, _, count = armed.partition(":")
        self._left = int(count or 1)
        if self.name and self.name not in POINTS:
            raise ValueError(f"Expected STREAMSCORE_FAILPOINT to be one of {', '.join(POINTS)}, got {self.name!r}")

    def __call__(self, name: str) -> None:
        """Note that the process has come to a place."""
        if name != self.name:
            return
        self._left -= 1
        if self._left == 0:
            if name == "saving":
                threading.Timer(_MOMENT_S, _die).start()
            else:
                _die()


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


failpoint = Failpoint(os.environ.get("STREAMSCORE_FAILPOINT", ""))
