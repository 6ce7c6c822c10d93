"""The basket: what was put in and not yet taken out or bought.

The state is a dict of item_id to ``[pieces, price of one]``; None when empty. A purchase empties it.
"""

from __future__ import annotations

from typing import Any

from online_models.features.options import Options
from online_models.features.plan import Accumulator, Fold, Reading, Slots

# More kinds than this in one basket are rare; the one that lies there longest is forgotten.
MAX_ITEMS = 32
MAX_PIECES = 1_000_000
_EVENTS = frozenset(("add_to_cart", "remove_from_cart", "purchase"))


def basket(options: Options) -> Reading:
    """``{basket: items | pieces | value}``: kinds of items, pieces, or their price in all."""
    facet = options.choice("basket", ("items", "pieces", "value"))
    slot = options.slots.use(Accumulator("basket", _fold, _EVENTS))

    def read_items(slots: Slots, event: Any, now: int) -> int:
        return len(slots[slot] or ())

    def read_pieces(slots: Slots, event: Any, now: int) -> int:
        held = slots[slot]
        return sum(pieces for pieces, _ in held.values()) if held else 0

    def read_value(slots: Slots, event: Any, now: int) -> float:
        held = slots[slot]
        return sum(pieces * price for pieces, price in held.values()) if held else 0.0

    readers = {"items": read_items, "pieces": read_pieces, "value": read_value}
    return Reading("number", readers[facet], always=True, of_item=False, jumps=facet != "items")


def _fold(index: int) -> Fold:
    def fold(slots: Slots, event: Any, ts: int) -> None:
        kind = event.type
        if kind == "purchase":
            slots[index] = None
            return
        held = slots[index]
        if kind == "add_to_cart":
            slots[index] = _with(held or {}, event)
        elif held and event.item_id in held:
            slots[index] = _without(held, event) or None

    return fold


def _with(held: dict[str, list[Any]], event: Any) -> dict[str, list[Any]] | None:
    quantity = 1 if event.quantity is None else event.quantity
    if quantity <= 0:
        return held or None
    line = held.get(event.item_id)
    if line is None:
        if len(held) >= MAX_ITEMS:
            del held[next(iter(held))]
        held[event.item_id] = [quantity, event.price or 0]
        return held
    line[0] = min(line[0] + quantity, MAX_PIECES)
    if event.price is not None:
        line[1] = event.price
    return held


def _without(held: dict[str, list[Any]], event: Any) -> dict[str, list[Any]]:
    line = held[event.item_id]
    if event.quantity is None or event.quantity >= line[0]:
        del held[event.item_id]
    else:
        line[0] -= event.quantity
    return held


FAMILIES = {"basket": basket}
