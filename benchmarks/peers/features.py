"""The peers' twelve features, and their state of a visitor: counters in a list, packed by orjson."""

from __future__ import annotations

from math import log1p
from typing import Any

EMPTY = (0, 0, 0, 0, 0, 0, 0.0, 0)
_VIEWS, _CLICKS, _LAST_CLICK, _EVENTS, _FIRST, _LAST, _DEPTH, _BASKET = range(8)
INACTIVITY_MS = 30 * 60_000


def fold(state: list[Any], event: dict[str, Any]) -> None:
    """Count an event."""
    ts, kind = event["ts"], event["type"]
    if ts - state[_LAST] > INACTIVITY_MS:
        state[_EVENTS], state[_FIRST], state[_DEPTH] = 0, ts, 0.0
    state[_EVENTS] += 1
    state[_LAST] = ts
    if kind == "page_view":
        state[_VIEWS] += 1
    elif kind == "click":
        state[_CLICKS] += 1
        state[_LAST_CLICK] = ts
    elif kind == "add_to_cart":
        state[_BASKET] += 1
    elif kind == "scroll":
        state[_DEPTH] = max(state[_DEPTH], event["depth"])


def extract(state: list[Any], event: dict[str, Any]) -> dict[str, float]:
    """Return what the model sees."""
    ts = event["ts"]
    return {
        "views": log1p(state[_VIEWS]),
        "clicks": log1p(state[_CLICKS]),
        "since_click": log1p((ts - state[_LAST_CLICK]) / 1000) if state[_LAST_CLICK] else 14.7,
        "visit_events": log1p(state[_EVENTS]),
        "visit_time": log1p((ts - state[_FIRST]) / 1000),
        "scrolled": state[_DEPTH],
        "basket": float(state[_BASKET]),
        "price": log1p(event["price"]),
        "position": float(event["position"]),
        "category=" + event["category"]: 1.0,
        "device=" + event["device"]: 1.0,
        f"hour={ts // 3_600_000 % 24}": 1.0,
    }
