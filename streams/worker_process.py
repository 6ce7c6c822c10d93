"""Runs a worker until it is told to end, or has to."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import threading
from collections.abc import Callable
from typing import Protocol

import uvloop

from streams import garbage
from streams.app import Worker
from streams.cancelling import cancel_until_done
from streams.failpoints import failpoint
from streams.logs import configure_logging, log_event
from streams.loop import Loop
from streams.output import OutputRefused
from streams.settings import Settings
from streams.stores import StoreMisconfigured

logger = logging.getLogger("streamscore.worker")

# A supervisor kills after its own grace period (docker: 10 s); what is not finished then is repeated.
_STOP_S = 9.0


class Runnable(Protocol):
    """What is run here: a `Worker`."""

    ended: asyncio.Event
    failure: BaseException | None

    async def start(self) -> None: ...
    async def stop(self) -> None: ...
    def fail(self, error: BaseException) -> None: ...


def run(settings: Settings) -> int:
    """Run a worker in this process.

    Returns
    -------
    int
        Exit status: 0 after SIGINT or SIGTERM, 1 if it ended on its own.
    """
    configure_logging(settings.worker.log_level, settings.worker.log_format)
    with garbage.looked_at_once():
        return run_until_told(lambda: Worker(settings))


def run_until_told(make_worker: Callable[[], Runnable], *, stop_s: float = _STOP_S) -> int:
    """Run a worker until SIGINT or SIGTERM, or until it fails; whatever hangs then, the process ends.

    Parameters
    ----------
    stop_s
        How long an end in order may take. A second later the process ends without it.
    """
    return uvloop.run(_run(make_worker, stop_s), loop_factory=Loop)


async def _run(make_worker: Callable[[], Runnable], stop_s: float) -> int:
    if failpoint.name:
        log_event(logger, logging.WARNING, "this worker will be killed by a test", failpoint=failpoint.name)
    worker = make_worker()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, worker.ended.set)
    starting = asyncio.create_task(worker.start())
    ended = asyncio.create_task(worker.ended.wait())
    await asyncio.wait([starting, ended], return_when=asyncio.FIRST_COMPLETED)
    if starting.done() and starting.exception() is not None:
        worker.fail(starting.exception())  # type: ignore[arg-type]
        if not isinstance(starting.exception(), OutputRefused | StoreMisconfigured):  # these say all there is to say
            logger.error("start failed", exc_info=starting.exception())
    await ended
    _end_anyway(stop_s + 1.0, status=0 if worker.failure is None else 1)
    await cancel_until_done([starting], within_s=1.0)
    try:
        await asyncio.wait_for(worker.stop(), stop_s)
    except TimeoutError:
        log_event(logger, logging.WARNING, "not everything ended in time; what is unfinished will be repeated")
    if worker.failure is not None:
        log_event(logger, logging.ERROR, "worker ended with an error", why=str(worker.failure))
        return 1
    log_event(logger, logging.INFO, "worker ended")
    return 0


def _end_anyway(after_s: float, *, status: int) -> None:
    """End the process if it has not ended by then: a task that cannot be cancelled would hold it for ever."""
    timer = threading.Timer(after_s, os._exit, [status])
    timer.daemon = True
    timer.start()
