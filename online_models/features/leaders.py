"""Leaders: the counters of a group that weigh most, known without looking at all of them.

Of each group more members are at hand than lead, and of the rest is known how many they are and that none is above a
bound. So whoever is to lead rises above that bound; whoever falls (an item that turns out to have been seen earlier)
is at hand still, or falls below it. Only when so many have fallen or are gone that the rest may lead are all counters
looked through, once, when somebody asks next; a learner is never asked. Hence the leaders are those of all counters,
whatever way led there: of a replay, a restart or a delta.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from operator import itemgetter

from online_models.features.counter_names import SEPARATOR, escaped, unescaped
from online_models.features.plan import PREFIX, CrowdTable

_height = itemgetter(0)


class Leaders:
    """The leaders of each group of the tables that are `led`.

    Parameters
    ----------
    tables
        By prefix.

    Examples
    --------
    >>> table = CrowdTable("views", lambda prefix: None, frozenset(), most=9, leaders=2)
    >>> leaders = Leaders({table.prefix: table})
    >>> name = (table.prefix + "shoes" + SEPARATOR).__add__
    >>> counters = {name("a"): 1.0, name("b"): 3.0, name("c"): 2.0, name(""): 6.0}
    >>> leaders.look_through(counters)
    >>> leaders.of(table.prefix, "shoes")
    ['b', 'c']
    >>> leaders.moved(name("a"), 1.0, 4.0, counters | {name("a"): 4.0})
    >>> leaders.of(table.prefix, "shoes")
    ['a', 'b']
    """

    def __init__(self, tables: Mapping[str, CrowdTable]) -> None:
        self._led = {prefix: _Table(table.leaders) for prefix, table in tables.items() if table.leaders}
        self._heights: Mapping[str, float] = {}

    def __bool__(self) -> bool:
        return bool(self._led)

    def of(self, prefix: str, group: str) -> list[str]:
        """Return the members of a group that weigh most, first the first; of equals, by name."""
        table, group = self._led[prefix], escaped(group)
        if table.is_short(group):
            short = {each: one.short() for each, one in self._led.items()}
            self._look_through({each: groups for each, groups in short.items() if groups})
        return [*map(unescaped, table.leaders_of(group))]

    def moved(self, name: str, before: float | None, after: float | None, heights: Mapping[str, float]) -> None:
        """Take in that a counter has moved; None: it is not there.

        Parameters
        ----------
        heights
            All counters. Kept, and read when somebody asks for leaders: by then each one that moved must be told.
        """
        table = self._led.get(name[:PREFIX])
        if table is None:
            return
        self._heights = heights
        group, member = _place(name)
        if member:
            table.moved(group, member, before, after)

    def look_through(self, heights: Mapping[str, float]) -> None:
        """Begin anew with all counters."""
        self._heights = heights
        self._look_through(None)

    def _look_through(self, groups: Mapping[str, set[str]] | None) -> None:
        """Begin anew with the counters of some groups, by prefix; None: with all."""
        tables = self._led if groups is None else {prefix: self._led[prefix] for prefix in groups}
        for prefix, table in tables.items():
            table.forget(None if groups is None else groups[prefix])
        for name, height in self._heights.items():
            known = tables.get(name[:PREFIX])
            if known is not None:
                group, member = _place(name)
                if member and (groups is None or group in groups[name[:PREFIX]]):
                    known.at_hand.setdefault(group, {})[member] = height
        for table in tables.values():
            table.let_go()


def _place(name: str) -> tuple[str, str]:
    """Return group and member; no member: it is the group's total, or of before ids were escaped."""
    group, _, member = name[PREFIX:].partition(SEPARATOR)
    return group, "" if SEPARATOR in member else member


@dataclass(slots=True)
class _Rest:
    """Members of a group that are not at hand: how many, and what none of them is above."""

    count: int
    bound: tuple[float, str]


class _Table:
    """Who is at hand of each group, with heights. Of equals that one is higher that a full table would keep longer."""

    def __init__(self, leaders: int) -> None:
        self.at_hand: dict[str, dict[str, float]] = {}
        self._rest: dict[str, _Rest] = {}
        self._leaders = leaders
        # Members are let go from the most down to what is left. The distances make sorting and looking through rare.
        self._most = leaders + leaders // 2
        self._left = leaders + leaders // 4

    def is_short(self, group: str) -> bool:
        """Tell whether some of the rest may lead."""
        return group in self._rest and len(self.at_hand[group]) < self._leaders

    def short(self) -> set[str]:
        """Return the groups that are."""
        return {*filter(self.is_short, self._rest)}

    def leaders_of(self, group: str) -> list[str]:
        """Return the leaders of a group that is not short."""
        members = self.at_hand.get(group, {})
        highest = sorted(zip(members.values(), members, strict=True))[-self._leaders :]
        highest.sort(key=_height, reverse=True)  # equals stay as they are: by name
        return [member for _, member in highest]

    def moved(self, group: str, member: str, before: float | None, after: float | None) -> None:
        """Take in that a member has moved; None: it is not there."""
        members = self.at_hand.setdefault(group, {})
        rest = self._rest.get(group)
        was_of_rest = before is not None and member not in members
        if after is not None and (rest is None or (after, member) > rest.bound):
            members[member] = after
            is_of_rest = False
        else:
            members.pop(member, None)
            is_of_rest = after is not None
        if rest is not None and is_of_rest is not was_of_rest:
            rest.count += is_of_rest - was_of_rest
            if not rest.count:
                del self._rest[group]
        if len(members) > self._most:
            self._let_go(group, members)
        elif not members and group not in self._rest:
            del self.at_hand[group]

    def forget(self, groups: set[str] | None) -> None:
        """Forget some groups; None: all."""
        for group in [*self.at_hand] if groups is None else groups:
            del self.at_hand[group]
            self._rest.pop(group, None)

    def let_go(self) -> None:
        """Keep no more at hand than is needed."""
        for group, members in self.at_hand.items():
            if len(members) > self._most:
                self._let_go(group, members)

    def _let_go(self, group: str, members: dict[str, float]) -> None:
        lowest = sorted(zip(members.values(), members, strict=True))[: -self._left]
        for _, member in lowest:
            del members[member]
        rest = self._rest.get(group)
        # Whoever is at hand is above the rest.
        self._rest[group] = _Rest(len(lowest) + (rest.count if rest else 0), lowest[-1])
