"""Leaders: the counters of a group that weigh most, known without looking at all of them.

Sums only rise, and a full table forgets from below; so whoever is to lead has just risen, and it suffices to look at
what has changed. The rare counter that falls (an item that turns out to have been seen earlier) has its table looked
through anew. Hence the leaders are those of all counters, whatever way led there.
"""

from __future__ import annotations

from collections.abc import Mapping

from online_models.features.counter_names import SEPARATOR, escaped, unescaped
from online_models.features.plan import PREFIX, CrowdTable


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
        self._led = {prefix: table.leaders for prefix, table in tables.items() if table.leaders}
        self._groups: dict[str, dict[str, dict[str, float]]] = {prefix: {} for prefix in self._led}

    def __bool__(self) -> bool:
        return bool(self._led)

    def of(self, prefix: str, group: str) -> list[str]:
        """Return the members of a group that weigh most, first the first; of equals, by name."""
        members = self._groups[prefix].get(escaped(group), {})
        return [*map(unescaped, sorted(members, key=lambda member: (-members[member], member)))]

    def moved(self, name: str, before: float | None, after: float | None, heights: Mapping[str, float]) -> None:
        """Take in that a counter has moved; None: it is not there. `heights` are all counters, as they are now."""
        prefix = name[:PREFIX]
        if prefix not in self._led:
            return
        if before is not None and after is not None and after < before:
            self.look_through(heights, only=prefix)
        else:
            self._put(prefix, name, after)

    def _put(self, prefix: str, name: str, height: float | None) -> None:
        group, _, member = name[PREFIX:].partition(SEPARATOR)
        if not member or SEPARATOR in member:  # the group's total, or of before ids were escaped
            return
        groups = self._groups[prefix]
        if height is None:
            members = groups.get(group, {})
            members.pop(member, None)
            if not members:
                groups.pop(group, None)
            return
        members = groups.setdefault(group, {})
        members[member] = height
        if len(members) > self._led[prefix]:
            # Of equals the same one goes that a full table would forget first.
            del members[min(members, key=lambda one: (members[one], one))]

    def look_through(self, heights: Mapping[str, float], *, only: str = "") -> None:
        """Begin anew with all counters, or with those of one table."""
        for prefix in self._led:
            if prefix.startswith(only):
                self._groups[prefix] = {}
        for name, height in heights.items():
            prefix = name[:PREFIX]
            if prefix in self._led and prefix.startswith(only):
                self._put(prefix, name, height)
