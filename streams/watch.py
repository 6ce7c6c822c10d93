"""Follows what becomes of fed events: until the worker is done with them, and then what came out."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.structs import ConsumerRecord

from schemas.codec import BadRecord, decode_bid, decode_example, decode_metric, decode_score
from schemas.metrics import Accounting
from streams.dead import parse_dead
from streams.feed import FeedResult
from streams.reading import end_offsets, read_until_quiet, reader
from streams.reconcile import AccountingBook, Ranges, Reconciliation
from streams.settings import Settings

# All of a batch is acknowledged before its offset moves, so what is there can be read at once;
# the pause covers a slow machine.
_QUIET_S = 3.0


class WorkerSilent(RuntimeError):
    """No worker has moved on for too long."""


class Watch:
    """Knows where the output topics stood before the feeding began.

    Use: `start`, feed, `wait`, `report`.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._start: dict[TopicPartition, int] = {}
        self._finished_ms = 0

    async def start(self) -> None:
        """Note the ends of the output topics."""
        topics = self._settings.topics
        names = [topics.scores.name, topics.examples.name, topics.metrics.name, topics.dead.name]
        names += [topics.bids.name] if self._settings.bidding else []
        self._start = await end_offsets(self._settings.kafka, names)

    async def wait(
        self, fed: FeedResult, *, silent_s: float, on_progress: Callable[[int, int], None] = lambda done, total: None
    ) -> None:
        """Wait until the worker has finished with all that was fed.

        Raises
        ------
        WorkerSilent
            Nothing moved for `silent_s` seconds.
        """
        book = AccountingBook(fed.ranges)
        moved = time.monotonic()
        async with self._reader(self._settings.topics.metrics.name) as consumer:
            while book.covered < book.total:
                before = book.covered
                for records in (await consumer.getmany(timeout_ms=100)).values():
                    for record in records:
                        self._note(book, record, fed.ranges)
                on_progress(book.covered, book.total)
                if book.covered > before:
                    moved = time.monotonic()
                elif time.monotonic() - moved > silent_s:
                    raise WorkerSilent(
                        f"{book.total - book.covered} of {book.total} events wait, and for {silent_s:.0f} s no worker "
                        f"of {self._settings.app!r} has moved on. Is one running? Start it: `streamscore worker -c …`"
                    )

    def _note(self, book: AccountingBook, record: ConsumerRecord, ranges: Ranges) -> None:
        chunk = self._accounting(record)
        if chunk is not None:
            book.add(chunk)
            if chunk.partition in ranges:
                self._finished_ms = max(self._finished_ms, record.timestamp)

    def _accounting(self, record: ConsumerRecord) -> Accounting | None:
        try:
            metric = decode_metric(record.value or b"")
        except BadRecord:
            return None
        if not isinstance(metric, Accounting) or metric.topic != self._settings.topics.events.name:
            return None
        return metric

    def _reader(self, *topics: str) -> Any:
        return reader(self._settings.kafka, topics, start=self._start)

    async def report(self, fed: FeedResult) -> dict[str, Any]:
        """Read what came out since `start`, and account for every event."""
        found = Reconciliation(self._settings.topics.events.name, fed.ranges)
        topics = self._settings.topics
        await self._read(
            topics.metrics.name,
            lambda record: self._add_accounting(found, record),
            lambda: found.accounting.covered >= found.accounting.total,
        )
        counts, _ = found.accounting.sums()
        await self._read(
            topics.scores.name, lambda record: _add_score(found, record), lambda: found.scores_found >= counts["scores"]
        )
        await self._read(
            topics.bids.name, lambda record: _add_bid(found, record), lambda: found.bids_found >= counts["bids"]
        )
        await self._read(
            topics.dead.name, lambda record: _add_dead(found, record), lambda: found.dead_found >= counts["dead"]
        )
        await self._read(
            topics.examples.name,
            lambda record: _add_example(found, record),
            lambda: found.examples_found >= counts["examples"],
        )
        seconds = max(self._finished_ms - fed.started_ms, 1) / 1000
        return found.report(events=fed.acknowledged, seconds=seconds)

    def _add_accounting(self, found: Reconciliation, record: ConsumerRecord) -> None:
        chunk = self._accounting(record)
        if chunk is not None:
            found.accounting.add(chunk)

    async def _read(self, topic: str, add: Callable[[ConsumerRecord], None], complete: Callable[[], bool]) -> None:
        """Read a topic until all that was announced is there; what stays away is found missing."""
        if complete():
            return
        consumer: AIOKafkaConsumer
        async with self._reader(topic) as consumer:
            async for records in read_until_quiet(consumer, quiet_s=_QUIET_S):
                for record in records:
                    add(record)
                await asyncio.sleep(0)
                if complete():
                    return


def _add_score(found: Reconciliation, record: ConsumerRecord) -> None:
    try:
        found.add_score(decode_score(record.value or b""), record.timestamp)
    except BadRecord:
        found.unreadable += 1


def _add_bid(found: Reconciliation, record: ConsumerRecord) -> None:
    try:
        found.add_bid(decode_bid(record.value or b""))
    except BadRecord:
        found.unreadable += 1


def _add_example(found: Reconciliation, record: ConsumerRecord) -> None:
    try:
        found.add_example(decode_example(record.value or b""))
    except BadRecord:
        found.unreadable += 1


def _add_dead(found: Reconciliation, record: ConsumerRecord) -> None:
    dead = parse_dead(record)
    place = dead.source_place
    if place is not None:
        found.add_dead(*place, dead.reason)
