"""Whether what this process holds is still its own: it may write only while its group confirms that.

A process that was stopped, swapped out, moved or cut off from its group goes on where it was, and does not know that
others have its partitions by now. What it would write to the store is refused by the offset; what it would publish is
not. So nothing is published unless the group's coordinator has said, not longer ago than it waits for a silent member,
that we are one.

Counted is from when the question was sent, by a clock that goes on while the process does not. The question is a
heartbeat of ours beside those of the Kafka client, whose answers it keeps to itself.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

from online_models.features.durations import parse_duration_ms
from streams.sections import KafkaSettings
from streams.stores import Fenced, Unavailable


def valid_s(kafka: KafkaSettings) -> float:
    """How long an answer of the group counts: less than it waits for us, and more than lies between two questions."""
    session_s, heartbeat_s = (parse_duration_ms(one) / 1000 for one in (kafka.session_timeout, kafka.heartbeat))
    return max(session_s / 2, session_s - heartbeat_s)


class Lease:
    """What the group has confirmed, and until when that counts.

    Parameters
    ----------
    valid_s
        How long a confirmation counts; shorter than the group's session timeout.
    ask
        Asks the coordinator whether we are a member of the present generation; None: it gave no answer.
    clock
        Seconds, never backwards.

    Attributes
    ----------
    term
        Number of the assignment at hand; whoever began in an earlier one must let go.
    """

    def __init__(
        self,
        *,
        valid_s: float,
        ask: Callable[[], Awaitable[bool | None]],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.term = 0
        self._valid_s = valid_s
        self._ask = ask
        self._clock = clock
        self._confirmed_s: float | None = None
        self._asking: asyncio.Task[None] | None = None
        self._is_member: bool | None = None

    def begin(self) -> int:
        """Begin with a new assignment, of which nothing is confirmed yet; return its term."""
        self.term += 1
        self._confirmed_s = self._asking = self._is_member = None
        return self.term

    @property
    def is_valid(self) -> bool:
        """Whether something may be written at this moment."""
        return self._confirmed_s is not None and self._clock() - self._confirmed_s <= self._valid_s

    async def check(self, term: int) -> None:
        """Return if what was taken up in `term` may be written now, after asking if need be.

        Raises
        ------
        Fenced
            Others may have it by now: let go.
        Unavailable
            The coordinator does not answer; repeat it.
        """
        if term == self.term and not self.is_valid:
            await self.renew()
        if term != self.term or self._is_member is False:
            raise Fenced("our place in the group", expected=f"that of assignment {term}", found="another, or none")
        if not self.is_valid:
            raise Unavailable("Kafka: the group's coordinator does not confirm that we are a member")

    async def renew(self) -> None:
        """Ask; several at a time ask once."""
        if self._asking is None or self._asking.done():
            self._asking = asyncio.ensure_future(self._ask_once())
        await asyncio.shield(self._asking)

    async def _ask_once(self) -> None:
        term, sent_s = self.term, self._clock()
        answer = await self._ask()
        if term != self.term:
            return  # it was about an earlier assignment
        if answer is not None:
            self._is_member = answer
        if answer:
            self._confirmed_s = sent_s
