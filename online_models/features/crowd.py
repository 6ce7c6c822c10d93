"""Crowd: what all visitors do with the items, counted with decay; `online_models.crowd` says how it is counted.

Counters are as of about a second ago, so the event itself is not in them. A counter's name is its table's prefix, the
group that the item is counted within (empty: everybody), a tab, and the item; without the item it is the total of the
group. Sums are kept as heights, see `decay`.

Lifts compare what was counted with what would be expected if the group were like everybody. Both are raised by
`strength` (the mean of a gamma-Poisson shrinker: DuMouchel, The American Statistician 53, 1999), so that an item of
which nothing is known gets neither bonus nor malus.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from math import exp2, log
from operator import attrgetter
from typing import Any

from online_models.features.decay import LANDMARK_MS, raised
from online_models.features.fields import COMMON_FIELDS, ID_FIELDS, PROPERTIES, TEXT_FIELDS
from online_models.features.options import Options
from online_models.features.plan import Accumulator, Crowd, CrowdTable, Fold, ReadCrowd, Reading, Slots, Tell
from online_models.features.sessions import NUMBER, use_session

_COUNTED = ("click", "page_view")
_HOUR_MS = 3_600_000
# Below that heights outgrow what the learner's guard lets through.
MIN_HALF_LIFE_MS = 600_000
MAX_HALF_LIFE_MS = 366 * 86_400_000
DEFAULT_KEEP = 100_000
MAX_KEEP = 1_000_000
DEFAULT_STRENGTH = 0.2
# Events that every share is raised by, so that an item that was never seen has one.
_UNSEEN = 0.1
MAX_REACH = 5
# What an item further back in the session counts, compared with the one behind it.
_PER_STEP = 0.5
_TAB = "\t"
_SEGMENT = "segment"

# Places in the state of a trail: number of the session, its last items, and whether the last event went on to another.
_SESSION, _ITEMS, _MOVED = range(3)

_Key = Callable[[Any], str | None]


class _Counts:
    """What the tables of one declaration have in common, and their arithmetic."""

    def __init__(self, options: Options, family: str) -> None:
        self.options = options
        self.field = options.choice(family, ID_FIELDS)
        self.types = options.event_types("of", _COUNTED)
        self.half_life_ms = options.duration("half_life", _HOUR_MS, MIN_HALF_LIFE_MS, MAX_HALF_LIFE_MS)
        self.most = options.integer("keep", DEFAULT_KEEP, 1_000, MAX_KEEP)
        self.key_of = _reader(self.field)
        self._per_ms = 1.0 / self.half_life_ms

    def height(self, ts: int) -> float:
        """Return the height of one event at a time."""
        return (ts - LANDMARK_MS) * self._per_ms

    def table(self, grouped: str, tell: Callable[[str], Tell]) -> str:
        """Declare a table of these counts within groups; return its prefix."""
        key = f"{grouped}{self.field}:{'+'.join(self.types)}:{self.half_life_ms}:{self.most}"
        return self.options.slots.crowd.use(CrowdTable(key, tell, frozenset(self.types), self.most))

    def everybody(self) -> str:
        """Declare the table of all events alike; return its prefix."""
        return self.table("", lambda prefix: self._tell(prefix, lambda *_: ""))

    def grouped(self, name: str, group_of: ReadCrowd) -> str:
        """Declare the table within groups of visitors; return its prefix."""
        return self.table(f"{name}/", lambda prefix: self._tell(prefix, group_of))

    def _tell(self, prefix: str, group_of: ReadCrowd) -> Tell:
        key_of = self.key_of

        def tell(slots: Slots, event: Any, ts: int, told: dict[str, float], crowd: Crowd) -> None:
            key, group = key_of(event), group_of(slots, event, ts, crowd)
            if key is not None and group is not None:
                at = self.height(ts)
                told[f"{prefix}{group}{_TAB}{key}"] = at
                told[f"{prefix}{group}{_TAB}"] = at

        return tell

    def sums(self, crowd: Crowd, name: str, key: str, now: float) -> tuple[float, float]:
        """Return (events of the key, events in all) of a group; `name` is the name of its total, `now` a height."""
        total = crowd.get(name)
        if total is None:
            return 0.0, 0.0
        height = crowd.get(name + key)
        return 0.0 if height is None else exp2(height - now), exp2(total - now)

    def share(self, crowd: Crowd, everybody: str, key: str, now: float) -> float:
        """Return the share of a key in the events of everybody."""
        n, total = self.sums(crowd, everybody + _TAB, key, now)
        return (n + _UNSEEN) / (total + _UNSEEN)


def popularity(options: Options) -> Reading:
    """``{popularity: FIELD, of: TYPES, half_life: 1h, by: GROUP, strength: 0.2, keep: 100000}``.

    The log of this event's share in the events of all visitors; with `by`, of how much more it is among visitors of
    the same group (`country`, `properties.NAME` …) than expected, in units of the natural logarithm.
    """
    counts = _Counts(options, "popularity")
    everybody = counts.everybody()
    if options.has("by"):
        return Reading("number", read_crowd=_read_lift(options, counts, everybody), signed=True)
    key_of = counts.key_of

    def read(slots: Slots, event: Any, now: int, crowd: Crowd) -> float | None:
        key = key_of(event)
        return None if key is None else log(counts.share(crowd, everybody, key, counts.height(now)))

    return Reading("number", read_crowd=read, signed=True)


def _read_lift(options: Options, counts: _Counts, everybody: str) -> ReadCrowd:
    name, group_of = _group(options)
    strength = _strength(options)
    key_of = counts.key_of
    prefix = counts.grouped(name, group_of)

    def read(slots: Slots, event: Any, now: int, crowd: Crowd) -> float | None:
        key, its = key_of(event), group_of(slots, event, now, crowd)
        if key is None or its is None:
            return None
        at = counts.height(now)
        n, total = counts.sums(crowd, f"{prefix}{its}{_TAB}", key, at)
        expected = total * counts.share(crowd, everybody, key, at)
        return log((n + strength) / (expected + strength))

    return read


def follows(options: Options) -> Reading:
    """``{follows: FIELD, of: TYPES, half_life: 1h, reach: 1, both_ways: false, strength: 0.2, keep: 100000}``.

    The log of how much more often this event's key comes behind the visitor's last ones in a session than expected.
    `reach` says how many of the last ones count, each half as much as the one behind it; with `both_ways`, so does
    coming before them. Missing while the session has no other key.
    """
    counts = _Counts(options, "follows")
    everybody = counts.everybody()
    reach = options.integer("reach", 1, 1, MAX_REACH)
    both_ways = options.flag("both_ways", False)
    strength = _strength(options)
    session, _ = use_session(options)
    trail = _use_trail(options, counts, reach)

    def make_tell(prefix: str) -> Tell:
        def tell(slots: Slots, event: Any, ts: int, told: dict[str, float], crowd: Crowd) -> None:
            state = slots[trail]
            if state is None or not state[_MOVED]:
                return
            at, key = counts.height(ts), state[_ITEMS][-1]
            for before in _before(state[_ITEMS], key, reach):
                _add(told, f"{prefix}{before}{_TAB}", key, at)
                if both_ways:
                    _add(told, f"{prefix}{key}{_TAB}", before, at)

        return tell

    prefix = counts.table(f"follows:{reach}{':both_ways' if both_ways else ''}/", make_tell)
    key_of = counts.key_of

    def read(slots: Slots, event: Any, now: int, crowd: Crowd) -> float | None:
        key, state, visit = key_of(event), slots[trail], slots[session]
        if key is None or state is None or (visit is not None and state[_SESSION] != visit[NUMBER]):
            return None
        n = total = 0.0
        weight, at, found = 1.0, counts.height(now), False
        for before in _before(state[_ITEMS], key, reach):
            found = True
            times, in_all = counts.sums(crowd, f"{prefix}{before}{_TAB}", key, at)
            n += weight * times
            total += weight * in_all
            weight *= _PER_STEP
        if not found:
            return None
        expected = total * counts.share(crowd, everybody, key, at)
        return log((n + strength) / (expected + strength))

    return Reading("number", read_crowd=read, signed=True)


def _use_trail(options: Options, counts: _Counts, reach: int) -> int:
    """Return the slot of the last keys in the visitor's session, one more than the reach."""
    session, session_key = use_session(options)
    key_of = counts.key_of

    def bind(index: int) -> Fold:
        def fold(slots: Slots, event: Any, ts: int) -> None:
            key = key_of(event)
            state, visit = slots[index], slots[session]
            number = visit[NUMBER] if visit else 0
            if state is None or state[_SESSION] != number:
                slots[index] = [number, [], 0] if key is None else [number, [key], 1]
                return
            items = state[_ITEMS]
            state[_MOVED] = int(key is not None and items[-1:] != [key])
            if state[_MOVED]:
                items.append(key)
                if len(items) > reach + 1:
                    del items[0]

        return fold

    key = f"trail_in_{session_key}:{counts.field}:{'+'.join(counts.types)}:{reach}"
    return options.slots.use(Accumulator(key, bind, frozenset(counts.types)))


def _before(items: list[str], key: str, reach: int) -> Iterator[str]:
    """Yield the last items, the latest first, without the key itself."""
    for one in reversed(items):
        if one != key:
            yield one
            reach -= 1
            if not reach:
                return


def _add(told: dict[str, float], group: str, key: str, at: float) -> None:
    for name in (group + key, group):
        told[name] = raised(told.get(name), at)


def first_seen(options: Options) -> Reading:
    """``{first_seen: FIELD, of: TYPES, keep: 100000}``: hours since anybody's first event with this event's key.

    Of more keys than `keep` the oldest are forgotten, and pass for new when they come again. Missing for a key that
    nobody has met.
    """
    field = options.choice("first_seen", ID_FIELDS)
    types = options.event_types("of", _COUNTED)
    most = options.integer("keep", DEFAULT_KEEP, 1_000, MAX_KEEP)
    key_of = _reader(field)

    def make_tell(prefix: str) -> Tell:
        def tell(slots: Slots, event: Any, ts: int, told: dict[str, float], crowd: Crowd) -> None:
            key = key_of(event)
            if key is not None:
                told[prefix + key] = (ts - LANDMARK_MS) / _HOUR_MS

        return tell

    key = f"first_seen:{field}:{'+'.join(types)}:{most}"
    prefix = options.slots.crowd.use(CrowdTable(key, make_tell, frozenset(types), most, keeps="lowest"))

    def read(slots: Slots, event: Any, now: int, crowd: Crowd) -> float | None:
        key = key_of(event)
        first = None if key is None else crowd.get(prefix + key)
        return None if first is None else max((now - LANDMARK_MS) / _HOUR_MS - first, 0.0)

    return Reading("number", read_crowd=read, unit_ms=_HOUR_MS)


# Texts that many visitors share, and that are short enough for a counter's name.
_GROUPING = frozenset(name for name, longest in TEXT_FIELDS.items() if longest <= 128) - {"user_id", "item_id"}


def _group(options: Options) -> tuple[str, ReadCrowd]:
    """Return what visitors are grouped by: its identity, and what reads it."""
    field = options.raw("by")
    if not isinstance(field, str) or not (_groups(field) or field == _SEGMENT):
        allowed = ", ".join(sorted(_GROUPING | {_SEGMENT}))
        raise options.error(f"Unknown field {field!r}; expected one of: {allowed}, properties.NAME", "by")
    options.canonical["by"] = field
    if field == _SEGMENT:
        return f"{field}:{options.slots.segment_key}", options.slots.segment_reading(options.name)
    group_of = _reader(field)
    return field, lambda slots, event, now, crowd: group_of(event)


def _groups(field: str) -> bool:
    return field in _GROUPING or (field.startswith(PROPERTIES) and len(field) > len(PROPERTIES))


def _reader(field: str) -> _Key:
    """Return what reads a key or a group from an event, as text; None: it has none."""
    if field.startswith(PROPERTIES):
        name = field.removeprefix(PROPERTIES)

        def read(event: Any) -> str | None:
            value = event.properties.get(name) if event.properties else None
            return str(value)[:128] if isinstance(value, str | int) else None

        return read
    if field in COMMON_FIELDS:
        return attrgetter(field)
    return lambda event: getattr(event, field, None)


def _strength(options: Options) -> float:
    strength = DEFAULT_STRENGTH
    if options.has("strength"):
        strength = options.number_in(options.raw("strength"), "strength")
        if not 1e-3 <= strength <= 1e6:
            raise options.error(f"Expected a strength from 0.001 to 1e6, got {strength:g}", "strength")
    options.canonical["strength"] = strength
    return strength


FAMILIES = {"popularity": popularity, "follows": follows, "first_seen": first_seen}
