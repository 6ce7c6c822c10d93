"""A visitor whose events are folded one by one, and event sequences for properties."""

from __future__ import annotations

from typing import Any

from builders import DAY, MINUTE, an_event
from hypothesis import strategies as st

from online_models.crowd import CrowdCounts
from online_models.features import FeatureSet, compile_features
from schemas.events import (
    AddToCart,
    BidRequest,
    Click,
    Custom,
    EventBase,
    Impression,
    PageView,
    Purchase,
    RemoveFromCart,
    Scroll,
    Search,
)

# Every family in every variant.
EVERYTHING: dict[str, Any] = {
    "defaults": {"inactivity": "20m", "tz_offset_min": 60},
    "views": {"count": "page_view"},
    "views_1h": {"count": "page_view", "window": "1h"},
    "views_visit": {"count": ["page_view", "click"], "window": "session"},
    "clicks_7d": {"decayed_count": ["click", "add_to_cart"], "half_life": "7d", "transform": "log1p"},
    "clicks_fast": {"decayed_count": "click", "half_life": "1m", "transform": "sqrt"},
    "since_click": {"time_since": "click", "transform": "log1p", "default": "30d"},
    "since_view": {"time_since": "page_view", "unit": "m", "bins": ["1m", "10m"]},
    "ctr": {"rate": "click", "over": "impression", "half_life": "1d", "prior": {"rate": 0.05, "strength": 20}},
    "ctr_1h": {"rate": "click", "over": "impression", "window": "1h"},
    "ctr_ever": {"rate": "click", "over": "impression"},
    "visit_events": {"session": "events"},
    "visit_s": {"session": "duration", "transform": "log1p"},
    "since_visit": {"session": "since_last", "transform": "log1p"},
    "visits": {"visits": "total"},
    "visits_7d": {"visits": "7d"},
    "per_day": {"visits": "per_day"},
    "per_week": {"visits": "per_week", "half_life": "14d"},
    "dwell_last": {"dwell": "last"},
    "dwell_visit": {"dwell": "session"},
    "dwell_mean": {"dwell": "mean", "cap": "5m"},
    "depth": {"scroll": "max"},
    "depth_mean": {"scroll": "mean"},
    "basket_items": {"basket": "items"},
    "basket_pieces": {"basket": "pieces"},
    "basket_value": {"basket": "value", "transform": "log1p"},
    "spent": {"sum": "value", "of": "purchase", "transform": "log1p"},
    "spent_7d": {"sum": "price", "of": ["add_to_cart", "purchase"], "half_life": "7d"},
    "taste": {"affinity": "category", "half_life": "1h", "top": 2},
    "shoes": {"affinity": "category", "to": "shoes"},
    "favourite": {"favourite": "category", "half_life": "1h", "top": 2},
    "item_taste": {"affinity": "item_id", "weights": {"click": 1, "purchase": 10}},
    "before": {"previous": "item_id", "of": "page_view"},
    "before_visit": {"previous": "category", "within": "session"},
    "items": {"distinct": "item_id", "memory": 3},
    "again": {"seen": "item_id"},
    "hot": {"popularity": "item_id", "half_life": "15m"},
    "hot_here": {"popularity": "item_id", "by": "country"},
    "hot_plan": {"popularity": "category", "by": "properties.plan", "bins": [-0.5, 0.5]},
    "next": {"follows": "item_id"},
    "near": {"follows": "item_id", "reach": 3, "both_ways": True},
    "age": {"first_seen": "item_id", "bins": ["1h", "1d"]},
    "item": {"field": "item_id", "missing": "none"},
    "category": {"field": "category", "lower": True, "max_length": 3},
    "price": {"field": "price", "transform": "log1p", "clip": [1, 100]},
    "plan": {"field": "properties.plan"},
    "score": {"field": "properties.score", "numeric": True, "transform": "log1p"},
    "country": {"field": "country", "keep": ["de", "fr"]},
    "page": {"field": "url", "hash": 16},
    "medium": {"referrer": "medium", "site": "shop.example.com"},
    "kind": {"user_agent": "device"},
    "hour": {"hour": "cyclic"},
    "day": {"weekday": "categorical"},
    "item_x_kind": {"cross": ["item", "kind"]},
    "price_x_day_x_hour": {"cross": ["price", "day", "hour"]},
    "price_x_views": {"cross": ["price", "views"]},
}
# The one family that needs more than features.
SEGMENTS: dict[str, Any] = {"of": ["views", "clicks_7d", "basket_value", "since_view", "shoes"], "count": 2}
SEGMENTED: dict[str, Any] = {
    "segment": {"segment": "visitor"},
    "hot_alike": {"popularity": "item_id", "by": "segment"},
    "item_x_segment": {"cross": ["item", "segment"]},
}


class Visitor:
    """Folds and extracts, as the scoring core does; what it tells of the crowd is learned at once.

    Attributes
    ----------
    crowd
        May be shared by several visitors.
    """

    def __init__(self, declaration: dict[str, Any] | FeatureSet) -> None:
        self.features = declaration if isinstance(declaration, FeatureSet) else compile_features(declaration)
        self.slots = self.features.new_slots()
        self.crowd = CrowdCounts(self.features.crowd_tables)
        self._base = self.features.base_names

    def does(self, event: EventBase) -> dict[str, Any]:
        """Fold the event; return the values of the base features by name."""
        self.features.fold(self.slots, event)
        values = self.values_at(event)
        self.crowd.learn_one(self.features.told(self.slots, event, self.crowd.weights), True)
        return values

    def values_at(self, event: EventBase) -> dict[str, Any]:
        """Return the values of the base features for an event, without folding it."""
        return dict(zip(self._base, self.features.extract(self.slots, event, self.crowd.weights), strict=True))

    def shows(self, event: EventBase) -> dict[str, float]:
        """Fold the event; return what a model sees."""
        self.features.fold(self.slots, event)
        return self.features.vectorize(self.features.extract(self.slots, event))


def values_of(declaration: dict[str, Any], *events: EventBase) -> list[Any]:
    """Return the value of the one declared feature after each event."""
    visitor = Visitor(declaration)
    return [next(iter(visitor.does(event).values())) for event in events]


def _fields(kind: type[EventBase]) -> dict[str, st.SearchStrategy[Any]]:
    fields: dict[str, st.SearchStrategy[Any]] = {
        "item_id": st.sampled_from(["i1", "i2", "i3", "i4", "i5"]),
        "category": st.sampled_from([None, "shoes", "Hats", "bags", "x=y*z"]),
        "price": st.sampled_from([None, 0.0, 0.01, 59.9, 1e9]),
        "quantity": st.sampled_from([None, 0, 1, 3, 1_000_000]),
        "session_id": st.sampled_from([None, "s1", "s2", "s3"]),
        "dwell_ms": st.sampled_from([None, None, 0, 4_000, 7 * DAY]),
        "depth": st.sampled_from([None, 0.0, 0.3, 1.0]),
        "country": st.sampled_from([None, "de", "br"]),
        "tz_offset_min": st.sampled_from([None, -840, 0, 840]),
        "url": st.sampled_from([None, "https://shop.example.com/?gclid=1", "/a", "https://shop.example.com/b"]),
        "referrer": st.sampled_from([None, "", "https://www.google.com/", "https://shop.example.com/", "::"]),
        "user_agent": st.sampled_from([None, "", "curl/8.0", "Mozilla/5.0 (iPad; CPU OS 16_0 like Mac OS X)"]),
        "properties": st.none()
        | st.fixed_dictionaries(
            {},
            optional={
                "plan": st.sampled_from([None, True, 1, 1.0, 1.5, "1", "true", 2**70]),
                "score": st.sampled_from([None, -3, 2.5, "no", True, 10**400, float("inf"), float("nan")]),
            },
        ),
    }
    if kind is Scroll:
        fields["depth"] = st.sampled_from([0.0, 0.4, 1.0])
    return fields


_KINDS = (PageView, Click, Impression, AddToCart, RemoveFromCart, Purchase, Scroll, Search, BidRequest)
# Same instant, seconds, minutes and days ahead, and late by as much.
_STEPS_MS = (0, 0, 1, 2_000, 90_000, 5 * MINUTE, 45 * MINUTE, DAY, 40 * DAY, -1, -90_000, -45 * MINUTE, -DAY, -40 * DAY)


@st.composite
def event_sequences(draw: st.DrawFn, max_size: int = 25) -> list[EventBase]:
    """Events of one visitor in the order of the log; times may go back."""
    at_ms = 0
    events: list[EventBase] = []
    for number in range(draw(st.integers(1, max_size))):
        at_ms += draw(st.sampled_from(_STEPS_MS))
        kind = draw(st.sampled_from([*_KINDS, Custom]))
        fields = draw(st.fixed_dictionaries(_fields(kind)))
        if kind is Custom:
            fields["name"] = "ping"
        events.append(an_event(kind, at_ms, event_id=f"e{number}", **fields))
    return events
