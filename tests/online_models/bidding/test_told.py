"""What a desk tells the market's learner, and what it keeps of a bid until its notice."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from bidding_bench import FEATURES, BiddingBench, a_campaign, a_request, a_win, campaign_set
from builders import DAY as DAY_MS
from builders import T0, EventLog, a_click, a_page_view

from online_models.bidding.market import MARKET
from online_models.crowd import CROWD, CrowdCounts
from schemas.campaigns import Campaign
from schemas.codec import decode_user_state, encode_user_state

BERLIN_MIN = 60


def after(bench: BiddingBench, *events: Any) -> BiddingBench:
    """Go on in the log of a bench."""
    part = EventLog().add(*events)
    done = sum(one.accounting.events for one in bench.results)
    part.records = [one._replace(offset=one.offset + done) for one in part.records]
    bench.run(part)
    return bench


@pytest.mark.parametrize(
    ("campaign", "thousands", "rest", "offset"),
    [
        (a_campaign(budget_per_day=12_345.5, tz_offset_min=BERLIN_MIN), 12.0, 345.5, 60.0),
        (a_campaign(budget_per_day=12_345.5, active=False), 0.0, 0.0, 0.0),
        (None, 0.0, 0.0, 0.0),
    ],
)
def test_the_learner_is_told_once_how_a_campaign_is_to_be_paced(
    campaign: Campaign | None, thousands: float, rest: float, offset: float
) -> None:
    bench = BiddingBench()
    changed = campaign_set(campaign, 3, name="shoes")

    after(bench, a_page_view(0), changed)
    after(bench, changed, campaign_set(a_campaign(), 2))

    [example] = [one for one in bench.examples if one.objective == MARKET]
    assert (example.offset, example.ts, example.label, example.use) == (1, T0, True, "learn")
    assert example.features == {
        "day": float(T0 // DAY_MS),
        "second": T0 % DAY_MS / 1000,
        "version:shoes": 3.0,
        "thousands:shoes": thousands,
        "rest:shoes": rest,
        "pacer:shoes": 0.0,
        "offset:shoes": offset,
    }


@pytest.mark.parametrize("changed", [False, True])
def test_a_bid_whose_features_have_changed_is_no_trigger_once_it_is_won(changed: bool) -> None:
    before = BiddingBench(a_campaign())
    before.run(EventLog().add(a_request(0, country="fr")))
    stored = encode_user_state(before.users["u1"])
    more = {"searches": {"count": "search"}} if changed else {}
    bench = BiddingBench(a_campaign(), features=FEATURES | more, meta=before.core.meta())
    bench.users["u1"] = bench.core.adopt(decode_user_state(stored))
    part = EventLog().add(a_request(0), a_win("events-0-0", 100, 7.5), a_click("shoes", 200))
    part.records = part.records[1:]

    bench.run(part.tick(DAY_MS))

    clicks = [one.features for one in bench.examples if one.objective == "ad_click"]
    assert clicks == ([] if changed else [{"clicks": 0.0, "wins": 0.0, "item=shoes": 1.0, "country=fr": 1.0}])
    assert bench.book().spent == 7_500
    assert bench.notes()["win"] == 1


@pytest.mark.parametrize(
    ("own", "asked", "seen"), [("ads", "news", "ads"), ("ads", None, "ads"), (None, "news", "news"), (None, None, None)]
)
def test_an_ad_has_its_own_category_or_else_that_of_its_place(
    own: str | None, asked: str | None, seen: str | None
) -> None:
    campaign = a_campaign(category=own)
    bench = BiddingBench(campaign, features=FEATURES | {"category": {"field": "category"}})

    bench.run(EventLog().add(a_request(0, category=asked), a_win("events-0-0", 100, 7.5)).tick(DAY_MS))

    [example] = [one for one in bench.examples if one.objective == "ad_click"]
    assert [name for name in example.features if name.startswith("category=")] == ([f"category={seen}"] if seen else [])


def test_a_bid_says_what_the_crowd_made_of_its_ad_and_a_win_teaches_that() -> None:
    hot = {"hot": {"popularity": "item_id", "half_life": "366d"}}
    crowd = SimpleNamespace(weights={}, version=4, leaders=None)
    bench = BiddingBench(a_campaign(), features=FEATURES | hot, crowd=crowd)
    counts = CrowdCounts(bench.features.crowd_tables)
    after(bench, a_click("shoes", 0, event_id="c1"), a_click("tents", 1, event_id="c2"))
    for one in bench.examples:
        if one.objective == CROWD:
            counts.learn_one(one.features, True)
    crowd.weights = dict(counts.weights)

    after(bench, a_request(10))
    crowd.weights = {}  # what is known has changed until the notice comes
    after(bench, a_win("events-0-2", 20, 7.5), a_page_view(DAY_MS), a_page_view(DAY_MS + 1))

    [bid] = bench.bids
    [example] = [one for one in bench.examples if one.objective == "ad_click"]
    assert bid.crowd == [pytest.approx(-0.6466, abs=1e-3)]  # log((1 + 0.1) / (2 + 0.1))
    assert bid.crowd_version == 4
    assert example.features["hot"] == bid.crowd[0]
