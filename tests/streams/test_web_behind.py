"""Answers that were given reach the log, whatever happens to it meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import pytest

from streams.out_records import RecordTooLarge
from streams.stores import Unavailable
from streams.web.behind import MOST_WAITING, Answered, Behind


class Log:
    """Takes what it is given, or raises what it is told to."""

    def __init__(self) -> None:
        self.written: list[list[Answered]] = []
        self.faults: list[Exception] = []
        self.too_large: set[bytes] = set()
        self.open = asyncio.Event()
        self.open.set()
        self.behind = Behind(self.publish, self.attempt)

    async def publish(self, some: Sequence[Answered]) -> None:
        await self.open.wait()
        if self.faults:
            raise self.faults.pop(0)
        if any(value in self.too_large for _, value in some):
            raise RecordTooLarge("too large")
        self.written.append(list(some))

    async def attempt(self, step: Callable[[], Awaitable[Any]], name: str) -> Any:
        assert name == "write answers"
        while True:
            try:
                return await step()
            except Unavailable:
                await asyncio.sleep(0)

    @property
    def values(self) -> list[bytes]:
        return [value for some in self.written for _, value in some]


async def test_answers_that_are_given_within_a_moment_are_written_together_and_in_order() -> None:
    log = Log()

    for number in range(5):
        log.behind.write(f"u{number}", b"%d" % number)
    assert len(log.behind) == 5
    await log.behind.stop()

    assert log.written == [[(f"u{number}", b"%d" % number) for number in range(5)]]
    assert len(log.behind) == 0


async def test_what_is_answered_while_the_log_is_away_is_written_once_it_is_back() -> None:
    log = Log()
    log.faults = [Unavailable("away")] * 3

    log.behind.write("u", b"1")
    while log.faults:
        await asyncio.sleep(0.001)
    log.behind.write("u", b"2")
    await log.behind.stop()

    assert log.values == [b"1", b"2"]
    assert log.behind.flows


async def test_no_more_answers_wait_than_may() -> None:
    log = Log()
    log.open.clear()
    for number in range(MOST_WAITING // 2):
        log.behind.write("u", b"%d" % number)
    await asyncio.sleep(0.05)  # half of them are under way
    for number in range(MOST_WAITING // 2, MOST_WAITING):
        log.behind.write("u", b"%d" % number)

    with pytest.raises(Unavailable):
        log.behind.write("u", b"one too many")
    log.open.set()
    await log.behind.stop()

    assert log.values == [b"%d" % number for number in range(MOST_WAITING)]


async def test_what_the_log_refuses_is_said_and_keeps_nothing_else_from_it(caplog: pytest.LogCaptureFixture) -> None:
    log = Log()
    log.too_large = {b"2"}

    for number in range(4):
        log.behind.write("u", b"%d" % number)
    await log.behind.stop()

    assert log.values == [b"0", b"1", b"3"]
    assert not log.behind.flows
    assert "an answer that was given is not in the log" in caplog.text


async def test_stopping_does_not_wait_for_ever_and_says_what_is_lost(caplog: pytest.LogCaptureFixture) -> None:
    log = Log()
    log.open.clear()
    for number in range(3):
        log.behind.write("u", b"%d" % number)

    await log.behind.stop(limit_s=0.05)

    assert log.values == []
    [said] = [one for one in caplog.records if "are not in the log" in one.getMessage()]
    assert said.fields == {"answers": 3}  # type: ignore[attr-defined]
