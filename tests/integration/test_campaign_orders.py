"""`streamscore campaigns`: what an operator orders stands on the topic, and nothing wrong gets there."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from aiokafka import AIOKafkaProducer
from conftest import Broker
from msgspec.structs import replace
from site_under_test import Site
from typer.testing import CliRunner

from schemas.campaigns import Campaign
from streams.admin import create_topics
from streams.budgets import CampaignDay, Entry, Want, open_ledger
from streams.campaign_orders import _write, read_told
from streams.cli.main import app
from streams.settings import Settings

SHOES = {"budget_per_day": 200, "value_per_click": 0.6, "starts": "2026-01-01"}
TENTS = {"budget_per_day": 80.5, "value_per_conversion": 25, "auction": "first"}


class Operator:
    """Gives commands to a deployment that has no workers; the configuration itself declares the campaign ``rest``."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self.file = site.folder / "campaigns.yaml"

    def write(self, campaigns: dict[str, Any]) -> str:
        self.file.write_text(yaml.safe_dump(campaigns, sort_keys=False))
        return str(self.file)

    def __call__(self, *words: str) -> list[str]:
        """Return the lines that a command prints, the last one of an error."""
        done = CliRunner().invoke(app, ["campaigns", *words], env=self.site.environment)
        if done.exception is None:
            return done.stdout.splitlines()
        assert type(done.exception).__name__ == "UserError", done.exception
        return [f"error: {line}" for line in str(done.exception).splitlines()]

    def declare(self, campaigns: dict[str, Any]) -> None:
        """Write other campaigns into the configuration."""
        declared = yaml.safe_load(self.site.config.read_text())
        declared["bidding"]["campaigns"] = campaigns
        self.site.config.write_text(yaml.safe_dump(declared, sort_keys=False))

    def told(self) -> dict[str, Campaign | None]:
        return {name: one.campaign for name, one in asyncio.run(read_told(self.site.settings)).items()}

    def listed(self) -> dict[str, dict[str, Any]]:
        [line] = self("list", "--json")
        return {one["campaign"]: one for one in json.loads(line)}


@pytest.fixture
def operator(tmp_path: Path, embedded_broker: Broker, valkey_url: str, unique: Callable[[str], str]) -> Operator:
    bidding = {"click": "ad_click", "conversion": "ad_sale", "campaigns": {"rest": SHOES}}
    site = Site(tmp_path, "ads", embedded_broker.bootstrap_servers, valkey_url, unique("orders"), bidding=bidding)
    asyncio.run(create_topics(site.settings))
    return Operator(site)


def test_what_an_operator_orders_stands_on_the_topic_and_only_changes_are_written(operator: Operator) -> None:
    assert operator("put", operator.write({"shoes": SHOES, "tents": TENTS})) == ["shoes: set", "tents: set"]
    dearer = {"shoes": SHOES | {"budget_per_day": 300}, "tents": TENTS}
    assert operator("put", operator.write(dearer)) == ["shoes: set", "tents: as it was"]
    assert operator("pause", "shoes") == ["shoes is paused; back: streamscore campaigns resume shoes"]
    assert operator("pause", "shoes") == ["shoes was paused already"]
    assert operator("remove", "tents") == ["tents is taken away"]
    assert operator("resume", "tents") == ["error: There is no campaign 'tents'; known: rest, shoes"]

    told = operator.told()
    assert told.pop("tents") is None
    assert {name: (one.budget_per_day, one.active) for name, one in told.items() if one} == {"shoes": (300, False)}


def test_a_file_with_one_wrong_campaign_changes_nothing(operator: Operator) -> None:
    said = operator("put", operator.write({"shoes": SHOES, "tents": TENTS | {"pacer": "slow"}, "boats": {}}))

    assert said == [
        f"error: {operator.file}:9: tents.pacer: No pacer is called 'slow'; declared: even",
        f"error: {operator.file}:10: boats.budget_per_day: Is missing",
        "error: No campaign was changed",
    ]
    assert operator.told() == {}


def test_a_campaign_of_the_configuration_is_paused_on_the_topic_and_not_taken_away(operator: Operator) -> None:
    operator("pause", "rest")

    assert {name: one.active for name, one in operator.told().items() if one} == {"rest": False}
    [refused] = operator("remove", "rest")
    assert refused.startswith("error: rest is declared in the configuration; take it out there")


def test_who_pauses_a_campaign_of_the_configuration_is_told_that_it_counts_no_more_and_sees_where_they_differ(
    operator: Operator,
) -> None:
    topic = operator.site.settings.topics.campaigns.name
    goes = (
        f"rest stands on `{topic}` from now on, and what the configuration declares of it no longer counts; "
        "change it with: streamscore campaigns put FILE"
    )
    operator("put", operator.write({"shoes": SHOES}))

    assert operator("pause", "rest") == ["rest is paused; back: streamscore campaigns resume rest", goes]
    assert operator("resume", "rest") == ["rest bids again; back: streamscore campaigns pause rest", goes]
    assert operator("resume", "rest") == ["rest is not paused"]
    assert {name: one["differs"] for name, one in operator.listed().items()} == {"rest": False, "shoes": False}

    operator.declare({"rest": SHOES | {"budget_per_day": 500}})
    found = operator.listed()["rest"]
    assert (found["from"], found["budget"], found["differs"]) == ("topic", 200.0, True)
    assert any("differs" in line for line in operator("list"))
    [refused] = operator("remove", "rest")
    assert refused.endswith("campaigns pause rest; or change it: streamscore campaigns put FILE")

    operator("put", operator.write({"rest": SHOES | {"budget_per_day": 500}}))
    assert operator.listed()["rest"]["differs"] is False


def test_what_cannot_be_read_or_would_not_bid_is_mended_first(operator: Operator) -> None:
    written = {"shoes": {"campaign": "shoes"}, "tents": TENTS | {"campaign": "tents", "pacer": "slow", "active": False}}
    asyncio.run(publish(operator.site.settings, written))

    [unreadable] = operator("pause", "shoes")
    assert unreadable.startswith("error: What stands on the topic for shoes cannot be read: ")
    assert operator("resume", "tents") == [
        "error: tents is wrong and would not bid: pacer: No pacer is called 'slow'; declared: even; "
        "mend it: streamscore campaigns put FILE"
    ]
    assert operator("put", operator.write({"shoes": SHOES, "tents": TENTS})) == ["shoes: set", "tents: set"]


async def publish(settings: Settings, records: dict[str, Any]) -> None:
    """Write records of `campaigns` as some other program may, checked by nobody."""
    async with AIOKafkaProducer(**settings.kafka.client_kwargs()) as producer:
        for key, value in records.items():
            await producer.send_and_wait(settings.topics.campaigns.name, json.dumps(value).encode(), key=key.encode())


def test_the_list_tells_what_was_spent_today(operator: Operator) -> None:
    operator("put", operator.write({"shoes": SHOES, "later": TENTS | {"starts": "2100-01-01"}}))
    day = time.strftime("%Y-%m-%d", time.gmtime())
    asyncio.run(spend(operator.site.settings, CampaignDay("shoes", day)))

    found = operator.listed()

    shown = {name: (one["from"], one["status"], one["spent"], one["committed"]) for name, one in found.items()}
    assert shown == {
        "shoes": ("topic", "running", 1.5, 4.0),
        "later": ("topic", "flight_not_begun", 0.0, 0.0),
        "rest": ("configuration", "running", 0.0, 0.0),
    }
    assert (found["later"]["starts"], found["later"]["ends"]) == ("2100-01-01", None)
    table = "\n".join(operator("list"))
    assert all(name in table for name in shown)


async def spend(settings: Settings, place: CampaignDay) -> None:
    ledger = open_ledger(settings)
    epoch = (await ledger.draw("events-0", "", {})).epoch
    await ledger.register("events-0", epoch, {}, expected=["events-0"])
    await ledger.draw("events-0", epoch, {place: Want(4_000_000, 1, 200_000_000, 0)})
    await ledger.report("events-0", {place: Entry(4_000_000, 0, 1_500_000)})
    await ledger.close()


def test_where_nobody_bids_or_no_topic_is_the_error_says_what_to_do(
    tmp_path: Path, kafka_broker: Broker, valkey_url: str, unique: Callable[[str], str]
) -> None:
    name = unique("orders")
    bare = Operator(Site(tmp_path, "ads", kafka_broker.bootstrap_servers, valkey_url, name))
    file = bare.write({"shoes": SHOES})

    assert bare("put", file) == [
        f"error: There is no topic '{name}.campaigns'; create it with `streamscore topics create`, or grant Describe "
        "on it"
    ]
    bare.site.environment["STREAMSCORE_CONFIG"] = "shop"
    for order in (["put", file], ["pause", "shoes"], ["resume", "shoes"], ["remove", "shoes"], ["list"]):
        [said] = bare(*order)
        assert said.startswith("error: There is no section `bidding:` in the configuration, so nobody bids")


def test_what_partitions_cannot_be_told_of_is_not_ordered_but_what_stands_on_the_topic_can_be_stopped(
    operator: Operator,
) -> None:
    large = SHOES | {"targeting": {"country": {"in": [f"c{number:06d}" for number in range(8_000)]}}}
    refused = operator("put", operator.write({"shoes": large}))
    before = Campaign(campaign="boats", budget_per_day=1.0, value_per_click=1.0, targeting=large["targeting"])
    asyncio.run(_write({"boats": before}, operator.site.settings))

    assert "Expected at most 65536 bytes as an event" in refused[0]
    assert "Expected at most 65536 bytes as an event" in operator.listed()["boats"]["status"]
    assert operator("pause", "boats") == ["boats is paused; back: streamscore campaigns resume boats"]
    assert operator.listed()["boats"]["status"] == "paused"
    assert operator.told() == {"boats": replace(before, active=False)}
    [error] = operator("resume", "boats")
    assert error.startswith("error: boats is wrong and would not bid: Expected at most 65536 bytes")
    assert operator("remove", "boats") == ["boats is taken away"]
