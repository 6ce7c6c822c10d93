"""Dwell: how long the visitor stays on a page.

A dwell is observed in two ways. An event that carries ``dwell_ms`` tells it. Otherwise the time between
two page views of one session is the dwell on the first, capped: nobody knows when the visitor looked
away. A page whose dwell was told is not measured again by the next page view.
"""

from __future__ import annotations

from typing import Any

from online_models.features.means import mean_with
from online_models.features.options import Options
from online_models.features.plan import Accumulator, Fold, Read, Reading, Slots
from online_models.features.sessions import DAY_MS, NUMBER, SECOND_MS, SESSION_EVENTS, use_session

# Beyond ten minutes on one page most tabs are merely open.
DEFAULT_CAP_MS = 10 * 60_000

# Places in the state. VIEWED: time of the page view whose dwell is still open, None if there is none.
SESSION, VIEWED, LAST, TOTAL, MEAN = range(5)


def dwell(options: Options) -> Reading:
    """``{dwell: last | session | mean, cap: 10m, half_life: 7d}``, in seconds; half_life is for the mean."""
    facet = options.choice("dwell", ("last", "session", "mean"))
    cap_ms = options.duration("cap", DEFAULT_CAP_MS)
    half_life_ms = options.half_life(7 * DAY_MS) if facet == "mean" else 0
    session, session_key = use_session(options)
    key = f"dwell:{cap_ms}:{half_life_ms}:{session_key}"

    def bind(index: int) -> Fold:
        return _fold(index, session, cap_ms, half_life_ms)

    slot = options.slots.use(Accumulator(key, bind, SESSION_EVENTS))
    return Reading("number", _READERS[facet](slot, session), unit_ms=SECOND_MS, always=facet == "session")


def _fold(index: int, session: int, cap_ms: int, half_life_ms: int) -> Fold:
    per_ms = 1.0 / half_life_ms if half_life_ms else 0.0

    def fold(slots: Slots, event: Any, ts: int) -> None:
        told_ms = event.dwell_ms
        if told_ms is None and event.type != "page_view":
            return
        number = slots[session][NUMBER]
        state = slots[index]
        if state is None:
            state = slots[index] = [number, None, None, 0, None]
        elif state[SESSION] != number:
            state[SESSION], state[VIEWED], state[TOTAL] = number, None, 0
        viewed = state[VIEWED]
        if told_ms is not None:
            state[VIEWED] = None
        elif viewed is None:
            state[VIEWED] = ts
            return
        elif ts > viewed:
            state[VIEWED] = ts
            told_ms = ts - viewed
        else:  # a late page view: where it stood in the visit is not known any more
            return
        spent_ms = told_ms if told_ms < cap_ms else cap_ms
        state[LAST] = spent_ms
        state[TOTAL] += spent_ms
        if per_ms:
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
