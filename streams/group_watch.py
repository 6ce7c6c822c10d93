"""Ends a worker that its consumer group does not take in: it would stand still, look alive, and say nothing."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable

from online_models.features.durations import parse_duration_ms
from streams.faust_app import group_of
from streams.logs import kafka_client_said
from streams.settings import Settings
from streams.transport import Transport
from streams.transport.group import Place

# Between two looks lie some seconds. More than this, and we were held up; the group is not to be blamed for that.
_MOST_BETWEEN_LOOKS_S = 5.0


class GroupWatch:
    """Looks at a worker's place in its group.

    Parameters
    ----------
    fail
        Ends the worker with an error.
    """

    def __init__(self, settings: Settings, transport: Transport, fail: Callable[[BaseException], None]) -> None:
        self._group = group_of(settings)
        self._transport = transport
        self._fail = fail
        self._stall_s = parse_duration_ms(settings.worker.stall_timeout) / 1000
        # A group that others are slow to join again lets nobody in for so long.
        self._rebalance_s = float(transport.app.conf.broker_rebalance_timeout)
        self._looked_at_s: float | None = None
        # By place: after a long wait for others to join, the first moment without a coordinator would end us.
        self._outside_s: defaultdict[Place | None, float] = defaultdict(float)

    def look(self, now_s: float) -> None:
        """End the worker if the group refuses it, or has not taken it in for `stall_timeout`. Call it regularly."""
        try:
            self._transport.check_group()
        except Exception as error:
            self._fail(error)
            return
        before, self._looked_at_s = self._looked_at_s, now_s
        place = self._transport.place_in_group()
        if before is None or place is Place.MEMBER:
            self._outside_s.clear()
            return
        self._outside_s[place] += min(now_s - before, _MOST_BETWEEN_LOOKS_S)
        if self._outside_s[place] >= self._stall_s + (self._rebalance_s if place is Place.JOINING else 0.0):
            outside_s, said = round(sum(self._outside_s.values())), kafka_client_said()
            why = f"{self.why_outside}; Kafka's client said last: {said}" if said else self.why_outside
            self._fail(RuntimeError(f"for {outside_s} s this worker has been in no group: {why}"))

    @property
    def why_outside(self) -> str | None:
        """What is known of why the worker is no member of its group; None when it is one. It names no address."""
        place = self._transport.place_in_group()
        if place is Place.MEMBER:
            return None
        why = f"the group {self._group} has not taken it in yet"
        if place is Place.NO_COORDINATOR:
            why = (
                f"no broker coordinates the group {self._group}; all must be up, and as many as the brokers' "
                "offsets.topic.replication.factor asks for"
            )
        return why
