"""Affinity: which categories or items the visitor turns to, decayed.

The state is ``[height of all weights, {key: height of its weights}]`` (see `decay`). Heights of one
half-life compare without knowing the time, so shares and the favourite cost one subtraction.
"""

from __future__ import annotations

from math import exp2, inf, log2
from typing import Any

from online_models.features.decay import LANDMARK_MS, raised
from online_models.features.fields import ID_FIELDS
from online_models.features.options import Options
from online_models.features.plan import Accumulator, Fold, Read, Reading, Slots
from online_models.features.sessions import DAY_MS
from schemas.events import EVENT_TYPES

# Intent rises from looking to buying; the steps are a convention, not a measurement.
DEFAULT_WEIGHTS = {"page_view": 1.0, "click": 1.0, "add_to_cart": 3.0, "purchase": 5.0}
# About 17 bytes a key. Eight hold nearly all of most visitors' decayed weight.
DEFAULT_KEEP = 8
MAX_KEEP = 64
MAX_WEIGHT = 1e6


def affinity(options: Options) -> Reading:
    """``{affinity: FIELD, half_life: 7d, weights: {TYPE: w}, top: 8}``: the share of this event's own key.

    With `to: KEY`, of that key, whatever the event is about: it describes the visitor.
    """
    field, slot = _accumulated(options, "affinity")
    if options.has("to"):
        return Reading("number", _read_share(slot, _text(options, "to")), always=True)

    def read(slots: Slots, event: Any, now: int) -> float | None:
        key = getattr(event, field)
        if key is None:
            return None
        state = slots[slot]
        height = None if state is None else state[1].get(key)
        return 0.0 if height is None else min(exp2(height - state[0]), 1.0)

    return Reading("number", read)


def _read_share(slot: int, key: str) -> Read:
    def read(slots: Slots, event: Any, now: int) -> float:
        state = slots[slot]
        height = None if state is None else state[1].get(key)
        return 0.0 if height is None else min(exp2(height - state[0]), 1.0)

    return read


def _text(options: Options, key: str) -> str:
    value = options.raw(key)
    if not isinstance(value, str) or not value:
        raise options.error(f"Expected a text, got {value!r}", key)
    options.canonical[key] = value
    return value


def favourite(options: Options) -> Reading:
    """``{favourite: FIELD, …}``: the key with the most weight, as a category; options as for affinity."""
    _, slot = _accumulated(options, "favourite")
    return Reading("category", _read_favourite(slot), max_chars=128, of_item=False)


def _read_favourite(slot: int) -> Read:
    def read(slots: Slots, event: Any, now: int) -> str | None:
        state = slots[slot]
        if state is None:
            return None
        best, highest = None, -inf
        for key, height in state[1].items():
            if height > highest:
                best, highest = key, height
        return best

    return read


def _accumulated(options: Options, family: str) -> tuple[str, int]:
    field = options.choice(family, ID_FIELDS)
    half_life_ms = options.half_life(7 * DAY_MS)
    weights = _weights(options)
    keep = options.integer("top", DEFAULT_KEEP, 1, MAX_KEEP)
    written = ",".join(f"{kind}={weight:g}" for kind, weight in sorted(weights.items()))
    key = f"affinity:{field}:{half_life_ms}:{written}:{keep}"
    levels = {kind: log2(weight) for kind, weight in weights.items()}

    def bind(index: int) -> Fold:
        return _fold(index, field, 1.0 / half_life_ms, levels, keep)

    return field, options.slots.use(Accumulator(key, bind, frozenset(weights)))


def _weights(options: Options) -> dict[str, float]:
    weights = dict(DEFAULT_WEIGHTS)
    if options.has("weights"):
        weights = {}
        for kind, weight in options.mapping("weights").items():
            if kind not in EVENT_TYPES:
                raise options.error(
                    f"Unknown event type {kind!r}; expected one of: {', '.join(EVENT_TYPES)}", "weights", str(kind)
                )
            weights[kind] = options.number_in(weight, "weights", kind)
            if not 1 / MAX_WEIGHT <= weights[kind] <= MAX_WEIGHT:
                raise options.error("Expected a weight above 0; leave out the types that do not count", "weights", kind)
        if not weights:
            raise options.error("Expected at least one event type with its weight", "weights")
    options.canonical["weights"] = weights
    return weights


def _fold(index: int, field: str, per_ms: float, levels: dict[str, float], keep: int) -> Fold:
    def fold(slots: Slots, event: Any, ts: int) -> None:
        key = getattr(event, field)
        if key is None:
            return
        at = (ts - LANDMARK_MS) * per_ms + levels[event.type]
        state = slots[index]
        if state is None:
            slots[index] = [at, {key: at}]
            return
        heights = state[1]
        state[0] = raised(state[0], at)
        heights[key] = raised(heights.get(key), at)
        if len(heights) > keep:
            # The least goes, but never the one just seen: it could not grow otherwise.
            del heights[min((other for other in heights if other != key), key=heights.__getitem__)]

    return fold


FAMILIES = {"affinity": affinity, "favourite": favourite}
