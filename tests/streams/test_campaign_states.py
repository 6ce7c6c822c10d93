"""How campaigns stand: the topic's declaration before the configuration's, and what the ledger knows."""

from __future__ import annotations

from typing import Any

import pytest

from schemas.api import CampaignState
from schemas.campaigns import Campaign
from streams.budgets import CampaignDay, DictLedger, Entry, Want
from streams.campaign_feed import Told, told_by
from streams.campaign_orders import desks_of
from streams.campaign_states import is_wrong, known_campaigns, states_of
from streams.configs import shipped_config
from streams.settings import Settings, load_settings

# 23:30 UTC on 14 November 2023.
NOW_MS = 1_700_004_600_000


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
