"""Sessions: one accumulator that cuts a visitor's events into visits, and what is read from it.

The rules of the cut:

- An event with the session_id of the current session continues it; with another id it begins a session.
- An event without an id continues the current session unless more than `inactivity` has passed.
- An event with the id of the session before continues the current one: the visitor is on two devices at
  once, and counting a session at every change between them would make visits of one. So does, within `inactivity`,
  the id of one of the last four sessions that began so soon after one another: of tabs that each have their own.
- An event that is older than the current session's last by more than `inactivity`, and not of it, is a
  straggler of a session long over; it leaves no trace here, nor in what else is of the session (`is_straggler`).
- Auctions and consent are no visits: they may happen while the visitor is elsewhere.
"""

from __future__ import annotations

from math import exp2, log
from typing import Any
from zlib import crc32

from online_models.features.decay import LANDMARK_MS, raised
from online_models.features.options import Options
from online_models.features.plan import Accumulator, Fold, Read, Reading, Slots
from online_models.features.rings import DEFAULT_BUCKETS, ring_added, ring_sum
from schemas.events import EVENT_TYPES

SESSION_EVENTS = frozenset(EVENT_TYPES) - {"bid_request", "bid_win", "bid_loss", "consent"}
SECOND_MS = 1_000
DAY_MS = 86_400_000
_DAYS_PER = {"per_day": 1, "per_week": 7}

# Places in the state. GAP: from the end of the session before to the start of this one, None in the
# first. KEY, PREVIOUS: crc32 of this and the last session's id, 0 without one. From OLDER on: of those before, the
# latest first; usually none, and none in states of before.
LAST, DURATION, EVENTS, NUMBER, GAP, KEY, PREVIOUS, OLDER = range(8)
_MOST_OLDER = 2


def use_session(options: Options) -> tuple[int, str]:
    """Return the slot of the shared session accumulator, and its key."""
    inactivity_ms = options.defaults.inactivity_ms
    key = f"session:{inactivity_ms}"
    return options.slots.use(Accumulator(key, lambda index: _fold(index, inactivity_ms), SESSION_EVENTS)), key


def _fold(index: int, inactivity_ms: int) -> Fold:
    def fold(slots: Slots, event: Any, ts: int) -> None:
        session_id = event.session_id
        key = 0 if session_id is None else _key_of(session_id)
        state = slots[index]
        if state is None:
            slots[index] = [ts, 0, 1, 1, None, key, 0]
            return
        pause_ms, current = ts - state[LAST], state[KEY]
        if key and key == current:
            goes_on = True
        elif pause_ms < -inactivity_ms:
            return
        elif key and current:
            goes_on = key == state[PREVIOUS] or (pause_ms <= inactivity_ms and key in state[OLDER:])
        else:
            goes_on = pause_ms <= inactivity_ms
        if not goes_on:
            begun = [max(ts, state[LAST]), 0, 1, state[NUMBER] + 1, max(pause_ms, 0), key, current]
            if pause_ms <= inactivity_ms and state[PREVIOUS] and state[GAP] <= inactivity_ms:
                begun += state[PREVIOUS : PREVIOUS + _MOST_OLDER]
            slots[index] = begun
            return
        state[EVENTS] += 1
        if pause_ms > 0:
            state[LAST] = ts
            state[DURATION] += pause_ms
        if not current:
            state[KEY] = key

    return fold


def _key_of(session_id: str) -> int:
    return crc32(session_id.encode()) or 1


def is_straggler(visit: Any, event: Any, ts: int, inactivity_ms: int) -> bool:
    """Tell whether the session accumulator has left an event out.

    Accumulators that go by a session's number ask this; it is only ever true of an event before its `LAST`.

    Parameters
    ----------
    visit
        State of the session accumulator, into which the event was folded.
    """
    if ts >= visit[LAST] - inactivity_ms:
        return False
    return event.session_id is None or _key_of(event.session_id) != visit[KEY]


def session(options: Options) -> Reading:
    """``{session: events | duration | since_last}`` of the current session; times in seconds."""
    facet = options.choice("session", ("events", "duration", "since_last"))
    slot, _ = use_session(options)
    if facet == "events":
        return Reading(
            "number", lambda slots, event, now: slots[slot][EVENTS] if slots[slot] else 0, always=True, of_item=False
        )
    place = DURATION if facet == "duration" else GAP

    def read(slots: Slots, event: Any, now: int) -> float | None:
        state = slots[slot]
        if state is None or state[place] is None:
            return None
        return state[place] / SECOND_MS  # type: ignore[no-any-return]

    return Reading("number", read, unit_ms=SECOND_MS, of_item=False, jumps=True)


def visits(options: Options) -> Reading:
    """``{visits: total | DURATION | per_day | per_week}``: sessions in all, in a window, or as a decayed rate."""
    wanted = options.raw("visits")
    if wanted == "total":
        options.canonical["visits"] = wanted
        slot, _ = use_session(options)
        return Reading(
            "number", lambda slots, event, now: slots[slot][NUMBER] if slots[slot] else 0, always=True, of_item=False
        )
    if isinstance(wanted, str) and wanted in _DAYS_PER:
        options.canonical["visits"] = wanted
        return Reading(
            "number", _read_rate(options, _DAYS_PER[wanted], options.half_life(30 * DAY_MS)), always=True, of_item=False
        )
    if isinstance(wanted, str) and not wanted[:1].isdigit():
        raise options.error(f"Expected total, per_day, per_week or a duration such as 7d, got {wanted!r}", "visits")
    return Reading(
        "number", _read_window(options, options.duration("visits", low_ms=60_000)), always=True, of_item=False
    )


def _read_window(options: Options, window_ms: int) -> Read:
    buckets = DEFAULT_BUCKETS
    bucket_ms = window_ms // buckets
    session_slot, key = use_session(options)

    def bind(index: int) -> Fold:
        def fold(slots: Slots, event: Any, ts: int) -> None:
            state, number = slots[index], slots[session_slot][NUMBER]
            if state is None:
                slots[index] = [number, ring_added(None, ts // bucket_ms, buckets)]
            elif state[0] != number:
                state[0] = number
                state[1] = ring_added(state[1], ts // bucket_ms, buckets)

        return fold

    slot = options.slots.use(Accumulator(f"visits:{window_ms}:{buckets}:{key}", bind, SESSION_EVENTS))

    def read(slots: Slots, event: Any, now: int) -> int:
        state = slots[slot]
        return 0 if state is None else ring_sum(state[1], now // bucket_ms, buckets)

    return read


def _read_rate(options: Options, days: int, half_life_ms: int) -> Read:
    per_ms = 1.0 / half_life_ms
    # A steady stream of r events per ms has a decayed count of r * half_life / ln 2.
    scale = log(2.0) * per_ms * days * DAY_MS
    session_slot, key = use_session(options)

    def bind(index: int) -> Fold:
        def fold(slots: Slots, event: Any, ts: int) -> None:
            state, number = slots[index], slots[session_slot][NUMBER]
            if state is None:
                slots[index] = [number, (ts - LANDMARK_MS) * per_ms]
            elif state[0] != number:
                slots[index] = [number, raised(state[1], (ts - LANDMARK_MS) * per_ms)]

        return fold

    slot = options.slots.use(Accumulator(f"visit_rate:{half_life_ms}:{key}", bind, SESSION_EVENTS))

    def read(slots: Slots, event: Any, now: int) -> float:
        state = slots[slot]
        return 0.0 if state is None else scale * exp2(state[1] - (now - LANDMARK_MS) * per_ms)

    return read


FAMILIES = {"session": session, "visits": visits}
