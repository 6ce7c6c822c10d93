"""Scroll depth: how far down the visitor reads, 0 to 1; from every event that carries ``depth``."""

from __future__ import annotations

from typing import Any

from online_models.features.means import mean_with
from online_models.features.options import Options
from online_models.features.plan import Accumulator, Fold, Reading, Slots
from online_models.features.sessions import DAY_MS, NUMBER, SESSION_EVENTS, is_straggler, use_session


def scroll(options: Options) -> Reading:
    """``{scroll: max | mean, half_life: 7d}``: deepest of the session, or the decayed mean of all."""
    if options.choice("scroll", ("max", "mean")) == "max":
        return _deepest(options)
    return _mean(options, 1.0 / options.half_life(7 * DAY_MS))


def _deepest(options: Options) -> Reading:
    session, session_key = use_session(options)
    inactivity_ms = options.defaults.inactivity_ms

    def bind(index: int) -> Fold:
        def fold(slots: Slots, event: Any, ts: int) -> None:
            depth = event.depth
            if depth is None:
                return
            state, visit = slots[index], slots[session]
            if is_straggler(visit, event, ts, inactivity_ms):
                return
            number = visit[NUMBER]
            if state is None or state[0] != number:
                slots[index] = [number, depth]
            elif depth > state[1]:
                state[1] = depth

        return fold

    slot = options.slots.use(Accumulator(f"depth_in_{session_key}", bind, SESSION_EVENTS))

    def read(slots: Slots, event: Any, now: int) -> float | None:
        state = slots[slot]
        return None if state is None or state[0] != slots[session][NUMBER] else state[1]

    return Reading("number", read, of_item=False)


def _mean(options: Options, per_ms: float) -> Reading:
    def bind(index: int) -> Fold:
        def fold(slots: Slots, event: Any, ts: int) -> None:
            if event.depth is not None:
                slots[index] = mean_with(slots[index], event.depth, ts, per_ms)

        return fold

    slot = options.slots.use(Accumulator(f"depth_mean:{options.canonical['half_life']}", bind, SESSION_EVENTS))

    def read(slots: Slots, event: Any, now: int) -> float | None:
        state = slots[slot]
        return None if state is None else state[1]

    return Reading("number", read, of_item=False)


FAMILIES = {"scroll": scroll}
