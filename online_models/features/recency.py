"""Time since the visitor's last event of a type."""

from __future__ import annotations

from typing import Any

from online_models.features.durations import UNITS_MS
from online_models.features.options import Options
from online_models.features.plan import Accumulator, Fold, Reading, Slots, as_folded


def time_since(options: Options) -> Reading:
    """``{time_since: TYPES, unit: s}``: time since the last event of these types *before this event*.

    The event itself would always be 0 ms ago. The state is ``[time of the last, gap before it]``.
    """
    types = options.event_types("time_since")
    unit_ms = UNITS_MS[options.choice("unit", UNITS_MS, default="s")]
    chosen = frozenset(types)

    def bind(index: int) -> Fold:
        def fold(slots: Slots, event: Any, ts: int) -> None:
            state = slots[index]
            if state is None:
                slots[index] = [ts, None]
            elif ts > state[0]:
                state[1] = ts - state[0]
                state[0] = ts
            else:  # late: as if it came at the time of the last
                state[1] = 0

        return fold

    slot = options.slots.use(Accumulator(f"last:{'+'.join(types)}", bind, chosen))

    def read(slots: Slots, event: Any, now: int) -> float | None:
        state = slots[slot]
        if state is None:
            return None
        age_ms = state[1] if event.type in chosen else now - state[0]
        return None if age_ms is None else age_ms / unit_ms

    return Reading("number", read, unfolded=as_folded(read), unit_ms=unit_ms, of_item=False, jumps=True)


FAMILIES = {"time_since": time_since}
