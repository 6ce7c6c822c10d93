"""Logs of two visitors who come, go, send late events and repeats: what hypothesis draws from."""

from __future__ import annotations

from typing import Any

from builders import HOUR, MINUTE, EventLog, an_event
from hypothesis import strategies as st

from schemas.events import Click, Impression, PageView, Purchase

KINDS = {one.type: one for one in (Impression, Click, PageView, Purchase)}

visits = st.lists(
    st.tuples(
        st.sampled_from([*KINDS, "repeat"]),
        st.sampled_from(["u1", "u2"]),
        st.sampled_from([1, MINUTE, 10 * MINUTE, 20 * MINUTE, HOUR, 23 * HOUR, 24 * HOUR, 25 * HOUR, -20 * MINUTE]),
    ),
    max_size=30,
)


def log_of(visits: list[Any]) -> EventLog:
    """Return a log in which time passes as drawn; a repeat is of the event before."""
    log, at_ms = EventLog(), 40 * MINUTE
    for number, (kind, user_id, pause_ms) in enumerate(visits):
        at_ms = max(at_ms + pause_ms, 0)
        if kind != "repeat":
            fields = {"user_id": user_id, "event_id": f"e{number}", "item_id": "i1"}
            log.add(an_event(KINDS[kind], at_ms, **fields))
        elif log.records:
            log.add_raw(log.records[-1].value, key=log.records[-1].key)
    return log
