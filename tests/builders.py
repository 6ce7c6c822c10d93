"""Readable test data: events with defaults, and a log that numbers and encodes them."""

from __future__ import annotations

from typing import Any, NamedTuple

from schemas.codec import encode_json
from schemas.events import AddToCart, Click, EventBase, Impression, PageView, Purchase, Scroll, Tick

T0 = 1_700_000_000_000
MINUTE = 60_000
HOUR = 60 * MINUTE
DAY = 24 * HOUR


def an_event(kind: type[EventBase], at_ms: int = 0, **fields: Any) -> Any:
    """Build an event of `kind` at T0 + `at_ms`, of user u1 in session s1 unless said otherwise."""
    fields.setdefault("event_id", f"{kind.type}-{at_ms}-{fields.get('item_id', '')}")
    fields.setdefault("user_id", "u1")
    fields.setdefault("session_id", "s1")
    return kind(ts=T0 + at_ms, **fields)


def a_page_view(at_ms: int = 0, **fields: Any) -> PageView:
    return an_event(PageView, at_ms, **fields)


def an_impression(item_id: str = "i1", at_ms: int = 0, **fields: Any) -> Impression:
    return an_event(Impression, at_ms, item_id=item_id, **fields)


def a_click(item_id: str = "i1", at_ms: int = 0, **fields: Any) -> Click:
    return an_event(Click, at_ms, item_id=item_id, **fields)


def an_add_to_cart(item_id: str = "i1", at_ms: int = 0, **fields: Any) -> AddToCart:
    return an_event(AddToCart, at_ms, item_id=item_id, **fields)


def a_purchase(at_ms: int = 0, **fields: Any) -> Purchase:
    return an_event(Purchase, at_ms, **fields)


def a_scroll(depth: float = 0.5, at_ms: int = 0, **fields: Any) -> Scroll:
    return an_event(Scroll, at_ms, depth=depth, **fields)


class LogRecord(NamedTuple):
    """A record of one partition."""

    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None


class EventLog:
    """One partition of `events`; every method appends and returns the log."""

    def __init__(self) -> None:
        self.records: list[LogRecord] = []

    def add(self, *events: EventBase | Tick) -> EventLog:
        for event in events:
            self.add_raw(encode_json(event), key=getattr(event, "user_id", "").encode() or None)
        return self

    def add_raw(self, value: bytes | None, *, key: bytes | None = b"u1", timestamp: int = T0 + 400 * DAY) -> EventLog:
        self.records.append(LogRecord(len(self.records), timestamp, key, value))
        return self

    def tick(self, at_ms: int) -> EventLog:
        return self.add(Tick(ts=T0 + at_ms))
