"""Starting processes of a replay so that Ctrl-C, which the terminal sends to all of them, ends none before its time."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import resource_tracker


@contextmanager
def interrupts_wait() -> Iterator[None]:
    """Let Ctrl-C wait while processes are started; none of it is lost, here or there.

    The processes begin with SIGINT blocked, since their first second, in which they import what they need, would
    otherwise end in a traceback. Each says itself when it is ready to hear: `hear_interrupts`.
    """
    resource_tracker.ensure_running()  # started by the first process of all; it would unblock SIGINT too early
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def hear_interrupts() -> None:
    """Let a process hear of Ctrl-C, also of one that came before."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
