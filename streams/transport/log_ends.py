"""Where logs end, also where no fetch tells it: for a partition whose records wait to be taken, aiokafka asks for none.

A lag that is counted from fetches alone stands still as soon as a partition is full, which is when it matters.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.consumer.subscription_state import Assignment
from aiokafka.errors import KafkaError
from faust.types import TP

from streams.cancelling import cancel_until_done

logger = logging.getLogger(__name__)

_STOP_S = 1.0


class LogEnds:
    """Asks for the ends of one consumer's partitions in the background, one question at a time for all of them.

    The question goes over the connection of the fetches, which it does not hold up: a broker answers it at once. One
    that is away is asked again after the consumer's request timeout.
    """

    def __init__(self) -> None:
        self._assignment: Any = None  # the one that was looked at last
        self._fetched_at: dict[TP, int | None] = {}  # as of the last look
        self._asked: dict[TP, tuple[int | None, int]] = {}  # when its last fetch before the answer was, and the end
        self._asking: asyncio.Task[None] | None = None

    def look(self, consumer: AIOKafkaConsumer, assignment: Assignment) -> None:
        """Ask for the ends of partitions for which no fetch was answered since the last look. Does not wait."""
        fetched_at = {TP(*tp): assignment.state_value(tp).timestamp for tp in assignment.tps}
        before = self._fetched_at if assignment is self._assignment else {}
        if assignment is not self._assignment:
            self._assignment, self._asked = assignment, {}
        self._fetched_at = fetched_at
        old = [tp for tp, at in fetched_at.items() if tp in before and before[tp] == at]
        if old and (self._asking is None or self._asking.done()):
            self._asking = asyncio.get_running_loop().create_task(self._ask(consumer, assignment, old))

    def asked(self, tp: TP, assignment: Assignment) -> int | None:
        """Return the end that was asked for; None when there is none, or a fetch was answered since."""
        if assignment is not self._assignment or tp not in self._asked:
            return None
        fetched_at, end = self._asked[tp]
        return end if assignment.state_value(tp).timestamp == fetched_at else None

    async def stop(self) -> None:
        """Ask no more."""
        if self._asking is not None:
            await cancel_until_done([self._asking], within_s=_STOP_S)

    async def _ask(self, consumer: AIOKafkaConsumer, assignment: Assignment, tps: Sequence[TP]) -> None:
        # Each by itself: of several, one whose leader is away would keep the others' answers from us.
        await asyncio.gather(*(self._ask_for(consumer, assignment, tp) for tp in tps))

    async def _ask_for(self, consumer: AIOKafkaConsumer, assignment: Assignment, tp: TP) -> None:
        try:
            ends = await consumer.end_offsets([TopicPartition(*tp)])
        except (KafkaError, OSError) as error:  # away, or about to stop: the next look asks again
            logger.debug("No end of %s-%d: %r", *tp, error)
            return
        if assignment is self._assignment and assignment.active:
            self._asked[tp] = assignment.state_value(tp).timestamp, ends[TopicPartition(*tp)]
