"""One impression stands for all candidates of a ranking in turn: it is each time the one that would be scored alone."""

from __future__ import annotations

from typing import Any

import pytest
from builders import EventLog, a_click, an_event, an_impression
from core_bench import CLICK, Bench, a_replica

from online_models.features import compile_features
from online_models.objectives import parse_objectives
from online_models.ranker import Ranker, _impression, _Putting
from online_models.rankings import parse_rankings
from schemas.events import Candidate, Impression, RankRequest

FEATURES: dict[str, Any] = {
    "item": {"field": "item_id"},
    "category": {"field": "category"},
    "price": {"field": "price"},
    "size": {"field": "properties.size", "numeric": True},
    "colour": {"field": "properties.colour"},
    "taste": {"affinity": "category"},
    "met": {"seen": "item_id", "of": "impression"},
    "device": {"field": "device"},
}
WEIGHTS = {"item=i2": 0.5, "category=shoes": -0.3, "price": 0.01, "size": 0.2, "colour=red": 0.7, "colour=blue": -0.6}
WEIGHTS |= {"taste": 1.0, "met": -0.4, "device=phone": 0.25}

FULL = Candidate(item_id="i2", category="shoes", price=40.0, properties={"size": 3, "colour": "red"})
# Behind the full one, so that nothing of it may stay.
CANDIDATES = [
    FULL,
    Candidate(item_id="i1"),
    Candidate(item_id="i2", category="hats"),
    FULL,
    Candidate(item_id="i3", price=7.5),
    Candidate(item_id="i4", properties={"colour": "blue"}),
    Candidate(item_id="i1"),
]
OF_REQUEST = {
    "session_id": "s2", "url": "https://shop/a", "referrer": "https://search/", "user_agent": "Firefox",
    "device": "phone", "country": "de", "region": "by", "campaign": "autumn", "tz_offset_min": 60,
    "properties": {"size": 2, "plan": "gold"},
}  # fmt: skip


def a_request(**fields: Any) -> RankRequest:
    return an_event(RankRequest, 5_000, candidates=[*CANDIDATES], **fields)  # type: ignore[no-any-return]


REQUESTS = [a_request(**OF_REQUEST), a_request()]


@pytest.mark.parametrize("request_", REQUESTS)
def test_an_impression_has_all_that_is_known_of_the_request_and_of_the_candidate(request_: RankRequest) -> None:
    assert all(getattr(FULL, field) is not None for field in Candidate.__struct_fields__), "or nothing is shown of it"
    impression = _impression(request_, FULL, 3, 0.25)

    ours = {field: getattr(FULL, field) for field in Candidate.__struct_fields__}
    ours |= {"properties": (request_.properties or {}) | FULL.properties, "position": 3, "propensity": 0.25}  # type: ignore[operator]
    for field in Impression.__struct_fields__:
        assert getattr(impression, field) == (ours[field] if field in ours else getattr(request_, field)), field


@pytest.mark.parametrize("request_", REQUESTS)
def test_what_is_put_into_an_impression_is_what_one_of_that_candidate_is_made_of(request_: RankRequest) -> None:
    put = _Putting(request_)
    standing = _impression(request_, CANDIDATES[-1], None, None)

    for candidate in CANDIDATES:
        put(standing, candidate)
        assert standing == _impression(request_, candidate, None, None)


@pytest.mark.parametrize("request_", REQUESTS)
def test_many_are_scored_at_once_as_each_is_alone(request_: RankRequest) -> None:
    replica = a_replica("click")
    replica.weights = WEIGHTS
    objectives = parse_objectives({"click": CLICK}, features=compile_features(FEATURES))
    rankings = parse_rankings({"home": {"objective": "click"}}, objectives=objectives)
    bench = Bench(features=FEATURES, rankings=rankings, replicas={"click": replica})
    bench.run(EventLog().add(an_impression("i3", 0), a_click("i9", 1_000, category="shoes")))
    slots, ranker = bench.users["u1"].slots, bench.core._rankers["home"]

    found, _ = ranker._judged(request_, CANDIDATES, slots)

    assert found == pytest.approx([alone(ranker, request_, one, slots) for one in CANDIDATES], rel=1e-12)
    assert len({*found}) == 5, "each differs from the others by what is known of it"


def alone(ranker: Ranker, request: RankRequest, candidate: Candidate, slots: list[Any]) -> float:
    shown, impression = ranker.bound.shown, _impression(request, candidate, None, None)
    return shown.score(ranker._features.extract_unfolded(slots, impression, {}), 0)[0]
