"""Four processes spend one budget, are killed at any moment and started again; now and then the ledger is lost."""

from __future__ import annotations

import asyncio
import multiprocessing
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import redis
from budget_ledgers import LosableRedis
from budget_spenders import DAY, PARTITIONS, spend, stop_file, whole_lines
from polling import eventually

from streams.budgets import Totals

# Each is forked from one that has imported everything and done nothing.
PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(["budget_spenders"])
HTTP = ["http-0", "http-1", "http-2", "http-3"]


class Spenders:
    """The processes, each with its log."""

    def __init__(self, url: str, prefix: str, names: list[str], folder: Path, budget: int) -> None:
        self._place, self._budget, self._folder = (url, prefix), budget, folder
        self._counted: dict[Path, tuple[int, int]] = {}
        self._running: dict[str, Any] = {}
        self.starts = 0
        for name in names:
            self.start(name)

    def start(self, name: str) -> None:
        self.starts += 1
        arguments = (*self._place, name, str(self._log(name)), str(self._budget), str(self.starts))
        self._running[name] = PROCESSES.Process(target=spend, args=arguments, daemon=True)
        self._running[name].start()

    def kill(self, name: str) -> None:
        self._running[name].kill()
        self._running[name].join()

    def end(self) -> list[int | None]:
        """Let them end once there is nothing to draw any more."""
        stop_file(self._log("any")).touch()
        for one in self._running.values():
            one.join(timeout=60)
        return [one.exitcode for one in self._running.values()]

    def _log(self, name: str) -> Path:
        return self._folder / f"{name}.log"

    @property
    def spent(self) -> int:
        """What the logs say, whatever any process or the ledger knows."""
        for path in self._folder.glob("*.log"):
            read, spent = self._counted.get(path, (0, 0))
            with path.open("rb") as log:
                log.seek(read)
                lines = whole_lines(log.read())
            spent += sum(int(line[2:]) for line in lines if line.startswith("w "))
            self._counted[path] = read + sum(len(line) + 1 for line in lines), spent
        return sum(spent for _, spent in self._counted.values())


@contextmanager
def spending(url: str, prefix: str, names: list[str], folder: Path, budget: int) -> Iterator[Spenders]:
    spenders = Spenders(url, prefix, names, folder, budget)
    try:
        yield spenders
    finally:
        for name in names:
            spenders.kill(name)


async def totals(url: str, prefix: str) -> Totals:
    ledger = LosableRedis.at(url, prefix)
    found = (await ledger.totals(DAY.day))[DAY.campaign]
    await ledger.close()
    return found


async def open_without_partitions(url: str, prefix: str) -> None:
    ledger = LosableRedis.at(url, prefix)
    epoch = (await ledger.draw("events-0", "", {})).epoch
    await ledger.register("events-0", epoch, {}, expected=["events-0"])
    await ledger.close()


def lose_everything(url: str, prefix: str) -> None:
    with redis.Redis.from_url(url) as client:
        client.unlink(*client.scan_iter(match=f"{prefix}:*"))


@pytest.mark.parametrize("losses", [0, 2])
def test_partitions_that_are_killed_spend_the_budget_and_no_more(
    losses: int, valkey_url: str, tmp_path: Path, unique: Callable[[str], str]
) -> None:
    budget, kills, chance, prefix = 16_000_000, 6, random.Random(7), unique("killed")
    with spending(valkey_url, prefix, PARTITIONS, tmp_path, budget) as spenders:
        for number in range(1, kills + 1):
            at = budget * 0.9 * (number - chance.random()) / kills
            eventually(lambda at=at: spenders.spent >= at, within_s=30)
            name = chance.choice(PARTITIONS)
            spenders.kill(name)
            if number % 3 == 0 and number <= 3 * losses:
                lose_everything(valkey_url, prefix)
            spenders.start(name)
        ends, spent = spenders.end(), spenders.spent

    assert ends == [0, 0, 0, 0]
    assert 0.97 * budget <= spent <= budget
    assert asyncio.run(totals(valkey_url, prefix)).spent == spent
    assert spenders.starts == 10


def test_http_processes_that_are_killed_lose_their_slices_and_overspend_nothing(
    valkey_url: str, tmp_path: Path, unique: Callable[[str], str]
) -> None:
    budget, kills, chance, prefix = 16_000_000, 5, random.Random(7), unique("killed")
    asyncio.run(open_without_partitions(valkey_url, prefix))
    with spending(valkey_url, prefix, HTTP, tmp_path, budget) as spenders:
        for number in range(1, kills + 1):
            at = budget * 0.8 * (number - chance.random()) / kills
            eventually(lambda at=at: spenders.spent >= at, within_s=30)
            name = chance.choice(HTTP)
            spenders.kill(name)
            spenders.start(name)
        ends, spent = spenders.end(), spenders.spent

    assert ends == [0, 0, 0, 0]
    # A killed one held at most twice what six refills of 39 bids at 1,500 use.
    assert budget - kills * 2 * 6 * 39 * 1_500 - 4 * 1_500 <= spent <= budget
    # What was reserved stays committed, whoever was killed or has closed.
    assert spent <= asyncio.run(totals(valkey_url, prefix)).committed <= budget
