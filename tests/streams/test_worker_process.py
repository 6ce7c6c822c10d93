"""However a worker's end goes, the process ends; and what it has loaded before it starts."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

WORKER = """
import asyncio, sys
from streams.worker_process import run_until_told

class Stubborn:
    failure = None

    def __init__(self):
        self.ended = asyncio.Event()

    def fail(self, error):
        self.failure = error
        self.ended.set()

    async def start(self):
        self.never = asyncio.create_task(self.hold())
        print("started", flush=True)
        if sys.argv[1] == "fails":
            self.fail(RuntimeError("broken"))

    async def hold(self):
        while True:
            try:
                await asyncio.sleep(3600)
            except asyncio.CancelledError:
                pass

    async def stop(self):
        if sys.argv[1] != "ends":
            await self.hold()

sys.exit(run_until_told(Stubborn, stop_s=0.5))
"""


@pytest.mark.parametrize(("how", "status"), [("ends", 0), ("hangs", 0), ("fails", 1)])
def test_a_task_that_does_not_let_itself_be_cancelled_does_not_hold_the_process(how: str, status: int) -> None:
    with subprocess.Popen([sys.executable, "-c", WORKER, how], stdout=subprocess.PIPE, text=True) as worker:
        assert worker.stdout is not None
        assert worker.stdout.readline() == "started\n"
        if how != "fails":
            worker.send_signal(signal.SIGTERM)

        assert worker.wait(30) == status


MODULES = """
import asyncio, sys
from streams.app import Worker
from streams.configs import shipped_config
from streams.settings import load_settings

async def main():
    settings = load_settings(shipped_config("shop"), {"STREAMSCORE_MODEL_KEY": "sixteen characters"})
    before = "river.tree" in sys.modules
    Worker(settings)
    print(before, "river.tree" in sys.modules)

asyncio.run(main())
"""


def test_what_a_model_of_river_needs_is_loaded_before_the_worker_starts() -> None:
    found = subprocess.run([sys.executable, "-c", MODULES], capture_output=True, text=True, check=True, timeout=60)

    assert found.stdout == "False True\n"
