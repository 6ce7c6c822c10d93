"""What crowd features count: tables of sums within groups, of what follows what, and of first sights.

What counters are called stands in `counter_names`. Sums are kept as heights, see `decay`.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from math import exp2
from operator import attrgetter
from typing import Any

from online_models.features.categories import normalized
from online_models.features.counter_names import escaped, total_name
from online_models.features.decay import LANDMARK_MS, raised
from online_models.features.fields import COMMON_FIELDS, PROPERTIES
from online_models.features.options import Options
from online_models.features.plan import Accumulator, Crowd, CrowdTable, Fold, ReadCrowd, Slots, Tell
from online_models.features.sessions import LAST, NUMBER, is_straggler, use_session

COUNTED = ("click", "page_view")
HOUR_MS = 3_600_000
# Below that heights outgrow what the learner's guard lets through.
_MIN_HALF_LIFE_MS = 600_000
_MAX_HALF_LIFE_MS = 366 * 86_400_000
DEFAULT_KEEP = 100_000
_MAX_TEXT = 128

# Places in the state of a trail: number of the session, its last keys, and whether the last event went on to another.
_SESSION, _KEYS, _MOVED = range(3)

# Half-lives that counts are ahead of an event from which on their size is beyond a double, and what is taken then.
_TOO_FAR, _FAR = 1024.0, 1000.0
MOST = sys.float_info.max

Key = Callable[[Any], str | None]
"""Reads a key or a group from an event; None: it has none."""


def reader(field: str) -> Key:
    """Return what reads a field of an event, as text."""
    if field.startswith(PROPERTIES):
        name = field.removeprefix(PROPERTIES)

        def read(event: Any) -> str | None:
            value = event.properties.get(name) if event.properties else None
            if type(value) is float:  # 1.0 is the group of 1, as one feature of both
                value = normalized(value)
            return str(value)[:_MAX_TEXT] if isinstance(value, str | int) else None

        return read
    if field in COMMON_FIELDS:
        return attrgetter(field)
    return lambda event: getattr(event, field, None)


class Counts:
    """Decayed sums of events by a field of theirs: what tables of one declaration have in common.

    Parameters
    ----------
    options
        ``of``, ``half_life`` and ``keep`` are read from it.
    field
        Of the event, whose value is the key.
    """

    def __init__(self, options: Options, field: str) -> None:
        self.options = options
        self.field = field
        self.types = options.event_types("of", COUNTED)
        self.half_life_ms = options.duration("half_life", HOUR_MS, _MIN_HALF_LIFE_MS, _MAX_HALF_LIFE_MS)
        self.most = read_keep(options)
        self.key_of = reader(field)
        self._per_ms = 1.0 / self.half_life_ms

    def height(self, ts: int) -> float:
        """Return the height of one event at a time."""
        return (ts - LANDMARK_MS) * self._per_ms

    def as_of(self, crowd: Crowd, everybody: str, now: int) -> float:
        """Return the height at which counts are to be read at a time.

        Counts are ahead of an event that is read again after a store was lost, or told late. So far ahead that their
        size at its time is beyond a double, they are read at a later time: shares and lifts compare them, and do not
        depend on it.

        Parameters
        ----------
        everybody
            Name of the total of all events.
        """
        at, whole = self.height(now), crowd.get(everybody)
        return at if whole is None or whole - at < _TOO_FAR else whole - _FAR

    def table(self, grouped: str, tell: Callable[[str], Tell], *, leaders: int = 0) -> str:
        """Declare a table of these counts within groups; return its prefix."""
        key = f"{grouped}{self.field}:{'+'.join(self.types)}:{self.half_life_ms}:{self.most}"
        return self.options.slots.crowd.use(CrowdTable(key, tell, frozenset(self.types), self.most, leaders=leaders))

    def everybody(self, *, leaders: int = 0) -> str:
        """Declare the table of all events alike; return its prefix."""
        return self.table("", lambda prefix: self._tell(prefix, lambda *_: ""), leaders=leaders)

    def grouped(self, name: str, group_of: ReadCrowd, *, leaders: int = 0) -> str:
        """Declare the table within groups, which have an identity; return its prefix."""
        return self.table(f"{name}/", lambda prefix: self._tell(prefix, group_of), leaders=leaders)

    def _tell(self, prefix: str, group_of: ReadCrowd) -> Tell:
        key_of = self.key_of

        def tell(slots: Slots, event: Any, ts: int, told: dict[str, float], crowd: Crowd) -> None:
            key, group = key_of(event), group_of(slots, event, ts, crowd)
            if key is not None and group is not None:
                total = total_name(prefix, group)
                told[total + escaped(key)] = told[total] = self.height(ts)

        return tell

    def sums(self, crowd: Crowd, total: str, now: float) -> Callable[[str], tuple[float, float]]:
        """Return what gives (events of a key, all events) of a group at a time, given as a height.

        Parameters
        ----------
        total
            Name of the group's total.
        now
            See `as_of`.
        """
        whole = crowd.get(total)
        if whole is None:
            return _nothing
        in_all, height_of = _size(whole - now), crowd.get

        def of(key: str) -> tuple[float, float]:
            height = height_of(total + escaped(key))
            return (0.0 if height is None else _size(height - now)), in_all

        return of


def _size(height: float) -> float:
    """Return what a height stands for, finite: a group may be a little ahead of everybody, by rounding."""
    return exp2(height) if height < _TOO_FAR else MOST


def _nothing(_: str) -> tuple[float, float]:
    return 0.0, 0.0


class Trail:
    """The last keys in the visitor's session, one after another, and the table of what comes behind what.

    Parameters
    ----------
    reach
        So many keys before one count as what it follows.
    """

    def __init__(self, options: Options, counts: Counts, reach: int) -> None:
        self._counts = counts
        self.reach = reach
        self._session, session_key = use_session(options)
        options.rests_on.append(session_key)
        key = f"trail_in_{session_key}:{counts.field}:{'+'.join(counts.types)}:{reach}"
        self._slot = options.slots.use(Accumulator(key, self._bind, frozenset(counts.types)))

    def _bind(self, index: int) -> Fold:
        key_of, session, most = self._counts.key_of, self._session, self.reach + 1
        inactivity_ms = self._counts.options.defaults.inactivity_ms

        def fold(slots: Slots, event: Any, ts: int) -> None:
            key = key_of(event)
            state, visit = slots[index], slots[session]
            if visit and ts < visit[LAST] and is_straggler(visit, event, ts, inactivity_ms):
                if state is not None:
                    state[_MOVED] = 0
                return
            number = visit[NUMBER] if visit else 0
            if state is None or state[_SESSION] != number:
                slots[index] = [number, [], 0] if key is None else [number, [key], 1]
                return
            keys = state[_KEYS]
            state[_MOVED] = int(key is not None and keys[-1:] != [key])
            if state[_MOVED]:
                keys.append(key)
                if len(keys) > most:
                    del keys[0]

        return fold

    def keys(self, slots: Slots) -> Sequence[str]:
        """Return the last keys of the current session, the latest last."""
        state, visit = slots[self._slot], slots[self._session]
        if state is None or (visit is not None and state[_SESSION] != visit[NUMBER]):
            return ()
        return state[_KEYS]  # type: ignore[no-any-return]

    def before(self, slots: Slots, key: str) -> list[str]:
        """Return what a key would follow: the last ones, the latest first, without itself."""
        return [one for one in reversed(self.keys(slots)) if one != key][: self.reach]

    def table(self, *, both_ways: bool, leaders: int = 0) -> str:
        """Declare the table in which keys are counted within those that they follow; return its prefix."""
        grouped = f"follows:{self.reach}{':both_ways' if both_ways else ''}/"
        return self._counts.table(grouped, lambda prefix: self._tell(prefix, both_ways), leaders=leaders)

    def _tell(self, prefix: str, both_ways: bool) -> Tell:
        def tell(slots: Slots, event: Any, ts: int, told: dict[str, float], crowd: Crowd) -> None:
            state = slots[self._slot]
            if state is None or not state[_MOVED]:
                return
            at, key = self._counts.height(ts), state[_KEYS][-1]
            for before in self.before(slots, key):
                _add(told, total_name(prefix, before), key, at)
                if both_ways:
                    _add(told, total_name(prefix, key), before, at)

        return tell


def _add(told: dict[str, float], total: str, key: str, at: float) -> None:
    for name in (total + escaped(key), total):
        told[name] = raised(told.get(name), at)


def read_keep(options: Options) -> int:
    """Read how many counters a table keeps."""
    return options.integer("keep", DEFAULT_KEEP, 1_000, 1_000_000)


def last_told(
    options: Options,
    name: str,
    told_of: Callable[[Any], Iterator[str]],
    types: tuple[str, ...],
    most: int,
    **how: Any,
) -> str:
    """Declare a table of hours, each told by events without adding up; return its prefix.

    Parameters
    ----------
    told_of
        Yields the names that an event tells, behind the prefix.
    how
        ``keeps`` and ``leaders`` of the table.
    """

    def make_tell(prefix: str) -> Tell:
        def tell(slots: Slots, event: Any, ts: int, told: dict[str, float], crowd: Crowd) -> None:
            for one in told_of(event):
                told[prefix + one] = hours(ts)

        return tell

    key = f"{name}:{'+'.join(types)}:{most}"
    return options.slots.crowd.use(CrowdTable(key, make_tell, frozenset(types), most, **how))


def first_seen_table(options: Options, field: str, types: tuple[str, ...], most: int, *, leaders: int = 0) -> str:
    """Declare the table of when a key was seen first; return its prefix."""
    key_of = reader(field)

    def told_of(event: Any) -> Iterator[str]:
        key = key_of(event)
        if key is not None:
            yield total_name("", "") + escaped(key)

    return last_told(options, f"first_seen/{field}", told_of, types, most, keeps="lowest", leaders=leaders)


def hours(ts: int) -> float:
    """Return the hours since the landmark."""
    return (ts - LANDMARK_MS) / HOUR_MS
