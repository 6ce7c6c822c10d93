"""How campaigns stand: the topic's declaration before the configuration's, and what the ledger knows."""

from __future__ import annotations

from typing import Any

import pytest

from schemas.api import CampaignState
from schemas.campaigns import Campaign, Cap
from schemas.codec import decode_event, encode_json
from schemas.events import CampaignSet
from streams.budgets import CampaignDay, DictLedger, Entry, Want
from streams.campaign_feed import Told, told_by
from streams.campaign_orders import desks_of
from streams.campaign_sizes import why_too_large
from streams.campaign_states import is_wrong, known_campaigns, states_of
from streams.configs import shipped_config
from streams.settings import Settings, load_settings

# 23:30 UTC on 14 November 2023.
NOW_MS = 1_700_004_600_000


LIMIT = 65_536
LARGE = {"item": {"in": [f"item-{number:06d}" for number in range(7_000)]}}


@pytest.fixture(scope="module")
def settings() -> Settings:
    return load_settings(shipped_config("ads"), {})


def a_campaign(name: str, **fields: Any) -> Campaign:
    return Campaign(campaign=name, **{"budget_per_day": 10.0, "value_per_click": 1.0} | fields)


async def states(settings: Settings, declared: list[Campaign], told: dict[str, Told]) -> dict[str, CampaignState]:
    known = known_campaigns(declared, told, desks_of(settings).check)
    return {one.campaign: one for one in await states_of(known, await a_ledger(), NOW_MS)}


async def a_ledger() -> DictLedger:
    """Of the day of `NOW_MS` for shoes, and of the next one for boats."""
    ledger = DictLedger()
    epoch = (await ledger.draw("events-0", "", {})).epoch
    await ledger.register("events-0", epoch, {}, expected=["events-0"])
    for place in (CampaignDay("shoes", "2023-11-14"), CampaignDay("boats", "2023-11-15")):
        await ledger.draw("events-0", epoch, {place: Want(4_000_000, 1, 10_000_000, 0)})
        await ledger.report("events-0", {place: Entry(4_000_000, 0, 1_500_000)})
    return ledger


async def test_each_campaign_stands_as_it_was_declared_last(settings: Settings) -> None:
    told = {
        "shoes": Told(7, a_campaign("shoes", budget_per_day=20.0)),
        "tents": Told(8, a_campaign("tents", active=False)),
        "boats": Told(9, a_campaign("boats", tz_offset_min=60)),
        "hats": Told(10, None),
        "caps": Told(11, a_campaign("caps", pacer="slow")),
        "gloves": told_by("gloves", b"{", 12),
    }

    found = await states(settings, [a_campaign("shoes"), a_campaign("rest"), a_campaign("hats")], told)

    assert {name: (one.version, one.status) for name, one in found.items() if not is_wrong(one)} == {
        "shoes": (7, "running"),
        "tents": (8, "paused"),
        "boats": (9, "running"),
        "hats": (10, "taken away"),
        "rest": (0, "running"),
    }
    assert found["caps"].status == "pacer: No pacer is called 'slow'; declared: even, busy"
    assert is_wrong(found["gloves"])


async def test_what_was_spent_is_that_of_the_campaigns_own_day(settings: Settings) -> None:
    found = await states(settings, [a_campaign("shoes"), a_campaign("boats", tz_offset_min=60), a_campaign("rest")], {})

    assert {name: (one.day, one.budget, one.spent, one.committed) for name, one in found.items()} == {
        "shoes": ("2023-11-14", 10.0, 1.5, 4.0),
        "boats": ("2023-11-15", 10.0, 1.5, 4.0),
        "rest": ("2023-11-14", 10.0, 0.0, 0.0),
    }


@pytest.mark.parametrize("value", [b"{", b'{"campaign": "tents", "budget_per_day": 1}', b'{"campaign": "shoes"}'])
def test_a_record_that_declares_no_campaign_of_its_key_is_one_that_never_bids(value: bytes) -> None:
    told = told_by("shoes", value, 3)

    assert (told.version, told.campaign) == (3, None)
    assert told.why


def told(campaign: Campaign) -> Told:
    return told_by(campaign.campaign, encode_json(campaign), 7, max_event_bytes=LIMIT)


def reaches_a_partition(one: Told) -> CampaignSet:
    event = CampaignSet(ts=NOW_MS, campaign="shoes", version=one.version, declaration=one.campaign)
    decoded = decode_event(encode_json(event), record_ts_ms=NOW_MS, max_bytes=LIMIT)
    assert isinstance(decoded, CampaignSet)
    return decoded


def test_a_campaign_that_partitions_cannot_be_told_of_runs_nowhere() -> None:
    one = told(a_campaign("shoes", targeting=LARGE))

    assert reaches_a_partition(one).declaration is None
    assert one.why.startswith("Expected at most 65536 bytes as an event (worker.max_event_bytes), got 98200; ")
    assert told(a_campaign("shoes")) == Told(7, a_campaign("shoes"))


def test_that_a_campaign_is_paused_reaches_partitions_however_large_it_is() -> None:
    one = told(a_campaign("shoes", targeting=LARGE, active=False, cap=Cap(impressions=2, window="1h")))

    assert reaches_a_partition(one).declaration == one.campaign
    assert one == Told(7, a_campaign("shoes", active=False, cap=Cap(impressions=2, window="1h")))


def test_what_counts_is_the_event_not_the_declaration() -> None:
    fits = a_campaign("shoes", properties={"text": "x" * 200})
    size = len(encode_json(fits))

    assert why_too_large(fits, size + 40)
    assert not why_too_large(fits, size + 150)
    assert told_by("shoes", encode_json(fits), 7, max_event_bytes=size).campaign is None
