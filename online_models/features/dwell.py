"""Dwell: how long the visitor stays on a page.

A dwell is observed in two ways. An event that carries ``dwell_ms`` tells it. Otherwise the time between
two page views of one session is the dwell on the first, capped: nobody knows when the visitor looked
away. A page whose dwell was told is not measured again by the next page view. Of a straggler, which is of no session
that is known, a dwell that it tells counts for the mean alone.
"""

from __future__ import annotations

from typing import Any

from online_models.features.means import mean_with
from online_models.features.options import Options
from online_models.features.plan import Accumulator, Fold, Read, Reading, Slots
from online_models.features.sessions import DAY_MS, NUMBER, SECOND_MS, SESSION_EVENTS, is_straggler, use_session

# Beyond ten minutes on one page most tabs are merely open.
DEFAULT_CAP_MS = 10 * 60_000

# Places in the state. VIEWED: time of the page view whose dwell is still open, None if there is none. Behind
# them stand the last dwell and the session's sum, or the decayed mean (see `means`).
SESSION, VIEWED, LAST, TOTAL = range(4)
MEAN = 2


def dwell(options: Options) -> Reading:
    """``{dwell: last | session | mean, cap: 10m, half_life: 7d}``, in seconds; half_life is for the mean."""
    facet = options.choice("dwell", ("last", "session", "mean"))
    cap_ms = options.duration("cap", DEFAULT_CAP_MS)
    half_life_ms = options.half_life(7 * DAY_MS) if facet == "mean" else 0
    session, session_key = use_session(options)
    inactivity_ms = options.defaults.inactivity_ms

    def bind(index: int) -> Fold:
        if half_life_ms:
            return _fold_mean(index, session, inactivity_ms, cap_ms, 1.0 / half_life_ms)
        return _fold(index, session, inactivity_ms, cap_ms)

    key = f"dwell_mean:{cap_ms}:{half_life_ms}:{session_key}" if half_life_ms else f"dwell:{cap_ms}:{session_key}"
    slot = options.slots.use(Accumulator(key, bind, SESSION_EVENTS))
    return Reading(
        "number", _READERS[facet](slot, session), unit_ms=SECOND_MS, always=facet == "session", of_item=False
    )


def _observed_ms(state: list[Any], event: Any, ts: int, cap_ms: int) -> int | None:
    """Return the dwell that this event ends or tells, if it does; note the page view that it begins."""
    viewed, told_ms = state[VIEWED], event.dwell_ms
    if told_ms is not None:
        state[VIEWED] = None
        return min(told_ms, cap_ms)  # type: ignore[no-any-return]
    if viewed is None:
        state[VIEWED] = ts
        return None
    if ts <= viewed:  # late: where it stood in the visit is not known any more
        return None
    state[VIEWED] = ts
    return min(ts - viewed, cap_ms)  # type: ignore[no-any-return]


def _fold(index: int, session: int, inactivity_ms: int, cap_ms: int) -> Fold:
    def fold(slots: Slots, event: Any, ts: int) -> None:
        if event.dwell_ms is None and event.type != "page_view":
            return
        state, visit = slots[index], slots[session]
        if is_straggler(visit, event, ts, inactivity_ms):
            return
        number = visit[NUMBER]
        if state is None:
            state = slots[index] = [number, None, None, 0]
        elif state[SESSION] != number:
            state[SESSION], state[VIEWED], state[TOTAL] = number, None, 0
        spent_ms = _observed_ms(state, event, ts, cap_ms)
        if spent_ms is not None:
            state[LAST] = spent_ms
            state[TOTAL] += spent_ms

    return fold


def _fold_mean(index: int, session: int, inactivity_ms: int, cap_ms: int, per_ms: float) -> Fold:
    def fold(slots: Slots, event: Any, ts: int) -> None:
        if event.dwell_ms is None and event.type != "page_view":
            return
        state, visit = slots[index], slots[session]
        number = visit[NUMBER]
        if state is None:
            state = slots[index] = [number, None, None]
        elif state[SESSION] != number:
            state[SESSION], state[VIEWED] = number, None
        if is_straggler(visit, event, ts, inactivity_ms):
            spent_ms = None if event.dwell_ms is None else min(event.dwell_ms, cap_ms)
        else:
            spent_ms = _observed_ms(state, event, ts, cap_ms)
        if spent_ms is not None:
            state[MEAN] = mean_with(state[MEAN], float(spent_ms), ts, per_ms)

    return fold


def _read_last(slot: int, session: int) -> Read:
    def read(slots: Slots, event: Any, now: int) -> float | None:
        state = slots[slot]
        return None if state is None or state[LAST] is None else state[LAST] / SECOND_MS

    return read


def _read_session(slot: int, session: int) -> Read:
    def read(slots: Slots, event: Any, now: int) -> float:
        state = slots[slot]
        if state is None or state[SESSION] != slots[session][NUMBER]:
            return 0.0
        return state[TOTAL] / SECOND_MS  # type: ignore[no-any-return]

    return read


def _read_mean(slot: int, session: int) -> Read:
    def read(slots: Slots, event: Any, now: int) -> float | None:
        state = slots[slot]
        return None if state is None or state[MEAN] is None else state[MEAN][1] / SECOND_MS

    return read


_READERS = {"last": _read_last, "session": _read_session, "mean": _read_mean}

FAMILIES = {"dwell": dwell}
