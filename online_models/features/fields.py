"""Which fields of an event may be features, and of what kind they are."""

from __future__ import annotations

from schemas.events import EventBase

PROPERTIES = "properties."

# By name, not by inspection: event_id, ts, session_id and order_id would be features that never repeat.
TEXT_FIELDS: dict[str, int] = {  # and the longest that the schema lets through
    "type": 128,
    "user_id": 128,
    "item_id": 128,
    "category": 128,
    "device": 128,
    "country": 128,
    "region": 128,
    "campaign": 128,
    "url": 2048,
    "referrer": 2048,
    "user_agent": 2048,
    "query": 512,  # search
    "source": 128,  # rank_request
    "name": 128,  # custom
}
NUMBER_FIELDS: tuple[str, ...] = (
    "price",
    "quantity",
    "position",
    "tz_offset_min",
    "dwell_ms",
    "depth",
    "propensity",  # impression
    "value",  # purchase
    "floor",  # bid_request
    "slot_width",
    "slot_height",
    "win_price",  # bid_win, bid_loss
)
# Kept in user state by value, so short ones only.
ID_FIELDS = ("item_id", "category", "campaign")
# May name or betray a person; reports show nothing that was made of their values.
PERSONAL_FIELDS = frozenset(("user_id", "url", "referrer", "user_agent", "query"))
COMMON_FIELDS = frozenset(EventBase.__struct_fields__) | {"type"}


def field_source(field: str) -> str:
    """Return Python source that reads `field` of ``event``; None where its type does not have it."""
    return f"event.{field}" if field in COMMON_FIELDS else f"getattr(event, {field!r}, None)"
