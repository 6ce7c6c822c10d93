"""What a worker shows of bidding: bids by reason, what became of them, and how the campaigns stand."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import pytest
from prometheus_client import CollectorRegistry
from summaries import summary_of

from online_models.step import StepResult
from schemas.api import CampaignState
from schemas.bids import BID, Bid
from schemas.metrics import Accounting
from streams.campaign_watch import MOST_SHOWN, CampaignWatch
from streams.stores import Unavailable
from streams.telemetry import Telemetry


class Ledger:
    """Answers with what it is given, or not at all."""

    def __init__(self, *states: CampaignState) -> None:
        self.states: Sequence[CampaignState] = states
        self.is_open = self.is_there = True

    async def ask(self) -> Sequence[CampaignState]:
        if not self.is_there:
            raise Unavailable("no answer")
        return self.states


def a_state(campaign: str, **fields: Any) -> CampaignState:
    standing = {"version": 1, "status": "running", "day": "2026-11-26", "budget": 10.0, "spent": 2.0, "committed": 3.0}
    return CampaignState(campaign=campaign, **standing | fields)


def watching(ledger: Ledger) -> tuple[CampaignWatch, Telemetry]:
    telemetry = Telemetry()
    return CampaignWatch(telemetry, ask=ledger.ask, is_open=lambda: ledger.is_open), telemetry


def by_label(registry: CollectorRegistry, metric: str) -> dict[str, float]:
    """Return the values of a metric by its only label."""
    found = {}
    for family in registry.collect():
        for sample in family.samples:
            if sample.name == metric:
                [label] = sample.labels.values()
                found[label] = sample.value
    return found


async def test_budgets_spend_and_multipliers_are_shown_by_campaign() -> None:
    ledger = Ledger(a_state("shoes", multiplier=0.8), a_state("tents", committed=12.0, status="paused"))
    watch, telemetry = watching(ledger)

    await watch.look()

    shown = {
        name: by_label(telemetry.registry, f"streamscore_campaign_{name}")
        for name in ("budget", "spent", "left", "multiplier")
    }
    assert shown == {
        "budget": {"shoes": 10.0, "tents": 10.0},
        "spent": {"shoes": 2.0, "tents": 2.0},
        "left": {"shoes": 7.0, "tents": 0.0},
        "multiplier": {"shoes": 0.8, "tents": 1.0},
    }
    assert by_label(telemetry.registry, "streamscore_campaigns") == {"running": 1, "paused": 1}


async def test_a_campaign_that_is_gone_or_wrong_is_counted_and_no_longer_shown() -> None:
    ledger = Ledger(a_state("shoes"), a_state("tents"), a_state("boats"))
    watch, telemetry = watching(ledger)
    await watch.look()

    gone = CampaignState(campaign="tents", version=2, status="taken away")
    wrong = CampaignState(campaign="boats", version=3, status="pacer: No pacer is called 'slow'; declared: even")
    ledger.states = [a_state("shoes"), gone, wrong]
    await watch.look()

    assert by_label(telemetry.registry, "streamscore_campaign_spent") == {"shoes": 2.0}
    assert watch.status()["campaigns"] == {"running": 1, "taken away": 1, "wrong": 1}


async def test_so_many_campaigns_are_shown_and_no_more_and_those_that_run_come_first() -> None:
    idle = [a_state(f"a-{number}", status="paused") for number in range(MOST_SHOWN)]
    ledger = Ledger(*idle, a_state("shoes"))
    watch, telemetry = watching(ledger)

    await watch.look()

    shown = by_label(telemetry.registry, "streamscore_campaign_left")
    assert len(shown) == MOST_SHOWN
    assert "shoes" in shown
    assert watch.status()["campaigns"] == {"paused": MOST_SHOWN, "running": 1}


async def test_the_dashboard_shows_those_that_run_first_and_why_others_do_not_bid() -> None:
    gone = CampaignState(campaign="gone", version=2, status="taken away")
    wrong = CampaignState(campaign="a-wrong-one", version=3, status="click: No objective is called 'buy'")
    watch, _ = watching(Ledger(wrong, gone, a_state("boats", status="paused"), a_state("tents"), a_state("shoes")))

    await watch.look()

    document = watch.document()
    assert [one["campaign"] for one in document["shown"]] == ["shoes", "tents", "boats", "a-wrong-one"]
    assert (document["shown"][0]["spent"], document["shown"][3]["status"]) == (2.0, wrong.status)
    assert document["bids"] == {}


async def test_a_ledger_that_is_away_or_grants_nothing_is_told_and_what_was_shown_stays() -> None:
    ledger = Ledger(a_state("shoes"))
    watch, telemetry = watching(ledger)
    told = []
    for is_there, is_open in ((True, True), (False, True), (True, False), (True, True)):
        ledger.is_there, ledger.is_open = is_there, is_open
        await watch.look()
        told.append(telemetry.registry.get_sample_value("streamscore_ledger_open"))

    assert told == [1.0, 0.0, 0.0, 1.0]
    assert by_label(telemetry.registry, "streamscore_campaign_spent") == {"shoes": 2.0}


def test_bids_are_counted_by_reason_and_what_became_of_them_by_kind() -> None:
    watch, telemetry = watching(Ledger())
    notes = Counter(win=2, notice_missing=1, outcome_first=3)
    for reasons in ((BID, "paced", BID), ("budget",), ()):
        telemetry.batch_done(summary_of(a_result(reasons, notes)), seconds=0.01, open_count=0)

    assert by_label(telemetry.registry, "streamscore_bids_total") == {BID: 2, "paced": 1, "budget": 1}
    assert by_label(telemetry.registry, "streamscore_bid_notices_total") == {"win": 6, "notice_missing": 3}
    assert by_label(telemetry.registry, "streamscore_attribution_notes_total") == {"outcome_first": 9}
    assert telemetry.registry.get_sample_value("streamscore_bid_latency_seconds_count") == 4
    assert watch.status() == {
        "campaigns": {},
        "bids": {BID: 2, "paced": 1, "budget": 1},
        "notices": {"win": 6, "notice_missing": 3},
        "ledger_open": True,
    }


async def test_wins_that_nobody_pays_for_are_told_with_each_look(caplog: pytest.LogCaptureFixture) -> None:
    watch, telemetry = watching(Ledger())
    for count in (2, 0, 3):
        telemetry.batch_done(summary_of(a_result((), Counter(notice_of_unknown_bid=count))), seconds=0.01, open_count=0)
        await watch.look()

    assert [record.fields for record in caplog.records] == [{"wins": 2}, {"wins": 3}]  # type: ignore[attr-defined]
    assert {record.levelname for record in caplog.records} == {"ERROR"}


def a_result(reasons: Sequence[str], notes: Counter[str]) -> StepResult:
    place: dict[str, Any] = {"topic": "events", "partition": 0}
    bids = [
        Bid(reason=one, bid_id=f"b-{n}", event_id=f"e-{n}", user_id="u", ts=0, offset=n, source_ts=1, **place)
        for n, one in enumerate(reasons)
    ]
    accounting = Accounting(
        **place,
        first_offset=0,
        next_offset=len(bids),
        events=len(bids),
        scored=len(bids),
        dead=0,
        ignored={},
        scores=0,
        examples=0,
        stream_time_ms=0,
        bids=len(bids),
    )
    return StepResult([], [], accounting, {}, {}, notes, bids=bids)
