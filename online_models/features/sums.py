"""Sums of a number field: what a visitor has spent, in all or with exponential decay."""

from __future__ import annotations

from math import exp2, log2
from typing import Any

from online_models.features.decay import LANDMARK_MS, raised
from online_models.features.fields import COMMON_FIELDS, NUMBER_FIELDS
from online_models.features.options import Options
from online_models.features.plan import Accumulator, Fold, Read, Reading, Slots

SUMMED_FIELDS = tuple(name for name in NUMBER_FIELDS if name != "tz_offset_min")  # none of them is negative


def total(options: Options) -> Reading:
    """``{sum: FIELD, of: TYPES, half_life: DURATION}``; without a half_life: in all."""
    field, types = options.choice("sum", SUMMED_FIELDS), options.event_types("of")
    if options.has("half_life"):
        read = _read_decayed(options, field, types, options.half_life())
        return Reading("number", read, always=True, of_item=False, jumps=True)

    def bind(index: int) -> Fold:
        def fold(slots: Slots, event: Any, ts: int) -> None:
            x = _value(event, field)
            if x:
                slots[index] = (slots[index] or 0) + x

        return fold

    slot = options.slots.use(Accumulator(f"sum:{field}:{'+'.join(types)}", bind, frozenset(types)))
    return Reading("number", lambda slots, event, now: slots[slot] or 0, always=True, of_item=False, jumps=True)


def _read_decayed(options: Options, field: str, types: tuple[str, ...], half_life_ms: int) -> Read:
    per_ms = 1.0 / half_life_ms

    def bind(index: int) -> Fold:
        def fold(slots: Slots, event: Any, ts: int) -> None:
            x = _value(event, field)
            if x:
                slots[index] = raised(slots[index], (ts - LANDMARK_MS) * per_ms + log2(x))

        return fold

    slot = options.slots.use(Accumulator(f"sum:{field}:{'+'.join(types)}:{half_life_ms}", bind, frozenset(types)))

    def read(slots: Slots, event: Any, now: int) -> float:
        height = slots[slot]
        return 0.0 if height is None else exp2(height - (now - LANDMARK_MS) * per_ms)

    return read


def _value(event: Any, field: str) -> float | int | None:
    value: float | int | None = getattr(event, field) if field in COMMON_FIELDS else getattr(event, field, None)
    return value


FAMILIES = {"sum": total}
