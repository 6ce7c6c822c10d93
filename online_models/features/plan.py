"""The words that families and compiler share: slots, accumulators, crowd tables, readings.

A *slot* is a place in the user's state that holds one accumulator's value, None until it is touched.
An *accumulator* folds events into its slot. A *crowd table* holds what all visitors did, see `online_models.crowd`;
what an event adds to it is told to a learner. A *reading* takes a raw value out of slots, event and crowd; rules
(see `numbers` and `categories`) make a feature's value of it.

Rules that every accumulator keeps:

- Its key names everything that decides its content, so that equal keys may share a slot, and a slot
  may be carried over when the configuration changes. A changed layout of the value needs another key.
- Its value is None, int, float, str, or a list or dict of these, so that it packs as msgpack.
- Its fold copes with events that are late: no exception, no negative count, no value that is not finite.
- Ages are measured to ``now_ms``, the highest event time folded so far (kept in the slot `CLOCK`), so that
  they are never negative.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any, Literal

from online_models.errors import ConfigError

Slots = list[Any]
Value = float | int | str | None
Fold = Callable[[Slots, Any, int], None]
"""``fold(slots, event, event.ts)`` changes the slots in place."""
Read = Callable[[Slots, Any, int], Any]
"""``read(slots, event, now_ms)`` returns a raw value, None if it is missing, and changes nothing."""
ReadUnfolded = Callable[[Slots, Any, int, Any], Any]
"""``read(slots, event, now_ms, folded)`` of an event that was not folded itself, see `Reading.unfolded`."""
Crowd = Mapping[str, float]
"""What all visitors did: names of counters, which begin with the prefix of their table, to heights."""
ReadCrowd = Callable[[Slots, Any, int, Crowd], Any]
"""``read(slots, event, now_ms, crowd)``, otherwise as `Read`."""
Glance = Callable[[Slots, int, Crowd], Callable[[Any], Any]]
"""``glance(slots, now_ms, crowd)`` returns ``read(event)``; what many items of one visitor share is worked out once."""
Tell = Callable[[Slots, Any, int, dict[str, float], Crowd], None]
"""``tell(slots, event, event.ts, told, crowd)`` puts into `told` by which heights the event raises which counters."""

CLOCK = "clock"


@dataclass(frozen=True, slots=True)
class Accumulator:
    """What is kept in one slot.

    Attributes
    ----------
    key
        Identity: two accumulators with the same key hold the same value.
    bind
        Makes the fold for the slot's index.
    event_types
        Types that the fold must see; None: all.
    """

    key: str
    bind: Callable[[int], Fold]
    event_types: frozenset[str] | None = None


@dataclass(frozen=True, slots=True)
class Reading:
    """How a family reads its raw value, and what the rules need to know of it.

    Attributes
    ----------
    kind
        "number", "category", or "cycle" (an int from 0 to ``period`` - 1 on a circle).
    read
        The reading function; None if another one of these is given.
    read_crowd
        The reading function of what needs the crowd, instead.
    glance
        What `read_crowd` is made of, where many items are read at once; see `glanced`.
    unfolded
        What reads it for an event that was not folded, where `read` goes by what the fold has left of the event itself.
        That is a candidate, to which all that is kept was before (``folded`` is None), or an event in the place of one
        that was ``folded``. None: `read` does for all.
    expression
        Python source of the reading in terms of ``slots``, ``event``, ``ts`` (its time) and ``now``, where
        a call would cost more than the work.
    of_item
        The value may depend on the event's item: its id, category, price or properties. Otherwise it is the same for
        all candidates of a ranking, and read once.
    always
        The raw value is never None.
    signed
        The number may be negative.
    jumps
        One event can make the number thousands of times what it mostly is.
    unit_ms
        The number is a time in this unit; its rules may then be written as durations.
    labels
        Names of a category's int values, by value.
    max_chars
        The longest text that can come; None: unbounded. Longer than the rule allows is cut.
    mixed
        A category's values may be of any scalar type and must be normalized.
    period
        Length of the cycle.
    """

    kind: Literal["number", "category", "cycle"]
    read: Read | None = None
    read_crowd: ReadCrowd | None = None
    glance: Glance | None = None
    unfolded: ReadUnfolded | None = None
    expression: str | None = None
    of_item: bool = True
    always: bool = False
    signed: bool = False
    jumps: bool = False
    unit_ms: int | None = None
    labels: tuple[str, ...] | None = None
    max_chars: int | None = None
    mixed: bool = False
    period: int = 0


def glanced(glance: Glance) -> Reading:
    """Return the reading of a signed number of the crowd's, read for one item or for many."""
    return Reading(
        "number",
        read_crowd=lambda slots, event, now, crowd: glance(slots, now, crowd)(event),
        glance=glance,
        signed=True,
    )


class _NoEvent:
    type = ""


def as_folded(read: Read) -> ReadUnfolded:
    """Return `Reading.unfolded` of what looks at nothing but the event's type, to tell whether itself was folded."""
    return lambda slots, event, now, folded: read(slots, _NoEvent if folded is None else folded, now)


@dataclass(frozen=True, slots=True)
class Clustering:
    """Which numbers describe a visitor, and how many clusters are made of such descriptions."""

    of: tuple[str, ...]
    count: int


# Characters of a table's prefix.
PREFIX = 7


@dataclass(frozen=True, slots=True)
class CrowdTable:
    """Counters of what all visitors did.

    Attributes
    ----------
    key
        Identity: two tables with the same key hold the same counters.
    tell
        Makes what tells of an event, given the table's prefix; it runs behind the folds.
    event_types
        Types that are told of.
    most
        So many counters are kept; of more, the lowest are forgotten.
    leaders
        So many members of each group are kept at hand, see `leaders`; 0: nobody asks.
    keeps
        "sum": heights add up as decayed sums; "lowest", "highest": of all heights that were told, that one stays.
    clusters
        What is told is no height but the description of a visitor, whose clusters are kept instead.
    """

    key: str
    tell: Callable[[str], Tell]
    event_types: frozenset[str]
    most: int
    keeps: Literal["sum", "lowest", "highest"] = "sum"
    leaders: int = 0
    clusters: Clustering | None = None

    @property
    def prefix(self) -> str:
        """How the names of its counters begin."""
        return blake2b(self.key.encode(), digest_size=3).hexdigest() + ":"


class CrowdTables:
    """The crowd tables of a configuration; equal keys share one."""

    def __init__(self) -> None:
        self.by_prefix: dict[str, CrowdTable] = {}

    def use(self, table: CrowdTable) -> str:
        """Take in a table; return its prefix."""
        known = self.by_prefix.setdefault(table.prefix, table)
        if table.leaders > known.leaders:
            self.by_prefix[table.prefix] = table
        if known.key != table.key:  # one in millions
            raise ConfigError(
                ("features",), f"{known.key!r} and {table.key!r} get the same prefix; change one a little"
            )
        return table.prefix

    def tells(self, event_type: str) -> list[Tell]:
        """Return what tells of events of a type."""
        return [table.tell(prefix) for prefix, table in self.by_prefix.items() if event_type in table.event_types]


class SlotTable:
    """Gives each accumulator its slot; equal keys share one.

    Attributes
    ----------
    crowd
        The crowd tables of the same configuration.
    segment_of, segment_key
        Reads a visitor's segment, None if there are none; and the identity of the segments.
    """

    def __init__(self) -> None:
        self.crowd = CrowdTables()
        self.segment_of: ReadCrowd | None = None
        self.segment_key = ""
        self._accumulators: dict[str, tuple[int, Accumulator]] = {}

    def use(self, accumulator: Accumulator) -> int:
        """Return the index of the accumulator's slot, taking a new one for a new key."""
        if not self._accumulators:
            self._accumulators[CLOCK] = (0, Accumulator(CLOCK, _fold_clock))
        known = self._accumulators.get(accumulator.key)
        if known is None:
            known = self._accumulators[accumulator.key] = (len(self._accumulators), accumulator)
        return known[0]

    def segment_reading(self, feature: str) -> ReadCrowd:
        """Return what reads a visitor's segment, for a feature; raise if there are none."""
        if self.segment_of is None:
            raise ConfigError(
                ("features", feature),
                "There are no segments; declare `segments: {of: [FEATURE, …]}` beside `features:`",
            )
        return self.segment_of

    @property
    def keys(self) -> list[str]:
        """Keys in the order of the slots."""
        return list(self._accumulators)

    def folds(self, event_type: str) -> dict[str, Fold]:
        """Return the folds that an event of this type runs, by key, in the order they must run.

        An accumulator may read the slots of those used before it, as they are after this event.
        """
        return {
            key: accumulator.bind(index)
            for key, (index, accumulator) in self._accumulators.items()
            if accumulator.event_types is None or event_type in accumulator.event_types
        }


def _fold_clock(index: int) -> Fold:
    def fold(slots: Slots, event: Any, ts: int) -> None:
        now = slots[index]
        if now is None or ts > now:
            slots[index] = ts

    return fold


@dataclass(frozen=True, slots=True)
class Feature:
    """A base feature, ready to be compiled: a reading and the rules for its values.

    Attributes
    ----------
    default
        Stands for a missing value, clip and adjust not applied; None: the feature is left out.
    clip, adjust
        Applied to a raw value that is not None: bounds, then bins, lower-casing and the like.
    transform
        Source of the function ("log1p", "signed_log1p" …) that vectorize applies; "" for none.
    kind
        As in the reading, but a number with bins is a category.
    labels
        Names of int values of a category.
    """

    name: str
    reading: Reading
    kind: Literal["number", "category", "cycle"]
    default: Value = None
    clip: tuple[float, float] | None = None
    adjust: Callable[[Any], Value] | None = None
    transform: str = ""
    labels: tuple[str, ...] | None = None

    @property
    def always(self) -> bool:
        """Whether the feature has a value for every event."""
        return self.reading.always or self.default is not None

    @property
    def jumps(self) -> bool:
        """Whether a model sees a number that one event can make thousands of times what it mostly is."""
        return self.kind == "number" and self.reading.jumps and self.clip is None and not self.transform


@dataclass(frozen=True, slots=True)
class Cross:
    """A feature made of two or three others when vectorizing; nothing of it is stored."""

    name: str
    members: Sequence[str]


FamilyBuilder = Callable[..., Reading]
