"""Segments: which visitors are alike; `online_models.clusters` says how they are learned.

A visitor is described by declared numbers, as a model sees them. The description is told to the learner once a visit,
so that visitors who do a lot do not outvote the others, at its `at_event`-th event: at the first one, what counts the
visit is the same for everybody, and few visits come far (`python -m benchmarks.segments_cost`; the third leaves the
shop's new visitors in three segments, the second in one). What a site shows (impressions) is not counted, for the
visitor did nothing.

A visitor's segment is the nearest cluster as of now; nothing of it is kept in the visitor's state, so that segments
may move without anybody being left in one of before.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import dist, expm1, inf
from typing import Any

from online_models.errors import ConfigError
from online_models.features.options import Options
from online_models.features.plan import (
    Accumulator,
    Clustering,
    Crowd,
    CrowdTable,
    Feature,
    Fold,
    Reading,
    Slots,
    SlotTable,
    Tell,
)
from online_models.features.sessions import NUMBER, SESSION_EVENTS, use_session
from online_models.guard import MAX_MAGNITUDE

SECTION = "segments"
SEGMENT = "segment"  # the family, and the name of the feature that is there without being declared
DEFAULT_COUNT = 6
# More cannot be told apart by a name, and to choose the first centres takes the cube of it: half a second for twelve.
MAX_COUNT = 12
MAX_DESCRIBING = 20
DEFAULT_AT_EVENT = 3
# Values of these are the event's, not the visitor's.
_OF_THE_EVENT = frozenset({"field", "affinity", "seen", "popularity", "follows", "first_seen"})
_TOLD_OF = SESSION_EVENTS - {"impression"}
# Stands for 0, which would be a counter that was forgotten.
TINY = 5e-324

Description = list[float | None]


@dataclass(frozen=True, slots=True)
class Names:
    """Under which names a crowd holds the numbers of segments.

    Attributes
    ----------
    means, deviations
        Of all visitors, one for each number of a description.
    centres
        By segment; in standard deviations from the mean.
    sizes, shares
        By segment: descriptions that belonged to it, and its share of the latest.
    count
        Of all descriptions so far. Whatever else changes, this does.
    """

    means: tuple[str, ...]
    deviations: tuple[str, ...]
    centres: tuple[tuple[str, ...], ...]
    sizes: tuple[str, ...]
    shares: tuple[str, ...]
    count: str


def names_of(prefix: str, clustering: Clustering) -> Names:
    """Return the names of the numbers of a table of segments."""
    of, numbers = clustering.of, range(1, clustering.count + 1)
    return Names(
        tuple(f"{prefix}mean:{name}" for name in of),
        tuple(f"{prefix}sd:{name}" for name in of),
        tuple(tuple(f"{prefix}{number}:{name}" for name in of) for number in numbers),
        tuple(f"{prefix}size:{number}" for number in numbers),
        tuple(f"{prefix}share:{number}" for number in numbers),
        f"{prefix}count",
    )


class _Numbers:
    """The numbers that a segment is read by, taken from a crowd once for each version of it.

    A crowd that goes on changes in place, and `count` with it; another course of learning comes in another mapping.
    """

    def __init__(self, names: Names) -> None:
        self._names = names
        self._crowd: Crowd | None = None
        self._count: float | None = None
        self._complete = False
        self.means: tuple[float, ...] = ()
        self.deviations: tuple[float, ...] = ()
        self.centres: list[tuple[str, tuple[float, ...]]] = []

    def are_of(self, crowd: Crowd) -> bool:
        """Have the numbers of a crowd at hand; tell whether it has segments."""
        count = crowd.get(self._names.count)
        if crowd is not self._crowd or count != self._count:
            self._crowd, self._count = crowd, count
            self._complete = self._names.sizes[0] in crowd
            if self._complete:
                self._take(crowd)
        return self._complete

    def _take(self, crowd: Crowd) -> None:
        names = self._names
        self.means = tuple(crowd[name] for name in names.means)
        self.deviations = tuple(crowd[name] for name in names.deviations)
        self.centres = [
            (str(number), tuple(crowd[name] for name in of_one)) for number, of_one in enumerate(names.centres, 1)
        ]


class Segments:
    """The segments of a configuration.

    Attributes
    ----------
    of
        The features that describe a visitor.
    describe
        ``describe(slots, event)`` returns their values as a model sees them, None where one is missing.
    prefix, names
        Of their numbers in the crowd.
    """

    def __init__(self, of: Sequence[str], count: int, at_event: int, slots: SlotTable) -> None:
        self.of = tuple(of)
        self.count = count
        self.at_event = at_event
        self._slots = slots
        self._transforms: list[str] = []
        self.describe: Callable[[Slots, Any], Description] = _nothing
        self.prefix = ""

    def bind(
        self,
        features: Sequence[Feature],
        session_options: Options,
        compiled: Callable[[Sequence[Feature]], Callable[[Slots, Any], Description]],
        identity: str,
    ) -> None:
        """Complete it with the features that were compiled meanwhile.

        Parameters
        ----------
        compiled
            Compiles the function that returns the values of some numbers as a model sees them.
        identity
            Of everything that the descriptions are made by.
        """
        chosen = [_unbinned(one) for one in features]
        self._transforms = [one.transform for one in chosen]
        self.describe = compiled(chosen)
        visit = _use_visit(session_options, self._slots)
        self.prefix = self._slots.crowd.use(
            CrowdTable(
                f"segments:{identity}", lambda prefix: self._tell(prefix, visit), _TOLD_OF, 0, clusters=self.clustering
            )
        )
        self._slots.segment_key = self.prefix
        self.names = names_of(self.prefix, self.clustering)
        self._at_hand = _Numbers(self.names)

    @property
    def clustering(self) -> Clustering:
        """What the learner must know."""
        return Clustering(self.of, self.count)

    def _tell(self, prefix: str, visit: int) -> Tell:
        names = [prefix + name for name in self.of]

        def tell(slots: Slots, event: Any, ts: int, told: dict[str, float], crowd: Crowd) -> None:
            if slots[visit][1] == self.at_event:
                told.update(
                    (name, min(max(value, -MAX_MAGNITUDE), MAX_MAGNITUDE))
                    for name, value in zip(names, self.describe(slots, event), strict=True)
                    if value is not None
                )

        return tell

    def read(self, slots: Slots, event: Any, now: int, crowd: Crowd) -> str | None:
        """Return the visitor's segment, None while there are none."""
        at_hand = self._at_hand
        if not at_hand.are_of(crowd):
            return None
        place = [
            0.0 if x is None else (x - mean) / deviation
            for x, mean, deviation in zip(self.describe(slots, event), at_hand.means, at_hand.deviations, strict=True)
        ]
        nearest, least = "", inf
        for number, centre in at_hand.centres:
            away = dist(place, centre)
            if away < least:
                nearest, least = number, away
        return nearest

    def in_own_units(self, values: Sequence[float]) -> list[float]:
        """Return numbers as a model sees them in the units of their features."""
        return [_UNDONE[name](value) for name, value in zip(self._transforms, values, strict=True)]


def _nothing(slots: Slots, event: Any) -> Description:
    raise AssertionError("bind() comes first")


def _squared(x: float) -> float:
    return x * abs(x)


def _signed_expm1(x: float) -> float:
    return expm1(x) if x >= 0.0 else -expm1(-x)


_UNDONE: dict[str, Callable[[float], float]] = {
    "": float,
    "log1p": _signed_expm1,
    "signed_log1p": _signed_expm1,
    "sqrt": _squared,
    "signed_sqrt": _squared,
}


def _unbinned(feature: Feature) -> Feature:
    """Return a number with bins without them; whoever cut it did not want its long tail, so it becomes a logarithm."""
    if feature.kind == "number":
        return feature
    return replace(feature, kind="number", default=None, adjust=None, transform="signed_log1p", labels=None)


def _use_visit(options: Options, slots: SlotTable) -> int:
    """Return the slot of ``[number of the session, its events that are told of]``.

    A straggler counts as well: what is told at the event that was counted, not at those after it, must not depend on
    whether the session took it in.
    """
    session, session_key = use_session(options)

    def bind(index: int) -> Fold:
        def fold(slots: Slots, event: Any, ts: int) -> None:
            visit, state = slots[session], slots[index]
            if state is None or state[0] != visit[NUMBER]:
                slots[index] = [visit[NUMBER], 1]
            else:
                state[1] += 1

        return fold

    return slots.use(Accumulator(f"visit_told_in_{session_key}", bind, _TOLD_OF))


def segment(options: Options) -> Reading:
    """``{segment: visitor}``: the visitor's segment, as a category."""
    options.choice(SEGMENT, ("visitor",))
    options.rests_on.append(options.slots.segment_key)
    return Reading("category", read_crowd=options.slots.segment_reading(options.name), of_item=False)


FAMILIES = {SEGMENT: segment}


def parse_segments(declared: object, bodies: Mapping[str, Any], slots: SlotTable) -> Segments:
    """Read the section `segments:`.

    Parameters
    ----------
    bodies
        The declared features.

    Raises
    ------
    ConfigError
        With the path of the wrong key.
    """
    if not isinstance(declared, Mapping):
        raise _error("Expected a mapping such as `segments: {of: [visits, clicks], count: 6}`")
    for key in declared:
        if key not in ("of", "count", "at_event"):
            raise _error("Unknown key; expected one of: of, count, at_event", str(key))
    of = declared.get("of")
    if not isinstance(of, list) or not 1 <= len(of) <= MAX_DESCRIBING:
        raise _error(f"Expected a list of 1 to {MAX_DESCRIBING} features that are numbers", "of")
    for problem, index in _problems(of, bodies):
        raise _error(problem, "of", index)
    count = _whole(declared, "count", DEFAULT_COUNT, 2, MAX_COUNT)
    at_event = _whole(declared, "at_event", DEFAULT_AT_EVENT, 1, 100)
    return Segments(of, count, at_event, slots)


def _problems(of: Sequence[object], bodies: Mapping[str, Any]) -> Iterator[tuple[str, int]]:
    for index, name in enumerate(of):
        if not isinstance(name, str) or name not in bodies:
            yield f"No feature is called {name!r}; expected: {', '.join(map(str, bodies))}", index
        elif name in of[:index]:
            yield f"{name!r} stands here twice; keep one", index
        else:
            body = bodies[name]
            families = _OF_THE_EVENT.intersection(body) if isinstance(body, Mapping) else ()
            if families and not ("affinity" in families and "to" in body):
                hint = ", such as `to: shoes`" if "affinity" in families else ""
                yield f"{name!r} describes the event; take what describes the visitor{hint}", index


def check_numbers(features: Mapping[str, Feature], of: Sequence[str]) -> None:
    """Raise ConfigError unless all features that describe a visitor are numbers."""
    for index, name in enumerate(of):
        one = features.get(name)
        if one is None or one.reading.kind != "number" or one.reading.read_crowd is not None:
            raise _error(f"{name!r} is no number; take numbers: counts, rates, sums, durations", "of", index)


def _whole(declared: Mapping[str, Any], key: str, default: int, low: int, high: int) -> int:
    value = declared.get(key, default)
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise _error(f"Expected a whole number from {low} to {high}, got {value!r}", key)
    return value


def _error(message: str, *keys: str | int) -> ConfigError:
    return ConfigError((SECTION, *keys), message)
