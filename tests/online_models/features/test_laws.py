"""Laws that hold for every family and every sequence of events, late ones included."""

from __future__ import annotations

import copy
import math
import zlib
from typing import Any

import msgspec
import pytest
from builders import DAY, T0, a_click, a_page_view, an_impression
from hypothesis import given, settings
from hypothesis import strategies as st

from online_models.explain import score_linear
from online_models.features import compile_features
from schemas.events import EventBase
from tests.online_models.features.timelines import EVERYTHING, SEGMENTED, SEGMENTS, Visitor, event_sequences

FEATURES = compile_features({**EVERYTHING, **SEGMENTED}, SEGMENTS)
SLOW = settings(max_examples=60, deadline=None)


@SLOW
@given(event_sequences())
def test_whatever_comes_models_see_finite_floats_and_no_count_or_age_is_negative(events: list[EventBase]) -> None:
    visitor = Visitor(FEATURES)

    for event in events:
        values = visitor.does(event)
        seen = FEATURES.vectorize(list(values.values()))

        assert all(type(x) is float and math.isfinite(x) for x in seen.values()), seen
        signed = {"score", "hot", "hot_here", "hot_alike", "next", "near"}
        assert all(x >= 0 for name, x in values.items() if isinstance(x, int | float) and name not in signed), values


@SLOW
@given(event_sequences())
def test_slots_survive_the_store_after_every_event(events: list[EventBase]) -> None:
    kept, stored = Visitor(FEATURES), Visitor(FEATURES)

    for event in events:
        stored.slots = msgspec.msgpack.decode(msgspec.msgpack.encode(stored.slots))

        assert stored.does(event) == kept.does(event)
    assert stored.slots == kept.slots


@SLOW
@given(event_sequences())
def test_extract_and_vectorize_change_nothing(events: list[EventBase]) -> None:
    visitor = Visitor(FEATURES)

    for event in events:
        FEATURES.fold(visitor.slots, event)
        before = copy.deepcopy(visitor.slots)
        values = FEATURES.extract(visitor.slots, event)
        seen = FEATURES.vectorize(values)

        assert visitor.slots == before
        assert FEATURES.extract(visitor.slots, event) == values
        assert FEATURES.vectorize(values) == seen


@SLOW
@given(event_sequences())
def test_an_event_in_its_own_place_has_its_own_values(events: list[EventBase]) -> None:
    visitor = Visitor(FEATURES)

    for event in events:
        FEATURES.fold(visitor.slots, event)
        values = FEATURES.extract(visitor.slots, event, visitor.crowd.weights)

        assert FEATURES.extract_unfolded(visitor.slots, event, visitor.crowd.weights, event) == values


@SLOW
@given(event_sequences(), event_sequences(max_size=5))
def test_what_was_extracted_holds_nothing_of_a_later_event(past: list[EventBase], future: list[EventBase]) -> None:
    visitor = Visitor(FEATURES)
    for event in past:
        FEATURES.fold(visitor.slots, event)
        values = FEATURES.extract(visitor.slots, event)
    at_the_time = copy.deepcopy(values)

    for event in future:
        FEATURES.fold(visitor.slots, event)

    assert values == at_the_time


@SLOW
@given(event_sequences())
def test_two_visitors_do_not_touch_each_other(events: list[EventBase]) -> None:
    alone, first, second = Visitor(FEATURES), Visitor(FEATURES), Visitor(FEATURES)

    for event in events:
        expected = alone.does(event)

        assert first.does(event) == expected
        assert second.does(event) == expected


@SLOW
@given(event_sequences(), st.integers(0, 2**32))
def test_slots_are_carried_over_to_a_changed_configuration(events: list[EventBase], seed: int) -> None:
    """Some features leave, the others change places: what stays goes on as if nothing had happened."""
    names = sorted(
        (name for name in EVERYTHING if "cross" not in EVERYTHING[name] and name != "defaults"),
        key=lambda name: zlib.crc32(f"{seed}{name}".encode()),
    )
    changed = compile_features({name: EVERYTHING[name] for name in ("defaults", *names[::2])})
    before, after = Visitor(FEATURES), Visitor(changed)
    middle = len(events) // 2
    for event in events[:middle]:
        before.does(event)
    after.slots = changed.migrate(copy.deepcopy(before.slots), FEATURES.slot_keys)
    after.crowd.restore(before.crowd.to_bytes())

    for event in events[middle:]:
        expected = before.does(event)

        assert after.does(event) == {name: expected[name] for name in names[::2]}


def test_slots_of_features_that_are_new_start_empty() -> None:
    before = Visitor({"views": {"count": "page_view"}})
    before.does(a_page_view())
    features = compile_features({"clicks": {"count": "click"}, "views": {"count": "page_view"}})

    slots = features.migrate(before.slots, before.features.slot_keys)

    assert dict(zip(features.slot_keys, slots, strict=True)) == {
        "clock": a_page_view().ts,
        "total:click": None,
        "total:page_view": 1,
    }


def test_an_outcome_behind_the_trigger_at_the_same_millisecond_is_not_in_its_features() -> None:
    features = compile_features({"clicks": {"count": "click"}, "ctr": {"rate": "click", "over": "impression"}})
    with_outcome, without = Visitor(features), Visitor(features)

    trigger, outcome = an_impression("i1", 0), a_click("i1", 0)
    values = with_outcome.does(trigger)
    with_outcome.does(outcome)

    assert values == without.does(trigger)
    assert values["clicks"] == 0


def test_features_that_need_the_same_accumulator_share_its_slot() -> None:
    features = compile_features(
        {
            "clicks": {"decayed_count": "click", "half_life": "1d"},
            "log_clicks": {"decayed_count": "click", "half_life": "24h", "transform": "log1p"},
            "ctr": {"rate": "click", "over": "impression", "half_life": "1d"},
        }
    )

    assert features.slot_keys == ["clock", "decayed:click:86400000", "decayed:impression:86400000"]


def test_context_features_alone_keep_no_state() -> None:
    assert compile_features({"item": {"field": "item_id"}, "hour": {"hour": "cyclic"}}).slot_keys == []


def test_an_average_visitor_packs_into_250_bytes() -> None:
    """Twenty features as a shop would declare them; three visits of six events on five items."""
    features = compile_features(
        {
            "views_1h": {"count": "page_view", "window": "1h"},
            "views_7d": {"count": "page_view", "window": "7d"},
            "clicks": {"decayed_count": "click", "half_life": "7d"},
            "carts": {"count": "add_to_cart"},
            "since_click": {"time_since": "click"},
            "since_purchase": {"time_since": "purchase"},
            "ctr": {"rate": "click", "over": "impression", "half_life": "7d"},
            "visit_events": {"session": "events"},
            "visit_s": {"session": "duration"},
            "since_visit": {"session": "since_last"},
            "visits_30d": {"visits": "30d"},
            "dwell": {"dwell": "mean"},
            "basket": {"basket": "value"},
            "taste": {"affinity": "category"},
            "items": {"distinct": "item_id"},
            "again": {"seen": "item_id"},
            "before": {"previous": "item_id"},
            "item": {"field": "item_id"},
            "price": {"field": "price"},
            "hour": {"hour": "cyclic"},
        }
    )
    visitor = Visitor(features)
    for number in range(18):
        at_ms = number // 6 * 3 * DAY + number % 6 * 40_000
        kind = (a_page_view, an_impression, an_impression, a_click)[number % 4]
        item_id = f"item-{number % 5}"
        event = kind(at_ms=at_ms, item_id=item_id, category=f"category-{number % 3}", session_id=f"s{number // 6}")
        visitor.does(event)

    assert len(msgspec.msgpack.encode(visitor.slots)) <= 250
    assert len(msgspec.msgpack.encode(features.new_slots())) <= 20


@SLOW
@given(event_sequences(), st.data())
def test_scoring_values_is_scoring_their_vector_bit_for_bit(events: list[EventBase], data: st.DataObject) -> None:
    visitor = Visitor(FEATURES)
    chosen = data.draw(st.lists(st.sampled_from(FEATURES.names), unique=True))
    score, vectorize = FEATURES.linear_scorer(chosen), FEATURES.vectorizer(chosen)
    weights: dict[str, float] = {}

    for event in events:
        values = list(visitor.does(event).values())
        x = vectorize(values)
        for name in x:  # some are unknown, some 0, some as large as another
            if (draw := zlib.crc32(name.encode()) % 7) > 1:
                weights[name] = [0.0, 0.5, -0.5, 0.1, -1.7][draw - 2]

        for k in (0, 3, 100):
            assert score(values, weights, -0.3, k) == score_linear(weights, -0.3, x, k)


an_item = st.fixed_dictionaries(
    {
        "item_id": st.sampled_from(["i1", "i2", "i9"]),
        "category": st.sampled_from([None, "shoes", "hats"]),
        "price": st.sampled_from([None, 5.0, 80.0]),
        "properties": st.sampled_from([None, {"plan": "gold", "score": 3.5}, {"plan": 7}]),
    }
)


@SLOW
@given(event_sequences(), st.lists(an_item, min_size=1, max_size=4))
def test_many_items_are_scored_as_each_of_them_is(events: list[EventBase], items: list[dict[str, Any]]) -> None:
    visitor = Visitor(FEATURES)
    for event in events:
        visitor.does(event)
    now = max((event.ts for event in events), default=T0)
    candidates = [an_impression(**item) for item in items]
    for one in candidates:
        one.ts = now
    values = [FEATURES.extract(visitor.slots, one, visitor.crowd.weights) for one in candidates]

    def weight_of(name: str) -> float | None:
        return None if name.startswith("items") else zlib.crc32(name.encode()) % 200 / 100 - 1

    def put(impression: Any, candidate: Any) -> None:
        for field in ("item_id", "category", "price", "properties"):
            setattr(impression, field, getattr(candidate, field))

    names = FEATURES.names
    scores = FEATURES.shortlist(names)(
        visitor.slots, copy.copy(candidates[0]), put, candidates, visitor.crowd.weights, values[0], weight_of, -0.5
    )

    score, vectorize = FEATURES.linear_scorer(names), FEATURES.vectorizer(names)
    weights = {name: w for one in values for name in vectorize(one) if (w := weight_of(name)) is not None}
    assert scores == pytest.approx([score(one, weights, -0.5, 0)[0] for one in values], rel=1e-9, abs=1e-15)
