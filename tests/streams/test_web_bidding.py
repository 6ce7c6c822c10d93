"""Bids over HTTP, on a store, a log and a ledger in memory."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import orjson
import pytest
import yaml
from bidding_bench import a_request
from builders import EventLog

from online_models.bidding.market import MARKET
from online_models.records import decode_batch
from online_models.scoring import ScoringCore
from schemas.api import BidAnswer
from schemas.codec import BadRecord, decode_event
from schemas.events import BidRequest
from streams.budgets import CampaignDay, DictLedger
from streams.campaign_feed import CampaignFeed, Told
from streams.configs import shipped_config
from streams.new_models import new_replicas
from streams.out_records import RecordTooLarge
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

    def __init__(self, log: ListOutput | None = None, *, config: str = "ads") -> None:
        declared = yaml.safe_load(shipped_config(config).read_text())
        if "bidding" in declared:
            declared["bidding"]["campaigns"] = CAMPAIGNS
        self.settings = parse_settings(yaml.safe_dump(declared), {})
        self.log, self.ledger, self.feed = log or ListOutput(), DictLedger(), CampaignFeed(self.settings)
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
        await Deployment(config="shop").bid()


class FaultyLog(ListOutput):
    """Fails while it is told to, and says what it was given meanwhile."""

    fault: Exception | None = None

    def __init__(self) -> None:
        super().__init__()
        self.tried: list[str] = []
        self.held_up: asyncio.Event | None = None

    async def publish(self, batches: Any, **options: Any) -> Any:
        self.tried += [orjson.loads(one.value)["type"] for records in batches.values() for one in records]
        if self.held_up is not None:
            await self.held_up.wait()
        if self.fault is not None:
            raise self.fault
        return await super().publish(batches, **options)


async def while_the_log_fails(fault: Exception) -> tuple[Deployment, FaultyLog]:
    deployment = Deployment(log := FaultyLog())
    await until_granted(deployment)
    log.tried.clear()
    log.fault = fault
    return deployment, log


def set_aside(deployment: Deployment) -> int:
    return sum(one.reserved for one in deployment.answers.bidder.purse._slices.values())


async def test_while_the_log_is_away_only_the_first_request_of_a_partition_sets_money_aside() -> None:
    deployment, log = await while_the_log_fails(Unavailable("Kafka is away"))
    for _ in range(100):
        with pytest.raises(Unavailable):
            await deployment.bid(1)

    shut = set_aside(deployment)
    log.fault = None
    other = await deployment.bid(1)

    assert (shut, set_aside(deployment)) == (10_000, 20_000)
    assert log.tried == ["bid_request", *["tick"] * 100, "bid_request"]
    assert other.reason == "bid"


async def test_partitions_that_take_bids_go_on_while_another_does_not() -> None:
    deployment, log = await while_the_log_fails(Unavailable("the leader of one is away"))
    with pytest.raises(Unavailable):
        await deployment.bid(1)
    log.fault = None
    elsewhere = next(n for n in range(9) if partition_of(n) != partition_of(1))

    assert (await deployment.bid(elsewhere)).reason == "bid"
    assert log.tried == ["bid_request", "bid_request"]


async def test_one_request_at_a_time_tries_whether_the_log_is_back() -> None:
    deployment, log = await while_the_log_fails(Unavailable("Kafka is away"))
    with pytest.raises(Unavailable):
        await deployment.bid(1)
    log.fault, log.held_up = None, asyncio.Event()
    first = asyncio.create_task(deployment.bid(1))
    await asyncio.sleep(0)
    for _ in range(10):
        with pytest.raises(Unavailable, match="is being tried"):
            await asyncio.wait_for(deployment.bid(1), 5)
    meanwhile = set_aside(deployment)
    log.held_up.set()

    assert (await first).reason == "bid"
    assert (meanwhile, log.tried) == (10_000, ["bid_request", "tick", "bid_request"])


async def test_what_is_too_large_for_the_log_costs_nothing() -> None:
    deployment, _ = await while_the_log_fails(RecordTooLarge("Expected at most 9 bytes"))
    for _ in range(20):
        with pytest.raises(RecordTooLarge):
            await deployment.bid(1)
    deployment.answers._max_event_bytes = 100
    for _ in range(20):
        with pytest.raises(BadRecord, match="Expected at most 100 bytes with the answer in it"):
            await deployment.bid(1)

    assert set_aside(deployment) == 0


def partition_of(number: int) -> int:
    return partition_for_key(f"u{number}".encode(), PARTITIONS)


async def test_the_id_of_a_bid_does_not_depend_on_which_copy_of_its_record_was_acknowledged() -> None:
    class Repeating(ListOutput):
        """The first acknowledgement is lost, so each record is written twice."""

        async def publish(self, batches: Any, **options: Any) -> Any:
            await super().publish(batches, **options)
            return await super().publish(batches, **options)

    deployment = Deployment(Repeating())
    await until_granted(deployment)
    deployment.log.records.clear()

    answer = await deployment.bid(1)

    [records] = deployment.log.records.values()
    logged = [decode_event(one.value or b"", record_ts_ms=time.time_ns() // 1_000_000) for one in records]
    ids = [one.answered.bid_id for one in logged if isinstance(one, BidRequest) and one.answered]
    assert ids == [answer.bid_id] * 2


async def test_who_asks_again_with_the_same_event_id_gets_another_bid_with_another_id() -> None:
    deployment = Deployment()
    await until_granted(deployment)

    first, second = await deployment.bid(1), await deployment.bid(1)

    assert first.bid_id != second.bid_id
    assert set_aside(deployment) == 20_000
