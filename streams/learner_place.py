"""Where a learner goes on: what its checkpoints say, held against the log that is there.

Between two sessions `examples` may have got more partitions, so that an objective's examples come on another one; it
may have been deleted and created anew; a broker may have lost the log's end, or retention taken its beginning. Offsets
alone do not show it. So a checkpoint names its log, and the timestamp of the record that was read last; that record is
looked up before anything is learned.

- The models go on with all they have learned, and their versions upwards (`LearningCore.go_on`): scorers follow a
  higher version only.
- What a partition still holds of an objective that has left it is learned first. The examples on the new partition are
  younger, and behind them those of the old one would pass for repeated.
- A log that is not the one which was read is read from its beginning. If it holds again what was learned before, that
  is dropped: a checkpoint knows the last example of each source. So nothing is learned twice, and nothing left out.
- What retention took before it was read is gone. All of it is told in the log, at level warning.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection, Sequence
from functools import partial
from typing import Any, Protocol

from online_models.learning import LearningCore
from online_models.records import Record
from streams.example_log import ExampleLog, Extent
from streams.logs import log_event
from streams.runner import Attempt

logger = logging.getLogger("streamscore.learner")

# A leader that was just elected may not tell at once up to where its log is valid.
_LOOKS = 3
_LOOK_S = 1.0
# What is left in another partition is kept in checkpoints on the way: after so many records, a few seconds' worth.
_SAVE_EVERY = 50_000


class PartitionsChanged(RuntimeError):
    """A topic has not the partitions with which this worker has started: it has to be started again."""

    def __init__(self, topic: str, now: int, before: int) -> None:
        super().__init__(
            f"The topic {topic} has {now} partitions and had {before} when this worker started, so it would read and "
            "write examples in the wrong place. It ends; start it again, and all other workers with it"
        )


class Learning(Protocol):
    """What is asked of a learner's session here."""

    async def learn_rest(self, names: Collection[str], records: Sequence[Record]) -> None:
        """Learn records of another partition, for some of the models."""

    async def save(self) -> None: ...

    def exchange(self, name: str, offset: int, *, topic: str, partition: int) -> None:
        """Have a model go on in another log."""


class Place:
    """The partition that a learner has been given.

    Parameters
    ----------
    partitions
        Number of the topic's partitions that this worker goes by.
    """

    def __init__(self, topic: str, partition: int, partitions: int, *, log: ExampleLog, attempt: Attempt) -> None:
        self._topic = topic
        self._partition = partition
        self._partitions = partitions
        self._log = log
        self._attempt = attempt

    async def take_up(self, cores: Sequence[LearningCore], session: Learning) -> None:
        """Lead every model to where it is to read on; raises PartitionsChanged and Fenced."""
        now, start = await self._extent(self._partition)
        if now != self._partitions:
            raise PartitionsChanged(self._topic, now, self._partitions)
        stayers: list[LearningCore] = []
        movers: dict[int, list[LearningCore]] = {}
        for core in cores:
            reading = core.reading
            moves = reading.topic and reading.partition != self._partition
            (movers.setdefault(reading.partition, []) if moves else stayers).append(core)
        for number, some in movers.items():
            await self._leave(number, some, session)
            self._exchange(some, self._partition, start, session)
        await self._stay(stayers, self._partition, start, session)
        await session.save()

    async def _leave(self, number: int, cores: Sequence[LearningCore], session: Learning) -> None:
        """Learn what is left in a partition that models were on until now."""
        if number >= self._partitions:
            self._say(
                "the objective's examples come on another partition now, and that of before is gone: what was unread "
                "there is lost; the model keeps what it has learned",
                cores,
                goes_on_in=self._partition,
            )
            return
        self._say(
            "the objective's examples come on another partition now; what is left on that of before is learned first",
            cores,
            goes_on_in=self._partition,
        )
        await self._stay(cores, number, (await self._extent(number)).start, session)
        await self._attempt(partial(self._learn_rest, number, cores, session), "read the partition of before")

    async def _stay(self, cores: Sequence[LearningCore], number: int, start: int, session: Learning) -> None:
        """Make sure that a partition is read on where it is the log that was read, and otherwise from its beginning."""
        for core in cores:
            core.reading.topic, core.reading.partition = self._topic, number
        if cores and await self._is_another(number, cores):
            behind = [core for core in cores if core.read_to > start]
            self._say(
                "the examples that were read last are not in the log: the topic was created anew, or a broker has lost "
                "its end. It is read from its beginning; the model keeps what it has learned",
                behind,
                goes_on_at=start,
            )
            self._exchange(behind, number, start, session)
        for core in cores:
            if 0 < core.read_to < start:
                self._say(
                    "retention has deleted examples before they were read; learning goes on behind them",
                    [core],
                    goes_on_at=start,
                    records_at_most=start - core.read_to,
                )
            core.has_read(start, -1)

    def _exchange(self, cores: Sequence[LearningCore], number: int, start: int, session: Learning) -> None:
        for core in cores:
            session.exchange(core.objective, start, topic=self._topic, partition=number)

    async def _learn_rest(self, number: int, cores: Sequence[LearningCore], session: Learning) -> None:
        names = frozenset(core.objective for core in cores)
        read = unsaved = 0
        async for records in self._log.rest(number, min(core.read_to for core in cores)):
            await session.learn_rest(names, records)
            read += len(records)
            unsaved += len(records)
            if unsaved >= _SAVE_EVERY:
                await session.save()
                unsaved = 0
        log_event(logger, logging.WARNING, "partition of before read to its end", partition=number, records=read)

    async def _is_another(self, number: int, cores: Sequence[LearningCore]) -> bool:
        """Whether a partition is not the log that these models were read from."""
        last = max(cores, key=lambda core: core.read_to)
        last_ms = last.reading.last_ms if last.reading.next_offset == last.read_to else -1
        for look in range(_LOOKS):
            if look:
                await asyncio.sleep(_LOOK_S)
            if last.read_to <= (await self._extent(number)).start:
                return False  # nothing to compare: nothing was read, or what was read last is no longer kept
            found = await self._attempt(partial(self._log.time_of, number, last.read_to - 1), "look up an example")
            if found is not None:
                return last_ms not in (-1, found)
        return True

    async def _extent(self, number: int) -> Extent:
        return await self._attempt(partial(self._log.extent, number), "look at the log of examples")

    def _say(self, what: str, cores: Sequence[LearningCore], **details: Any) -> None:
        for core in cores:
            log_event(
                logger,
                logging.WARNING,
                what,
                objective=core.objective,
                partition=core.reading.partition,
                read_to=core.read_to,
                version=core.version,
                **details,
            )
