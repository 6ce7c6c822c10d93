"""Notices transactions of others that stay open on a topic we read: records behind their beginning cannot be read yet.

Those records are no lag, since nobody could read them; without this, a topic that stands still for all its readers
looks like one on which nobody comes.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import NamedTuple

from faust.types import TP
from prometheus_client import Gauge

from streams.logs import log_event
from streams.transport.status import PartitionStatus

logger = logging.getLogger("streamscore.worker")

# Most transactions are over within seconds.
_LONG_S = 60.0


class _Open(NamedTuple):
    """What the end of a partition has stood at since when, and whether that has been told."""

    end: int | None
    since_s: float
    told: bool


class UnstableWatch:
    """Shows how many records wait for the end of a transaction that stays open, and logs, once, one of a minute."""

    def __init__(self) -> None:
        self._open: dict[TP, _Open] = {}

    def look(self, standing: Mapping[TP, PartitionStatus], gauge: Gauge, now_s: float) -> None:
        """Look at all partitions of the worker; call it every few seconds.

        Parameters
        ----------
        gauge
            Has the labels topic and partition; of partitions that are not ours it keeps nothing.
        now_s
            ``time.monotonic()``.
        """
        before, self._open = self._open, {}
        gauge.clear()
        for tp, status in standing.items():
            was = before.get(tp)
            where = {"topic": tp.topic, "partition": tp.partition}
            stands = status.unstable_records > 0 and was is not None and was.end == status.end
            # Where the end moves, transactions come to their ends; some are nearly always open then.
            gauge.labels(tp.topic, str(tp.partition)).set(status.unstable_records if stands else 0)
            if was is not None and was.told and not stands:
                log_event(logger, logging.INFO, "the open transaction is over", **where)
            if not status.unstable_records:
                continue
            now = was if stands and was is not None else _Open(status.end, now_s, told=False)
            if not now.told and now_s - now.since_s >= _LONG_S:
                now = now._replace(told=True)
                what = "a transaction of another producer stays open, nothing behind its beginning can be read"
                records = status.unstable_records
                log_event(logger, logging.WARNING, what, **where, offset=status.end, records=records)
            self._open[tp] = now
