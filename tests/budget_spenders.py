"""Processes that draw from one budget ledger and spend, to be killed at any moment.

A partition's process keeps its state as a partition does: in a log, which its next process goes on with. An HTTP
process keeps nothing; its log, which only the test reads, counts each bid at what was reserved, the most that it may
cost. A line of a log is ``e <epoch>``, ``g <total granted>``, ``r <reserved>`` or ``w <cost>`` of what was reserved
last; without its newline it was not written.
"""

from __future__ import annotations

import asyncio
import os
import random
from pathlib import Path

from streams.budgets import CampaignDay, Entry, Limits, Purse, RedisLedger, Want
from streams.sections import RedisSettings
from streams.stores.redis_client import connect

DAY = CampaignDay("shoes", "2026-11-26")
PARTITIONS = ["events-0", "events-1", "events-2", "events-3"]
HIGHEST_BID = 1_500
TTL_MS = 3 * 86_400_000


def stop_file(log: Path) -> Path:
    """Where whoever started the processes says that they may end when nothing is left."""
    return log.with_name("stop")


def whole_lines(written: bytes) -> list[str]:
    """Without what is being written, or what a kill has cut off: a write is done a page at a time."""
    return written[: written.rfind(b"\n") + 1].decode().splitlines()


class Log:
    """What a holder knows, and the file that it knows it from."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.epoch, self.received, self.spent, self.reserved = "", 0, 0, 0
        written = path.read_bytes() if path.exists() else b""
        for line in whole_lines(written):
            self._learn(*line.split(" "))
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        os.ftruncate(self._file, written.rfind(b"\n") + 1)

    def write(self, kind: str, value: int | str) -> None:
        os.write(self._file, f"{kind} {value}\n".encode())
        self._learn(kind, str(value))

    def _learn(self, kind: str, value: str) -> None:
        if kind == "e":
            self.epoch = value
        elif kind == "g":
            self.received = max(self.received, int(value))
        elif kind == "r":
            self.reserved = int(value)
        else:
            self.spent, self.reserved = self.spent + int(value), 0

    @property
    def may_stop(self) -> bool:
        return stop_file(self._path).exists()

    @property
    def held(self) -> int:
        return self.received - self.spent - self.reserved


async def partition(ledger: RedisLedger, name: str, log: Log, budget: int, chance: random.Random) -> None:
    """Bid until nothing is left to draw and what is held is too little."""
    while True:
        entries = {DAY: Entry(log.received, 0, log.spent)}
        want = Want(20 * HIGHEST_BID, HIGHEST_BID, budget, log.received)
        answer = await ledger.draw(name, log.epoch, {DAY: want})
        if answer.epoch != log.epoch:
            log.write("e", answer.epoch)
        if not answer.drawn:
            await ledger.register(name, log.epoch, entries, expected=PARTITIONS)
            continue
        log.write("g", answer.drawn[DAY].total)
        if log.reserved:  # the notice of a win that a crash came before
            log.write("w", log.reserved)
        for _ in range(chance.randrange(40)):
            bid = chance.randrange(500, HIGHEST_BID)
            if bid <= log.held:
                log.write("r", bid)
                log.write("w", chance.randrange(bid // 2, bid + 1))
        await ledger.report(name, {DAY: Entry(log.received, 0, log.spent)})
        if not answer.drawn[DAY].left and log.held < HIGHEST_BID:
            if log.may_stop:
                return
            await asyncio.sleep(0.01)


async def http(ledger: RedisLedger, log: Log, budget: int, chance: random.Random) -> None:
    """Do the same out of a purse, until three refills have brought nothing."""
    purse = Purse(ledger, lambda: {DAY: Limits(budget, HIGHEST_BID)})
    in_vain = 0
    while in_vain < 3 or not log.may_stop:
        await purse.refill()
        in_vain = in_vain + 1 if purse.is_ready and purse.held(*DAY) < HIGHEST_BID else 0
        for _ in range(chance.randrange(40)):
            bid = chance.randrange(500, HIGHEST_BID)
            if purse.reserve(*DAY, bid):
                log.write("w", bid)
        await asyncio.sleep(0.01 if in_vain else 0)
    await purse.close()


async def main(url: str, prefix: str, name: str, path: str, budget: str, seed: str) -> None:
    ledger = RedisLedger(connect(RedisSettings(url=url, timeout="5s")), prefix=prefix, ttl_ms=TTL_MS)
    log, chance = Log(Path(path)), random.Random(seed)
    if name in PARTITIONS:
        await partition(ledger, name, log, int(budget), chance)
    else:
        await http(ledger, log, int(budget), chance)
    await ledger.close()


def spend(*arguments: str) -> None:
    """Run such a process: URL and prefix of the ledger, name, log, budget, seed."""
    asyncio.run(main(*arguments))
