"""Which items a policy could have chosen at a trigger, and what the event would have looked like with them.

The candidates of a trigger come from what was shown *before* it. Counting the trigger's own item among
them would let the candidates depend on what the logging policy chose just there: every policy would then
be credited with wanting it, weights would no longer be 1 on average, and every estimate would be too high.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from msgspec.structs import replace

from schemas.events import EventBase

# Positions from here on share their candidates.
MOST_POSITIONS = 64
_PROPERTY = "properties."

Described = dict[str, tuple[Any, ...]]


class ShownItems:
    """The items that were shown last, position by position, and their fields as they were then.

    Parameters
    ----------
    most
        Different items that are remembered of a position; the one not shown for longest goes first.
    declared
        Items of which the fields are remembered whenever they were shown.
    fields
        Names of the fields that belong to items: those of an event, or ``properties.…``.
    """

    def __init__(self, most: int, declared: Iterable[str], fields: Sequence[str]) -> None:
        self._most = most
        self._fields = tuple(fields)
        self._declared: Described = {item: (None,) * len(self._fields) for item in declared}
        self._shown: dict[int, Described] = {}

    def add(self, event: EventBase) -> None:
        """Take note of an item that was shown."""
        item = event.item_id
        if item is None:
            return
        described = tuple(_value(event, field) for field in self._fields)
        if item in self._declared:
            self._declared[item] = described
        if self._most:
            shown = self._shown.setdefault(_place(event), {})
            shown.pop(item, None)
            shown[item] = described
            if len(shown) > self._most:
                del shown[next(iter(shown))]

    def recent(self, event: EventBase, count: int) -> list[str]:
        """Return the last `count` different items that were shown at the event's position, oldest first."""
        return list(self._shown.get(_place(event), {}))[-count:]

    def instead(self, event: EventBase, item: str, fields: Sequence[str]) -> EventBase:
        """Return the event as it would have been with another item.

        Parameters
        ----------
        fields
            Those to be taken over from the time when the item was last shown; unknown ones become None.
        """
        described = self._shown.get(_place(event), {}).get(item) or self._declared.get(item)
        known = dict(zip(self._fields, described, strict=True)) if described else {}
        changes: dict[str, Any] = {"item_id": item}
        properties = dict(event.properties or {})
        for field in fields:
            if field.startswith(_PROPERTY):
                properties[field[len(_PROPERTY) :]] = known.get(field)
            else:
                changes[field] = known.get(field)
        if properties:
            changes["properties"] = properties
        return replace(event, **changes)

    def state(self) -> list[Any]:
        """Return everything as plain values."""
        return [
            [[place, [[item, *one] for item, one in shown.items()]] for place, shown in self._shown.items()],
            [[item, *one] for item, one in self._declared.items()],
        ]

    def restore(self, state: Sequence[Any]) -> None:
        """Take up what `state` gave."""
        shown, declared = state
        self._shown = {place: {item: tuple(one) for item, *one in items} for place, items in shown}
        self._declared = {item: tuple(one) for item, *one in declared}


def _place(event: EventBase) -> int:
    return -1 if event.position is None else min(event.position, MOST_POSITIONS - 1)


def _value(event: EventBase, field: str) -> Any:
    if field.startswith(_PROPERTY):
        return (event.properties or {}).get(field[len(_PROPERTY) :])
    return getattr(event, field)
