"""What the visitor has already seen: the item before this one, distinct items, seen before or not."""

from __future__ import annotations

from typing import Any
from zlib import crc32

from online_models.features.fields import ID_FIELDS
from online_models.features.options import Options
from online_models.features.plan import Accumulator, Fold, Read, Reading, Slots, as_folded
from online_models.features.sessions import LAST, NUMBER, is_straggler, use_session

_SEEN_BY = ("click", "page_view")
# Each costs 3 bytes. With 32 remembered, an unseen item passes for a seen one in 1 of 2,000 cases.
DEFAULT_MEMORY = 32
MAX_MEMORY = 1024
_HASHES = 1 << 16

# Places in the state of what was seen; behind them the 16-bit hashes, the longest unseen first.
DISTINCT, AGAIN, HASHES = range(3)


def previous(options: Options) -> Reading:
    """``{previous: FIELD, of: TYPES, within: ever | session}``: the field of the last such event before this one."""
    field = options.choice("previous", ID_FIELDS)
    types = options.event_types("of", _SEEN_BY)
    if options.choice("within", ("ever", "session"), default="ever") == "session":
        read = _previous_in_session(options, field, types)
    else:
        read = _previous_ever(options, field, types)
    return Reading("category", read, unfolded=as_folded(read), max_chars=128, of_item=False)


def _previous_ever(options: Options, field: str, types: tuple[str, ...]) -> Read:
    chosen = frozenset(types)

    def bind(index: int) -> Fold:
        def fold(slots: Slots, event: Any, ts: int) -> None:
            state = slots[index]
            slots[index] = [getattr(event, field), None if state is None else state[0]]

        return fold

    slot = options.slots.use(Accumulator(f"previous:{field}:{'+'.join(types)}", bind, chosen))

    def read(slots: Slots, event: Any, now: int) -> str | None:
        state = slots[slot]
        return None if state is None else state[event.type in chosen]

    return read


def _previous_in_session(options: Options, field: str, types: tuple[str, ...]) -> Read:
    chosen = frozenset(types)
    session, session_key = use_session(options)
    inactivity_ms = options.defaults.inactivity_ms

    def bind(index: int) -> Fold:
        def fold(slots: Slots, event: Any, ts: int) -> None:
            state, visit = slots[index], slots[session]
            if visit and ts < visit[LAST] and is_straggler(visit, event, ts, inactivity_ms):
                return
            number = visit[NUMBER] if visit else 0
            before = state[0] if state is not None and state[2] == number else None
            slots[index] = [getattr(event, field), before, number]

        return fold

    slot = options.slots.use(Accumulator(f"previous_in_{session_key}:{field}:{'+'.join(types)}", bind, chosen))

    def read(slots: Slots, event: Any, now: int) -> str | None:
        state, visit = slots[slot], slots[session]
        if state is None or (visit is not None and state[2] != visit[NUMBER]):
            return None
        folded = event.type in chosen and (visit is None or not is_straggler(visit, event, event.ts, inactivity_ms))
        return state[folded]  # type: ignore[no-any-return]

    return read


def distinct(options: Options) -> Reading:
    """``{distinct: FIELD, of: TYPES, memory: 32}``: how many different ones in all.

    Exact as long as they fit the memory; one that was forgotten counts again.
    """
    _, _, slot = _seen(options, "distinct")
    return Reading(
        "number", lambda slots, event, now: slots[slot][DISTINCT] if slots[slot] else 0, always=True, of_item=False
    )


def seen(options: Options) -> Reading:
    """``{seen: FIELD, of: TYPES, memory: 32}``: 1 if this event's own was there in an earlier event, else 0."""
    field, types, slot = _seen(options, "seen")
    chosen = frozenset(types)

    def read(slots: Slots, event: Any, now: int) -> int | None:
        key = getattr(event, field)
        if key is None:
            return None
        state = slots[slot]
        if state is None:
            return 0
        if event.type in chosen:
            return state[AGAIN]  # type: ignore[no-any-return]
        return int(_hashed(key) in state[HASHES])

    def read_unfolded(slots: Slots, event: Any, now: int, folded: Any) -> int | None:
        key, state = getattr(event, field), slots[slot]
        if folded is not None and getattr(folded, field) == key:
            return read(slots, folded, now)
        if key is None:
            return None
        return 0 if state is None else int(_hashed(key) in state[HASHES])

    return Reading("number", read, unfolded=read_unfolded)


def _seen(options: Options, family: str) -> tuple[str, tuple[str, ...], int]:
    field = options.choice(family, ID_FIELDS)
    types = options.event_types("of", _SEEN_BY)
    memory = options.integer("memory", DEFAULT_MEMORY, 1, MAX_MEMORY)

    def bind(index: int) -> Fold:
        return _fold_seen(index, field, memory)

    key = f"seen:{field}:{'+'.join(types)}:{memory}"
    return field, types, options.slots.use(Accumulator(key, bind, frozenset(types)))


def _fold_seen(index: int, field: str, memory: int) -> Fold:
    def fold(slots: Slots, event: Any, ts: int) -> None:
        key = getattr(event, field)
        if key is None:
            return
        mark = _hashed(key)
        state = slots[index]
        if state is None:
            slots[index] = [1, 0, [mark]]
            return
        marks = state[HASHES]
        if mark in marks:
            state[AGAIN] = 1
            if marks[-1] != mark:  # seen again: forget it later
                marks.remove(mark)
                marks.append(mark)
            return
        state[AGAIN] = 0
        state[DISTINCT] += 1
        marks.append(mark)
        if len(marks) > memory:
            del marks[0]

    return fold


def _hashed(key: str) -> int:
    return crc32(key.encode()) % _HASHES


FAMILIES = {"previous": previous, "distinct": distinct, "seen": seen}
