"""What features say of an ad at a request, which was folded without it."""

from __future__ import annotations

from math import exp

import pytest
from bidding_bench import MINUTE, BiddingBench, a_campaign, a_request, a_win
from builders import EventLog

FEATURES = {
    "met": {"seen": "category", "of": "bid_request"},
    "since": {"time_since": "bid_request"},
    "before": {"previous": "category", "of": "bid_request"},
}


def test_an_ad_was_seen_where_itself_was_and_not_where_the_page_was() -> None:
    ads = a_campaign("hats", category="hats"), a_campaign("shoes", category="shoes")
    bench = BiddingBench(*ads, features=FEATURES)
    bench.replicas["ad_click"].weights = {"met": 2.0, "since": -0.25}
    log = EventLog().add(a_request(0, category="hats"), a_request(4_000, category="shoes"))
    log.add(a_win("events-0-1", 5_000, 1.0)).tick(40 * MINUTE)

    bench.run(log)

    first, second = ({name: one.value for name, one in bid.considered.items()} for bid in bench.bids)
    assert first["hats"] == first["shoes"] == 500.0
    at_odds = {"hats": exp(2.0 - 1.0), "shoes": exp(-1.0)}
    assert second == pytest.approx({name: 1_000 * odds / (1 + odds) for name, odds in at_odds.items()}, rel=1e-12)
    [example] = [one for one in bench.examples if one.objective == "ad_click"]
    assert example.features == {"met": 1.0, "since": 4.0, "before=hats": 1.0}
