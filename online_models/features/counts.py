"""Counts of events: in all, within a window, within the session, or with exponential decay."""

from __future__ import annotations

from math import exp2
from typing import Any

from online_models.features.decay import LANDMARK_MS, raised
from online_models.features.options import Options
from online_models.features.plan import Accumulator, Fold, Read, Reading, Slots
from online_models.features.rings import DEFAULT_BUCKETS, MAX_BUCKETS, ring_added, ring_sum
from online_models.features.sessions import LAST, NUMBER, is_straggler, use_session


def count(options: Options) -> Reading:
    """``{count: TYPES, window: DURATION | session, buckets: N}``; without a window: in all."""
    types = options.event_types("count")
    return Reading("number", counter(options, types), always=True, of_item=False)


def decayed_count(options: Options) -> Reading:
    """``{decayed_count: TYPES, half_life: DURATION}``: an event counts half after each half-life."""
    types = options.event_types("decayed_count")
    return Reading("number", read_decayed(options, types, options.half_life()), always=True, of_item=False)


def counter(options: Options, types: tuple[str, ...]) -> Read:
    """Return the reading of a count of `types`, bounded by `window` as far as it is declared."""
    if not options.has("window"):
        return read_total(options, types)
    if options.raw("window") == "session":
        options.canonical["window"] = "session"
        return read_in_session(options, types)
    window_ms = options.duration("window")
    buckets = options.integer("buckets", DEFAULT_BUCKETS, 1, MAX_BUCKETS)
    return read_window(options, types, window_ms, buckets)


def read_total(options: Options, types: tuple[str, ...]) -> Read:
    """Return the reading of the number of events of `types` in all."""

    def bind(index: int) -> Fold:
        def fold(slots: Slots, event: Any, ts: int) -> None:
            slots[index] = (slots[index] or 0) + 1

        return fold

    slot = options.slots.use(Accumulator(f"total:{_joined(types)}", bind, frozenset(types)))
    return lambda slots, event, now: slots[slot] or 0


def read_in_session(options: Options, types: tuple[str, ...]) -> Read:
    """Return the reading of the number of events of `types` in the current session."""
    session, session_key = use_session(options)
    inactivity_ms = options.defaults.inactivity_ms

    def bind(index: int) -> Fold:
        def fold(slots: Slots, event: Any, ts: int) -> None:
            visit = slots[session]
            if visit and ts < visit[LAST] and is_straggler(visit, event, ts, inactivity_ms):
                return
            number = visit[NUMBER] if visit else 0
            state = slots[index]
            if state is None or state[0] != number:
                slots[index] = [number, 1]
            else:
                state[1] += 1

        return fold

    slot = options.slots.use(Accumulator(f"in_{session_key}:{_joined(types)}", bind, frozenset(types)))

    def read(slots: Slots, event: Any, now: int) -> int:
        state, visit = slots[slot], slots[session]
        if state is None or (visit is not None and state[0] != visit[NUMBER]):
            return 0
        return state[1]  # type: ignore[no-any-return]

    return read


def read_window(options: Options, types: tuple[str, ...], window_ms: int, buckets: int) -> Read:
    """Return the reading of a sliding count.

    What is counted happened within the window, and whatever happened within the window less one bucket is
    counted: the newest bucket is not full yet.
    """
    bucket_ms = window_ms // buckets
    key = f"window:{_joined(types)}:{window_ms}:{buckets}"
    slot = options.slots.use(Accumulator(key, lambda index: _fold_window(index, bucket_ms, buckets), frozenset(types)))

    def read(slots: Slots, event: Any, now: int) -> int:
        ring = slots[slot]
        return 0 if ring is None else ring_sum(ring, now // bucket_ms, buckets)

    return read


def _fold_window(index: int, bucket_ms: int, buckets: int) -> Fold:
    def fold(slots: Slots, event: Any, ts: int) -> None:
        bucket = ts // bucket_ms
        ring = slots[index]
        if ring is not None and ring[0] == bucket:  # by far the most frequent case, without a call
            ring[1] += 1
        else:
            slots[index] = ring_added(ring, bucket, buckets)

    return fold


def read_decayed(options: Options, types: tuple[str, ...], half_life_ms: int) -> Read:
    """Return the reading of a decayed count; see `decay` for the height that its slot holds."""
    per_ms = 1.0 / half_life_ms

    def bind(index: int) -> Fold:
        def fold(slots: Slots, event: Any, ts: int) -> None:
            slots[index] = raised(slots[index], (ts - LANDMARK_MS) * per_ms)

        return fold

    slot = options.slots.use(Accumulator(f"decayed:{_joined(types)}:{half_life_ms}", bind, frozenset(types)))

    def read(slots: Slots, event: Any, now: int) -> float:
        height = slots[slot]
        return 0.0 if height is None else exp2(height - (now - LANDMARK_MS) * per_ms)

    return read


def _joined(types: tuple[str, ...]) -> str:
    return "+".join(types)


FAMILIES = {"count": count, "decayed_count": decayed_count}
