"""Bids that were published before a crash stand, and what they did to the books is done again."""

from __future__ import annotations

import pytest
from bidding_bench import BiddingBench, a_campaign, a_grant, a_request, begun
from builders import EventLog

from schemas.campaigns import Campaign
from schemas.codec import decode_bid, encode_json, encode_partition_meta

HIGH, LOW = a_campaign("high", value_per_click=0.4), a_campaign("low", value_per_click=0.2)


@pytest.mark.parametrize(
    ("campaigns", "reason"), [([HIGH], "budget"), ([HIGH, LOW], "bid"), ([a_campaign("low", min_bid_cpm=1e5)], None)]
)
def test_what_a_campaign_was_short_of_is_asked_for_again(campaigns: list[Campaign], reason: str | None) -> None:
    log = EventLog().add(begun(), a_grant(90_000_000, "low"), a_request(0))
    undisturbed, again = BiddingBench(*campaigns, granted=True), BiddingBench(*campaigns, granted=True)
    undisturbed.run(log)
    assert again.core.desk is not None
    again.core.desk.published = {one.bid_id: decode_bid(encode_json(one)) for one in undisturbed.bids}

    again.run(log)

    assert [one.reason for one in undisturbed.bids] == [reason or "below_minimum"]
    assert [one.wants.keys() for one in undisturbed.results] == [{("high", "2023-11-14")} if reason else set()]
    assert [one.wants for one in again.results] == [one.wants for one in undisturbed.results]
    assert encode_partition_meta(again.core.meta()) == encode_partition_meta(undisturbed.core.meta())
    assert again.fingerprint() == undisturbed.fingerprint()


def test_what_a_campaign_was_short_of_that_is_gone_is_not_asked_for() -> None:
    log = EventLog().add(begun(), a_request(0))
    before, again = BiddingBench(HIGH, granted=True), BiddingBench(granted=True)
    before.run(log)
    assert again.core.desk is not None
    again.core.desk.published = {one.bid_id: one for one in before.bids}

    again.run(log)

    assert [one.reason for one in again.bids] == ["budget"]
    assert again.results[-1].wants == {}
