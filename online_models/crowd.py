"""Crowd counts: what all visitors did with the items, counted by one learner and read by every scorer.

Partitions are keyed by user, so a scorer sees some visitors only. What its events tell of items travels as examples
of an objective of its own, `CROWD`, which no model predicts: a counter's name to the height that the event adds to it
(see `features.decay`). The learner adds them up, and its counters reach the scorers as weights of a model do, with a
version that is an offset of `examples`. Hence everything that holds for models holds for counts: a crash repeats
nothing, a version can be rebuilt, a scorer may start at any time.

Heights of one half-life compare without knowing the time. So a table that has outgrown its bound forgets what weighs
least, whenever that was seen last; what is forgotten is published with the height `GONE`, and scorers forget it too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from math import isfinite
from typing import Any, Protocol

import msgspec
from msgspec import Struct

from online_models.clusters import Saved
from online_models.features import FeatureSet
from online_models.features.decay import raised
from online_models.features.leaders import Leaders
from online_models.features.plan import PREFIX, CrowdTable
from online_models.guard import NOT_FINITE, OUT_OF_RANGE
from online_models.objectives import Objective
from online_models.segments import SegmentTable
from schemas.codec import UNDECODABLE, BadRecord, undecodable
from schemas.dead_letters import INVALID

CROWD = "crowd"
NAME = "crowd_counts"
CROWD_OBJECTIVE = Objective(
    name=CROWD, trigger=(), outcome=(), match="user", window_ms=0, features=(), model={"name": NAME}
)
# The landmark of heights lies in the past, so no counter comes to it.
GONE = 0.0
FORMAT = 1
# A height is a time, in half-lives or hours since a landmark, or what segments are made of: a million at most. Beyond
# this it is neither.
_MAX_HEIGHT = 1e15
# So much of a full table goes at once: sorting costs as much for one counter as for many.
_FORGOTTEN_SHARE = 10


class CrowdView(Protocol):
    """Crowd counts as whoever scores sees them.

    Attributes
    ----------
    weights
        Heights of the counters, by name; another mapping after the next version has come.
    version
        Offset of `examples` up to which (exclusive) they were counted; 0: nothing is known.
    leaders
        Who leads the groups of tables that are led.
    """

    @property
    def weights(self) -> Mapping[str, float]: ...
    @property
    def version(self) -> int: ...
    @property
    def leaders(self) -> Leaders: ...


class Nobody:
    """A crowd of which nothing is known."""

    weights: Mapping[str, float] = {}
    version = 0
    leaders = Leaders({})


def crowd_of(features: FeatureSet, replicas: Mapping[str, Any]) -> CrowdView:
    """Return the crowd's replica among those of the models; nobody, if no feature needs it."""
    crowd: CrowdView = replicas[CROWD] if features.crowd_tables else Nobody()
    return crowd


_COMBINED: dict[str, Callable[[float, float], float]] = {"sum": raised, "lowest": min, "highest": max}


class _Saved(Struct, array_like=True):
    format: int
    heights: dict[str, float]
    segments: dict[str, Saved] = {}


_pack = msgspec.msgpack.Encoder().encode
_unpack = msgspec.msgpack.Decoder(_Saved).decode


class CrowdCounts:
    """Counters of crowd tables; learns what events tell, in the place of an estimator.

    Parameters
    ----------
    tables
        By prefix. Names of other tables are passed over: their scorers have another configuration.

    Attributes
    ----------
    weights
        Heights of all counters, by name.
    leaders
        Their leaders.

    Examples
    --------
    >>> table = CrowdTable("views", lambda prefix: None, frozenset(), most=2)
    >>> counts = CrowdCounts({table.prefix: table})
    >>> for item, height in (("a", 1.0), ("b", 2.0), ("b", 2.0), ("c", 1.5)):
    ...     counts.learn_one({table.prefix + item: height}, True)
    >>> {name.removeprefix(table.prefix): height for name, height in counts.weights.items()}
    {'b': 3.0, 'c': 1.5}
    """

    name = NAME
    intercept = 0.0

    def __init__(self, tables: Mapping[str, CrowdTable]) -> None:
        self.weights: dict[str, float] = {}
        self.leaders = Leaders(tables)
        self._tables = dict(tables)
        self._sizes = dict.fromkeys(tables, 0)
        self._segments = {
            prefix: SegmentTable(prefix, table.clusters) for prefix, table in tables.items() if table.clusters
        }
        self._changed: dict[str, None] | None = None  # until somebody asks

    @staticmethod
    def refusal(x: Mapping[str, float]) -> str | None:
        """Tell why something must not be counted; None: it may. However many items it names."""
        for height in x.values():
            if not -_MAX_HEIGHT <= height <= _MAX_HEIGHT:
                return OUT_OF_RANGE if isfinite(height) else NOT_FINITE
        return None

    def learn_one(self, x: Mapping[str, float], y: bool) -> None:
        """Add what an event tells; `y` is always true."""
        heights, changed = self.weights, self._changed
        for segments in self._segments.values():
            x, numbers = segments.learned(x)
            heights.update(numbers)
            if changed is not None:
                changed.update(dict.fromkeys(numbers))
        for name, at in x.items():
            before = heights.get(name)
            if before is None:
                if not self._take_on(name):
                    continue
                heights[name] = at
            else:
                after = _COMBINED[self._tables[name[:PREFIX]].keeps](before, at)
                if after == before:
                    continue
                heights[name] = after
            if self.leaders:
                self.leaders.moved(name, before, heights[name], heights)
            if changed is not None:
                changed[name] = None

    def _take_on(self, name: str) -> bool:
        """Make room for a new counter; tell whether its table is known."""
        prefix = name[:PREFIX]
        table = self._tables.get(prefix)
        if table is None:
            return False
        if self._sizes[prefix] >= table.most:
            self._forget(prefix, 1 + table.most // _FORGOTTEN_SHARE)
        self._sizes[prefix] += 1
        return True

    def _forget(self, prefix: str, count: int) -> None:
        lowest = sorted((height, name) for name, height in self.weights.items() if name.startswith(prefix))[:count]
        for height, name in lowest:
            del self.weights[name]
            self.leaders.moved(name, height, None, self.weights)
            if self._changed is not None:
                self._changed[name] = None
        self._sizes[prefix] -= len(lowest)

    def predict_proba_one(self, x: Mapping[str, float]) -> dict[bool, float]:
        """Return what every estimator returns; counts predict nothing."""
        return {True: 0.5, False: 0.5}

    def take_changed(self) -> list[str]:
        """Return the names of counters that changed or were forgotten since the last call.

        The first call returns none: whoever asks takes all there is, and then what changes.
        """
        changed = list(self._changed or ())
        self._changed = {}
        return changed

    def weights_of(self, names: Iterable[str]) -> dict[str, float]:
        """Return counters by name; those that are forgotten are `GONE`."""
        return {name: self.weights.get(name, GONE) for name in names}

    def __len__(self) -> int:
        return len(self.weights)

    def to_bytes(self) -> bytes:
        """Return all counters, in their order."""
        segments = {prefix: one.clusters.state() for prefix, one in self._segments.items()}
        return _pack(_Saved(FORMAT, self.weights, segments))

    def restore(self, blob: bytes) -> None:
        """Take up what `to_bytes` gave, as far as it belongs to these tables; raises BadRecord."""
        try:
            saved = _unpack(blob)
        except UNDECODABLE as error:
            raise BadRecord(INVALID, f"crowd counts: {undecodable(error)}") from None
        if saved.format != FORMAT:
            raise BadRecord(INVALID, f"crowd counts: expected format {FORMAT}, got {saved.format}")
        self.weights = {name: height for name, height in saved.heights.items() if name[:PREFIX] in self._tables}
        self._sizes = dict.fromkeys(self._tables, 0)
        for name in self.weights:
            self._sizes[name[:PREFIX]] += 1
        for prefix, clusters in saved.segments.items():
            if prefix in self._segments:
                self._segments[prefix].clusters.restore(clusters)
        self._changed = None
        self.leaders.look_through(self.weights)
