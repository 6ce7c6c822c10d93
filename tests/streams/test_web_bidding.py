"""Bids over HTTP, on a store, a log and a ledger in memory."""

from __future__ import annotations

import time
from typing import Any

import pytest
import yaml
from bidding_bench import a_request
from builders import EventLog

from online_models.bidding.market import MARKET
from online_models.records import decode_batch
from online_models.scoring import ScoringCore
from schemas.api import BidAnswer
from schemas.codec import decode_event
from schemas.events import BidRequest
from streams.budgets import CampaignDay, DictLedger
from streams.campaign_feed import CampaignFeed, Told
from streams.configs import shipped_config
from streams.learner import new_replicas
from streams.output import ListOutput, partition_for_key
from streams.settings import parse_settings
from streams.stores import Unavailable
from streams.stores.memory import DictStateStore
from streams.web.answers import Answers
from streams.web.bidding import NoBidding

PARTITIONS = 4
CAMPAIGNS = {
    "shoes": {"budget_per_day": 1, "value_per_click": 2.0},
    "tents": {"budget_per_day": 1, "value_per_click": 1.0, "active": False},
}


class Deployment:
    """What answers bid requests, and what it writes."""

    def __init__(self, config: str = "ads") -> None:
        declared = yaml.safe_load(shipped_config(config).read_text())
        if "bidding" in declared:
            declared["bidding"]["campaigns"] = CAMPAIGNS
        self.settings = parse_settings(yaml.safe_dump(declared), {})
        self.log, self.ledger, self.feed = ListOutput(), DictLedger(), CampaignFeed(self.settings)
        self.feed._caught_up.set()
        self.replicas = new_replicas(self.settings)
        self.answers = Answers(
            self.settings,
            DictStateStore(),
            self.replicas,
            self.log,
            partitions=PARTITIONS,
            feed=self.feed,
            ledger=self.ledger,
        )

    async def open(self) -> None:
        """Register the partitions, and let the purse be filled."""
        for _ in range(2):
            epoch = (await self.ledger.draw("events-0", "", {})).epoch
            await self.ledger.register("events-0", epoch, {}, expected=["events-0"])
            await self.answers.bidder.purse.refill()

    async def bid(self, number: int = 0, **fields: Any) -> BidAnswer:
        request: BidRequest = a_request(event_id=f"r{number}", user_id=f"u{number}", **fields)
        request.ts = time.time_ns() // 1_000_000
        return await self.answers.bid(request)


async def until_granted(deployment: Deployment) -> None:
    await deployment.open()
    first = await deployment.bid(999)
    assert first.reason == "budget", "nothing was drawn before somebody asked"
    await deployment.answers.bidder.purse.refill()


async def test_a_bid_is_written_with_its_request_and_named_after_its_place() -> None:
    deployment = Deployment()
    await until_granted(deployment)
    deployment.log.records.clear()

    answer = await deployment.bid(1, floor=0.2)

    [((topic, partition), [record])] = deployment.log.records.items()
    logged = decode_event(record.value or b"", record_ts_ms=time.time_ns() // 1_000_000)
    assert isinstance(logged, BidRequest)
    assert logged.answered is not None
    assert (answer.campaign, answer.reason, answer.price) == ("shoes", "bid", 10.0)
    assert (logged.answered.campaign, logged.answered.price) == ("shoes", 10.0)
    assert answer.bid_id.startswith(f"{topic}-{partition}-")
    assert partition == partition_for_key(b"u1", PARTITIONS)


async def test_no_more_is_bid_than_the_purse_holds() -> None:
    deployment = Deployment()
    await until_granted(deployment)
    promised = 0.0

    for number in range(300):
        promised += (await deployment.bid(number)).price / 1_000
        if number % 10 == 0:
            await deployment.answers.bidder.purse.refill()

    assert promised == pytest.approx(1.0, abs=0.011), (
        "each bid sets a hundredth of the budget aside; none is settled here"
    )


async def test_the_partition_books_what_was_set_aside_here() -> None:
    deployment = Deployment()
    await until_granted(deployment)
    deployment.log.records.clear()
    answer = await deployment.bid(1)
    [((_, partition), records)] = deployment.log.records.items()
    core = ScoringCore(
        topic="events",
        partition=partition,
        features=deployment.settings.features,
        objectives=deployment.settings.objectives,
        bidding=deployment.settings.desks(granted=True),
        replicas=deployment.replicas,
    )

    log = EventLog().add_raw(records[0].value, timestamp=time.time_ns() // 1_000_000)
    result = core.step(decode_batch(log.records, topic="events", partition=partition), {})

    [bid] = result.bids
    meta = core.meta().bidding
    assert meta is not None
    [book] = meta.allowances
    assert (bid.price, bid.flags) == (answer.price, ["answered"])
    assert (book.moved, book.reserved, book.received) == (10_000, 10_000, 0)
    assert [one.objective for one in result.examples] == [MARKET]


async def test_campaigns_of_the_topic_take_the_place_of_declared_ones() -> None:
    deployment = Deployment()
    await until_granted(deployment)
    deployment.feed.campaigns["shoes"] = Told(3, None, "Expected `float`, got `str` - at `$.budget_per_day`")
    deployment.feed.revision += 1

    answer = await deployment.bid(1)
    found = (await deployment.answers.bidder.campaigns()).campaigns

    assert answer.reason == "no_campaign"
    assert [(one.campaign, one.version, one.status) for one in found] == [
        ("shoes", 3, "Expected `float`, got `str` - at `$.budget_per_day`"),
        ("tents", 0, "paused"),
    ]


async def test_nothing_is_bid_before_the_topic_of_campaigns_was_read() -> None:
    deployment = Deployment()
    await until_granted(deployment)
    deployment.feed._caught_up.clear()

    with pytest.raises(Unavailable):
        await deployment.bid(1)


async def test_what_is_held_is_given_back_at_the_end() -> None:
    deployment = Deployment()
    await until_granted(deployment)
    await deployment.bid(1)

    await deployment.answers.bidder.purse.close()

    [day] = {CampaignDay("shoes", one.day) for one in deployment.answers.bidder._limits()}
    totals = (await deployment.ledger.totals(day.day))["shoes"]
    assert totals.committed == 10_000, "what was promised stays set aside"


async def test_without_a_section_nobody_bids() -> None:
    with pytest.raises(NoBidding, match="no section `bidding:`"):
        await Deployment("shop").bid()
