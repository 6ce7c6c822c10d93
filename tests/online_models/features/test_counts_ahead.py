"""Crowd counts ahead of an event: a store that was lost is rebuilt while `models` holds the counts of today."""

from __future__ import annotations

from math import exp2, inf, isfinite, isnan, log
from typing import Any

import pytest
from builders import HOUR, MINUTE, a_click, an_impression
from hypothesis import given
from hypothesis import strategies as st

from online_models.crowd import CrowdCounts
from online_models.features import compile_features
from online_models.features.counter_names import total_name
from online_models.features.decay import LANDMARK_MS
from tests.online_models.features.timelines import Visitor

POPULAR = {"popularity": "item_id", "half_life": "1h"}
IN_COUNTRY = {**POPULAR, "by": "country"}
FOLLOWS = {"follows": "item_id", "half_life": "1h", "reach": 5, "both_ways": True}
LONG_AGO = {"country": "de", "session_id": "s"}


def read_before(declaration: dict[str, Any], hours: float, item: str) -> tuple[float, CrowdCounts, int]:
    """Return the feature of an event so many hours before what the crowd did, the counts and the event's time."""
    features = compile_features({"x": declaration})
    counts = CrowdCounts(features.crowd_tables)
    at_ms = int(hours * HOUR)
    for user, items in (("u1", "aab"), ("u2", "acab"), ("u3", "a")):
        visitor = Visitor(features)
        visitor.crowd = counts
        for number, one in enumerate(items):
            visitor.does(a_click(one, at_ms + number * MINUTE, user_id=user, country="de" if user != "u3" else "fr"))
    visitor = Visitor(features)
    visitor.does(a_click("b", 0, **LONG_AGO))
    visitor.crowd = counts
    event = an_impression(item, 0, **LONG_AGO)
    value = visitor.values_at(event)["x"]
    assert value is not None
    return value, counts, event.ts


@pytest.mark.parametrize("declaration", [POPULAR, IN_COUNTRY, FOLLOWS], ids=["popularity", "by", "follows"])
@pytest.mark.parametrize("hours", [500, 511.9, 512, 600, 1022, 1023.9, 1024, 1025, 1030, 2000, 50_000])
@pytest.mark.parametrize("item", ["a", "c", "never seen"])
def test_however_far_they_are_ahead_an_event_has_finite_features(
    declaration: dict[str, Any], hours: float, item: str
) -> None:
    assert isfinite(read_before(declaration, hours, item)[0])


@pytest.mark.parametrize("hours", [1025, 50_000])
def test_shares_and_lifts_are_those_of_their_own_time(hours: float) -> None:
    assert read_before(POPULAR, hours, "a")[0] == pytest.approx(log(5 / 8), abs=0.02)
    # Of 7 clicks in the country 4 are on it, and of all 8 there are 5.
    assert read_before(IN_COUNTRY, hours, "a")[0] == pytest.approx(log(4 / (7 * 5 / 8)), abs=0.02)
    assert read_before(FOLLOWS, hours, "a")[0] > 0.0 > read_before(FOLLOWS, hours, "never seen")[0] - 1.0


@given(hours=st.floats(0, 1100), item=st.sampled_from(["a", "b", "c", "never seen"]))
def test_where_nothing_overflows_they_are_what_they_were(hours: float, item: str) -> None:
    value, counts, ts = read_before(POPULAR, hours, item)
    at = (ts - LANDMARK_MS) * (1.0 / HOUR)
    [prefix] = {name[:7] for name in counts.weights}
    total = total_name(prefix, "")

    try:
        n, of_all = (exp2(height - at) for height in (counts.weights.get(total + item, -inf), counts.weights[total]))
        expected = log((n + 0.1) / (of_all + 0.1))
    except OverflowError:
        return
    assert value == expected


@given(hours=st.floats(0, 1100), item=st.sampled_from(["a", "b", "c", "never seen"]))
def test_where_nothing_overflows_lifts_are_what_they_were(hours: float, item: str) -> None:
    value, counts, ts = read_before(IN_COUNTRY, hours, item)
    at = (ts - LANDMARK_MS) * (1.0 / HOUR)
    everybody, group = (
        next(name.removesuffix(rest) for name in counts.weights if name.endswith(rest)) for rest in (":\ta", ":de\ta")
    )

    def size(name: str) -> float:
        return exp2(counts.weights.get(name, -inf) - at)

    try:
        n, total = size(f"{group}:de\t{item}"), size(f"{group}:de\t")
        of_key, of_all = size(f"{everybody}:\t{item}"), size(f"{everybody}:\t")
        lift = (n + 0.2) / (total * of_key / of_all + 0.2)
    except OverflowError:
        return
    if lift and not isnan(lift):
        assert value == log(lift)
