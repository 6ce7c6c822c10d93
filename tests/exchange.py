"""An ad exchange under test: it asks, reads the bids, decides by prices of its own, and tells of wins and losses.

What it charges is the truth that budgets are judged by. The first message of a bid_id is the bid, as for any reader.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from random import Random

from aiokafka import AIOKafkaProducer

from online_models.bidding.money import micros_of_cpm
from schemas.bids import Bid
from schemas.codec import decode_bid, encode_json
from schemas.events import BidLoss, BidRequest, BidWin, Click, EventBase
from streams.feed import PRODUCER_OPTIONS
from streams.partitioning import partition_of
from streams.reading import reader
from streams.settings import Settings


class Exchange:
    """Auctions of one site.

    Parameters
    ----------
    median_cpm
        Of the prices that others bid; log-normal.
    told_losses
        Which part of the losses is told.
    repeated
        Which part of the notices comes twice.

    Attributes
    ----------
    cost
        By campaign and day, what was charged, in micros.
    outcomes
        How many requests ended how.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        seed: int = 1,
        users: int = 500,
        median_cpm: float = 2.0,
        told_losses: float = 0.5,
        repeated: float = 0.1,
        click_rate: float = 0.02,
        delay_s: float = 0.2,
    ) -> None:
        self._settings = settings
        self._seed = seed
        self._users = users
        self._median_cpm = median_cpm
        self._told_losses = told_losses
        self._repeated = repeated
        self._click_rate = click_rate
        self._delay_s = delay_s
        self._notices: set[asyncio.Task[None]] = set()
        self._partitions = 1
        self.asked = 0
        self.bids: dict[str, Bid] = {}
        self.cost: Counter[tuple[str, str]] = Counter()
        self.outcomes: Counter[str] = Counter()
        self.latencies_ms: list[float] = []

    async def run(self, requests: int, per_s: float) -> None:
        """Hold auctions, and wait until all are over."""
        topics = self._settings.topics
        options = {**self._settings.kafka.client_kwargs(), **PRODUCER_OPTIONS, "linger_ms": 0}
        async with AIOKafkaProducer(**options) as producer:
            self._partitions = len(await producer.partitions_for(topics.events.name))
            reading = asyncio.create_task(self._read(producer))
            started = time.monotonic()
            for number in range(requests):
                await self._send(producer, self._request(number))
                self.asked += 1
                ahead = started + (number + 1) / per_s - time.monotonic()
                if ahead > 0:
                    await asyncio.sleep(ahead)
            while len(self.bids) < requests:
                await asyncio.sleep(0.05)
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)
            await asyncio.gather(*self._notices)

    def _chance(self, what: str) -> Random:
        return Random(f"{self._seed}:{what}")

    def _request(self, number: int) -> BidRequest:
        chance = self._chance(f"request-{number}")
        return BidRequest(
            event_id=f"ask-{self._seed}-{number}",
            user_id=f"user-{chance.randrange(self._users)}",
            ts=_now_ms(),
            country=chance.choice(["de", "fr", "nl"]),
            slot_width=chance.choice([300, 728]),
            slot_height=90,
            floor=0.1,
        )

    async def _send(self, producer: AIOKafkaProducer, event: EventBase) -> None:
        key = event.user_id.encode()
        topic = self._settings.topics.events.name
        await producer.send(topic, encode_json(event), key=key, partition=partition_of(key, self._partitions))

    async def _read(self, producer: AIOKafkaProducer) -> None:
        async with reader(self._settings.kafka, [self._settings.topics.bids.name]) as consumer:
            while True:
                for records in (await consumer.getmany(timeout_ms=50)).values():
                    for record in records:
                        bid = decode_bid(record.value)
                        ours = bid.event_id.startswith(f"ask-{self._seed}-")
                        if ours and bid.bid_id not in self.bids:
                            self.bids[bid.bid_id] = bid
                            self.latencies_ms.append(record.timestamp - bid.source_ts)
                            self._auction(producer, bid)

    def _auction(self, producer: AIOKafkaProducer, bid: Bid) -> None:
        if bid.campaign is None:
            self.outcomes[bid.reason] += 1
            return
        chance = self._chance(bid.event_id)
        competing = max(0.1, self._median_cpm * chance.lognormvariate(0.0, 0.6))
        if bid.price >= competing:
            self.outcomes["won"] += 1
            day = time.strftime("%Y-%m-%d", time.gmtime(bid.ts / 1000))
            self.cost[bid.campaign, day] += micros_of_cpm(competing)
            told = BidWin(
                event_id=f"w-{bid.bid_id}", user_id=bid.user_id, ts=_now_ms(), bid_id=bid.bid_id, win_price=competing
            )
        else:
            self.outcomes["lost"] += 1
            if chance.random() >= self._told_losses:
                return
            told = BidLoss(  # type: ignore[assignment]
                event_id=f"l-{bid.bid_id}", user_id=bid.user_id, ts=_now_ms(), bid_id=bid.bid_id
            )
        task = asyncio.create_task(self._notify(producer, bid, told, chance))
        self._notices.add(task)

    async def _notify(self, producer: AIOKafkaProducer, bid: Bid, told: EventBase, chance: Random) -> None:
        await asyncio.sleep(chance.random() * self._delay_s)
        await self._send(producer, told)
        if chance.random() < self._repeated:
            told.event_id += "-again"
            await self._send(producer, told)
        if isinstance(told, BidWin) and chance.random() < self._click_rate:
            click = Click(event_id=f"c-{bid.bid_id}", user_id=bid.user_id, ts=_now_ms(), item_id=str(bid.item_id))
            await self._send(producer, click)


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
