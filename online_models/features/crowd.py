"""Crowd: what all visitors do with the items, counted with decay; `online_models.crowd` says how it is counted.

Counters are as of about a second ago, so the event itself is not in them.

Lifts compare what was counted with what would be expected if the group were like everybody. Both are raised by
`strength` (the mean of a gamma-Poisson shrinker: DuMouchel, The American Statistician 53, 1999), so that an item of
which nothing is known gets neither bonus nor malus: its lift is 0.
"""

from __future__ import annotations

from collections.abc import Callable
from math import inf, log
from typing import Any

from online_models.features.counter_names import escaped, total_name
from online_models.features.crowd_counts import (
    COUNTED,
    HOUR_MS,
    MOST,
    Counts,
    Trail,
    first_seen_table,
    hours,
    read_keep,
    reader,
)
from online_models.features.fields import ID_FIELDS, PROPERTIES, TEXT_FIELDS
from online_models.features.options import Options
from online_models.features.plan import Crowd, Glance, ReadCrowd, Reading, Slots, glanced

DEFAULT_STRENGTH = 0.2
MAX_REACH = 5
# Events that a share is raised by before its logarithm is taken, so that an item that was never seen has one.
_UNSEEN = 0.1
# What a key further back in the session counts, compared with the one behind it.
_PER_STEP = 0.5
_SEGMENT = "segment"


def popularity(options: Options) -> Reading:
    """``{popularity: FIELD, of: TYPES, half_life: 1h, by: GROUP, strength: 0.2, keep: 100000}``.

    The log of this event's share in the events of all visitors; with `by`, of how much more it is among visitors of
    the same group (`country`, `properties.NAME` …) than expected. Natural logarithms.
    """
    counts = Counts(options, options.choice("popularity", ID_FIELDS))
    total = total_name(counts.everybody(), "")
    if options.has("by"):
        return glanced(_glance_at_lift(options, counts, total))
    key_of = counts.key_of

    def glance(slots: Slots, now: int, crowd: Crowd) -> Callable[[Any], float | None]:
        sums = counts.sums(crowd, total, counts.as_of(crowd, total, now))

        def read(event: Any) -> float | None:
            key = key_of(event)
            if key is None:
                return None
            n, of_all = sums(key)
            return log((n + _UNSEEN) / (of_all + _UNSEEN))

        return read

    return glanced(glance)


def _glance_at_lift(options: Options, counts: Counts, everybody: str) -> Glance:
    """Return how lifts are read; `everybody`: name of the total of all events."""
    name, group_of = _group(options)
    strength, key_of = _strength(options), counts.key_of
    prefix = counts.grouped(name, group_of)

    def glance(slots: Slots, now: int, crowd: Crowd) -> Callable[[Any], float | None]:
        at = counts.as_of(crowd, everybody, now)
        in_all = counts.sums(crowd, everybody, at)
        in_group: dict[str, Callable[[str], tuple[float, float]]] = {}

        def read(event: Any) -> float | None:
            key, its = key_of(event), group_of(slots, event, now, crowd)
            if key is None or its is None:
                return None
            sums = in_group.get(its)
            if sums is None:
                sums = in_group[its] = counts.sums(crowd, total_name(prefix, its), at)
            return _lift(*sums(key), in_all(key), strength)

        return read

    return glance


def _lift(n: float, total: float, everybody: tuple[float, float], strength: float) -> float:
    """Return the lift of n events among a group's total; `everybody` are those of the key and all of them."""
    of_key, of_all = everybody
    expected = total * of_key / of_all if of_all else 0.0
    lift = (n + strength) / (expected + strength)
    if 0.0 < lift < inf:
        return log(lift)
    # The counts are far ahead of the event, see `Counts.as_of`: a product or a quotient of them is beyond a double.
    n, total = min(n, MOST), min(total, MOST)
    expected = min(total * (of_key / of_all), MOST) if of_all else 0.0
    return log(n + strength) - log(expected + strength)


def follows(options: Options) -> Reading:
    """``{follows: FIELD, of: TYPES, half_life: 1h, reach: 1, both_ways: false, strength: 0.2, keep: 100000}``.

    The log of how much more often this event's key comes behind the visitor's last ones in a session than expected.
    `reach` says how many of the last ones count, each half as much as the one behind it; with `both_ways`, so does
    coming before them. Missing while the session has no other key.
    """
    counts = Counts(options, options.choice("follows", ID_FIELDS))
    everybody = total_name(counts.everybody(), "")
    trail = Trail(options, counts, options.integer("reach", 1, 1, MAX_REACH))
    prefix = trail.table(both_ways=options.flag("both_ways", False))
    strength, key_of = _strength(options), counts.key_of

    def glance(slots: Slots, now: int, crowd: Crowd) -> Callable[[Any], float | None]:
        at = counts.as_of(crowd, everybody, now)
        in_all = counts.sums(crowd, everybody, at)
        behind = [(one, counts.sums(crowd, total_name(prefix, one), at)) for one in reversed(trail.keys(slots))]

        def read(event: Any) -> float | None:
            key = key_of(event)
            if key is None:
                return None
            n = total = 0.0
            weight, left = 1.0, trail.reach
            for one, sums in behind:
                if one != key and left:
                    times, of_all = sums(key)
                    n += weight * times
                    total += weight * of_all
                    weight *= _PER_STEP
                    left -= 1
            return None if left == trail.reach else _lift(n, total, in_all(key), strength)

        return read

    return glanced(glance)


def first_seen(options: Options) -> Reading:
    """``{first_seen: FIELD, of: TYPES, keep: 100000}``: hours since anybody's first event with this event's key.

    Of more keys than `keep` the oldest are forgotten, and pass for new when they come again. Missing for a key that
    nobody has met.
    """
    field = options.choice("first_seen", ID_FIELDS)
    types = options.event_types("of", COUNTED)
    of_all = total_name(first_seen_table(options, field, types, read_keep(options)), "")
    key_of = reader(field)

    def read(slots: Slots, event: Any, now: int, crowd: Crowd) -> float | None:
        key = key_of(event)
        first = None if key is None else crowd.get(of_all + escaped(key))
        return None if first is None else max(hours(now) - first, 0.0)

    return Reading("number", read_crowd=read, unit_ms=HOUR_MS)


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
        options.rests_on.append(options.slots.segment_key)
        return f"{field}:{options.slots.segment_key}", options.slots.segment_reading(options.name)
    group_of = reader(field)
    return field, lambda slots, event, now, crowd: group_of(event)


def _groups(field: str) -> bool:
    return field in _GROUPING or (field.startswith(PROPERTIES) and len(field) > len(PROPERTIES))


def _strength(options: Options) -> float:
    strength = DEFAULT_STRENGTH
    if options.has("strength"):
        strength = options.number_in(options.raw("strength"), "strength")
        if not 1e-3 <= strength <= 1e6:
            raise options.error(f"Expected a strength from 0.001 to 1e6, got {strength:g}", "strength")
    options.canonical["strength"] = strength
    return strength


FAMILIES = {"popularity": popularity, "follows": follows, "first_seen": first_seen}
