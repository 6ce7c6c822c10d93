"""Bids on a real broker: budgets that hold whatever dies, and campaigns that change while they run."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml
from aiokafka import AIOKafkaProducer
from exchange import Exchange
from polling import eventually
from site_under_test import Site
from typer.testing import CliRunner

from schemas.bids import Bid
from schemas.codec import decode_bid, decode_score
from schemas.scores import Score
from streams.admin import create_topics
from streams.cli.main import app
from streams.configs import shipped_config
from streams.replay.range_reader import open_range
from streams.replay.spec import TopicRange

WITHIN_S = 60


class AdSite(Site):
    """A site whose impressions are bid for; `labels`: when clicks are learned."""

    def __init__(
        self, folder: Path, bootstrap_servers: str, redis_url: str, campaigns: dict[str, Any], labels: str
    ) -> None:
        bidding = {
            "click": "ad_click",
            "conversion": "ad_sale",
            # Longer than a partition stands still when its worker is killed: what is bid late is told of late.
            "notice_window": "30s",
            "pacers": {"unpaced": {"kind": "throttle", "multiplier": 1.0}},
            "campaigns": campaigns,
        }
        objectives = yaml.safe_load(shipped_config("ads").read_text())["objectives"]
        objectives["ad_click"]["labels"] = labels
        sections = {"bidding": bidding, "objectives": objectives}
        super().__init__(folder, "ads", bootstrap_servers, redis_url, f"ads-{folder.name}", **sections)


@contextlib.contextmanager
def bidding_site(
    folder: Path,
    bootstrap_servers: str,
    redis_url: str,
    campaigns: dict[str, Any],
    workers: int,
    labels: str = "at_window_end",
) -> Iterator[AdSite]:
    site = AdSite(folder, bootstrap_servers, redis_url, campaigns, labels)
    asyncio.run(create_topics(site.settings))
    try:
        for _ in range(workers):
            site.launch_worker()
        site.await_ready()
        yield site
    finally:
        site.end()


@pytest.fixture(scope="module")
def one_worker(tmp_path_factory: pytest.TempPathFactory, kafka_broker: Any, valkey_url: str) -> Iterator[AdSite]:
    campaign = {"budget_per_day": 1_000, "value_per_click": 0.8, "item_id": "banner", "max_bid_cpm": 4}
    folder, servers = tmp_path_factory.mktemp("bids"), (kafka_broker.bootstrap_servers, valkey_url)
    # A window is half an hour long; models are to learn before that.
    with bidding_site(folder, *servers, {"shoes": campaign}, 1, labels="immediate") as site:
        open_for_bids(site, "shoes")
        yield site


@pytest.fixture(scope="module")
def auctions(one_worker: AdSite) -> tuple[Exchange, int]:
    """The exchange that has asked the one worker 400 times and told it how that went, and what was spent then."""
    exchange = Exchange(one_worker.settings, click_rate=0.3)
    asyncio.run(exchange.run(400, per_s=100))
    return exchange, settled(one_worker, "shoes", exchange)


def test_requests_are_bid_for_and_what_is_won_is_booked_once(auctions: tuple[Exchange, int]) -> None:
    exchange, spent = auctions

    assert exchange.outcomes["won"] > 100
    assert exchange.outcomes["lost"] > 10
    assert exchange.outcomes["budget"] == 0
    assert spent == sum(exchange.cost.values())


@pytest.mark.usefixtures("auctions")  # none of its notices is still to come
def test_what_is_bid_over_http_is_booked_by_the_partition(one_worker: AdSite) -> None:
    site, before = one_worker, spent_of(one_worker, "shoes")
    answers = []
    while len([one for one in answers if one["reason"] == "bid"]) < 20:
        number = len(answers)
        assert number < 200, answers[-1]
        asked = {"event_id": f"http-{number}", "user_id": f"user-{number}", "slot_width": 300}
        answers.append(json.loads(site.post("/v1/bid", asked)) | asked)
        time.sleep(0.02)

    made = [one for one in answers if one["reason"] == "bid"]
    notices = [
        {"type": "bid_win", "event_id": f"{one['bid_id']}-{time_}", "user_id": one["user_id"], "bid_id": one["bid_id"]}
        | {"win_price": 1.5}
        for one in made
        for time_ in ("first", "again")
    ]
    site.post("/v1/events", notices)

    eventually(lambda: spent_of(site, "shoes") == before + len(made) * 1_500)


def spent_of(site: Site, campaign: str) -> int:
    """Return the micros that the ledger knows as spent."""
    found = {one["campaign"]: one for one in json.loads(site.get("/v1/campaigns")[1])["campaigns"]}
    return round(found[campaign].get("spent", 0.0) * 1e6)


def test_campaigns_change_while_a_worker_runs_and_a_wrong_one_never_bids(one_worker: AdSite) -> None:
    site = one_worker
    order = Orders(site)
    bids: list[Bid] = []

    order.put(boats={"budget_per_day": 1_000, "value_per_click": 8, "max_bid_cpm": 30})
    asked_until(site, bids, lambda found: by(found, "boats") == {30.0})
    order.put(boats={"budget_per_day": 1_000, "value_per_click": 8, "max_bid_cpm": 20})
    asyncio.run(
        publish(site, "tents", {"campaign": "tents", "budget_per_day": 9, "value_per_click": 99, "pacer": "slow"})
    )
    asked_until(site, bids, lambda found: by(found, "boats") == {20.0})
    eventually(lambda: order.statuses() == {"shoes": "running", "boats": "running", "tents": WRONG_PACER})
    order("pause", "boats")
    asked_until(site, bids, lambda found: not by(found, "boats") and len(by(found, "shoes")) > 0)
    order("remove", "boats")
    order("remove", "tents")
    eventually(lambda: order.statuses() == {"shoes": "running", "boats": "taken away", "tents": "taken away"})

    assert by(bids, "tents") == set()
    assert "tents" not in {name for bid in bids for name in bid.considered}
    told = json.loads(site.get("/status")[1])["bidding"]
    assert told["bids"]["bid"] >= sum(bid.campaign is not None for bid in bids)
    assert told["ledger_open"]


@pytest.mark.usefixtures("auctions")
def test_a_replay_as_it_was_live_gives_the_same_bids_and_examples(one_worker: AdSite, tmp_path: Path) -> None:
    site, again = one_worker, tmp_path / "again"

    done = site.command("replay", f"kafka://{site.settings.topics.events.name}", "--as-live", "--to", str(again))
    compared = site.command("diff", str(again), "live", "--json")

    assert done.returncode == 0, done.stderr
    found = {one["kind"]: one for one in json.loads(compared.stdout)}
    assert {kind: one["fields"] for kind, one in found.items()} == {"scores": {}, "examples": {}, "bids": {}}
    assert found["bids"]["same"] >= 400
    bids = [decode_bid(line) for line in (again / "bids.jsonl").read_bytes().splitlines()]
    assert max(bid.market_version for bid in bids) > 400
    assert len({bid.models.get("ad_click") for bid in bids}) > 1, "models have learned on the way"


@pytest.mark.usefixtures("auctions")
def test_a_score_of_an_impression_that_was_won_can_be_audited(one_worker: AdSite) -> None:
    won = [score for score in scores_on(one_worker) if score.objective == "ad_click" and score.model_version]

    done = one_worker.command("audit", won[-1].score_id)

    assert done.returncode == 0, done.stdout + done.stderr
    assert "banner" in done.stdout


def scores_on(site: Site) -> list[Score]:
    async def read() -> list[Score]:
        found: list[Score] = []
        async with open_range(TopicRange(site.settings.topics.scores.name), site.settings.kafka) as source:
            while batches := await source.read():
                found += [decode_score(record.value) for records in batches.values() for record in records]
        return found

    return asyncio.run(read())


WRONG_PACER = "pacer: No pacer is called 'slow'; declared: unpaced"


class Orders:
    """Gives orders as an operator does, while the worker runs."""

    def __init__(self, site: Site) -> None:
        self._site = site

    def __call__(self, *words: str) -> None:
        done = CliRunner().invoke(app, ["campaigns", *words], env=self._site.environment)
        assert done.exception is None, done.exception

    def put(self, **campaigns: dict[str, Any]) -> None:
        file = self._site.folder / "campaigns.yaml"
        file.write_text(json.dumps(campaigns))  # which is YAML too
        self("put", str(file))

    def statuses(self) -> dict[str, str]:
        return {one["campaign"]: one["status"] for one in json.loads(self._site.get("/v1/campaigns")[1])["campaigns"]}


def by(bids: Sequence[Bid], campaign: str) -> set[float]:
    """Return at which prices a campaign has bid."""
    return {bid.price for bid in bids if bid.campaign == campaign}


def asked_until(site: Site, bids: list[Bid], come_true: Callable[[Sequence[Bid]], bool]) -> None:
    """Ask for bids, which win nothing, a few at a time, until those asked for together are as they should be."""
    end = time.monotonic() + WITHIN_S
    while time.monotonic() < end:
        asking = Exchange(site.settings, seed=time.monotonic_ns(), median_cpm=1e9)
        asyncio.run(asking.run(16, per_s=100))
        bids += asking.bids.values()
        if come_true(list(asking.bids.values())):
            return
    raise AssertionError(f"not within {WITHIN_S} s; {bids[-4:]}")


async def publish(site: Site, campaign: str, declaration: dict[str, Any]) -> None:
    """Write a record of `campaigns` as some other program may, checked by nobody."""
    async with AIOKafkaProducer(**site.settings.kafka.client_kwargs()) as producer:
        topic = site.settings.topics.campaigns.name
        await producer.send_and_wait(topic, json.dumps(declaration).encode(), key=campaign.encode())


@pytest.mark.parametrize("seed", [1])
def test_no_budget_is_overspent_by_four_workers_that_are_killed(
    tmp_path: Path, kafka_broker: Any, valkey_url: str, seed: int
) -> None:
    budgets = {"shoes": 1.5, "tents": 0.6}
    campaigns = {
        name: {"budget_per_day": budget, "value_per_click": 0.8, "item_id": name, "max_bid_cpm": cpm}
        for (name, budget), cpm in zip(budgets.items(), (9, 6), strict=True)
    }
    with bidding_site(tmp_path, kafka_broker.bootstrap_servers, valkey_url, campaigns, 4) as site:
        open_for_bids(site, *budgets)
        exchange = Exchange(site.settings, seed=seed, told_losses=1.0)
        asyncio.run(killing(site, exchange, random.Random(seed)))
        bought_out(site, exchange, budgets)
        spent = {name: settled(site, name, exchange) for name in budgets}

        charged = {name: sum(c for (who, _), c in exchange.cost.items() if who == name) for name in budgets}
        assert exchange.outcomes["budget"] > 100, "there was more to buy than money for it"
        assert spent == charged, "nothing is lost, nothing is booked twice"
        for name, budget in budgets.items():
            # What is left is too little for a bid on each partition: one is worth a hundredth of the budget here.
            assert 0.95 * budget * 1e6 <= charged[name] <= budget * 1e6


def bought_out(site: Site, exchange: Exchange, budgets: Mapping[str, float]) -> None:
    """Go on until budgets are used up: what dead workers had set aside is free once its window has passed."""
    end = time.monotonic() + WITHIN_S
    while time.monotonic() < end:
        charged = {name: sum(c for (who, _), c in exchange.cost.items() if who == name) for name in budgets}
        if all(charged[name] >= 0.95 * budget * 1e6 for name, budget in budgets.items()):
            return
        more = Exchange(site.settings, seed=time.monotonic_ns(), told_losses=1.0)
        asyncio.run(more.run(100, per_s=100))
        exchange.cost.update(more.cost)
        exchange.outcomes.update(more.outcomes)


async def killing(site: Site, exchange: Exchange, chance: random.Random) -> None:
    """Hold auctions, and kill workers meanwhile; each is replaced."""
    auctions = asyncio.create_task(exchange.run(1_600, per_s=100))
    for _ in range(2):
        await asyncio.sleep(chance.uniform(2.0, 4.0))
        victim = chance.choice([one for one in site.workers if one.poll() is None])
        victim.send_signal(signal.SIGKILL)
        await asyncio.to_thread(site.launch_worker)
    await auctions


def open_for_bids(site: Site, *campaigns: str) -> None:
    """Let each partition ask for a budget, which it does with the first request that it cannot bid for."""
    end = time.monotonic() + WITHIN_S
    seed = 1_000
    while time.monotonic() < end:
        asking = Exchange(site.settings, seed=seed, median_cpm=1e9, told_losses=1.0)  # nothing is won
        asyncio.run(asking.run(30, per_s=100))
        if not asking.outcomes["budget"]:
            return
        seed += 1


def settled(site: Site, campaign: str, exchange: Exchange) -> int:
    """Wait until what was charged has been booked; return the micros that the ledger knows as spent."""
    end = time.monotonic() + WITHIN_S
    charged = sum(cost for (name, _), cost in exchange.cost.items() if name == campaign)
    while True:
        status, body = site.get("/v1/campaigns")
        found = {one["campaign"]: one for one in json.loads(body)["campaigns"]} if status == 200 else {}
        spent = round(found.get(campaign, {}).get("spent", 0.0) * 1e6)
        if spent >= charged or time.monotonic() > end:
            return spent
        time.sleep(0.1)
