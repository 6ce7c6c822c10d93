"""Replaying bids: they depend on the events and the configuration, and a budget is spent once for all partitions."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest
from builders import T0
from replaying import plan, replayed, written

from online_models.bidding.money import micros_of_cpm
from schemas.bids import Bid
from schemas.codec import decode_bid, encode_json
from schemas.events import BidRequest, BidWin, Click, EventBase
from streams.configs import shipped_config
from streams.replay.candidate import CannotResume
from streams.replay.run import Interrupted

REQUESTS, ROUND_MS = 800, 240_000
# At the prior of 0.005 a click of 2 makes an impression worth 0.01; there is money for so many.
BUDGET, AFFORDED = 2.0, 200
CAMPAIGNS = f"""
  campaigns: {{shoes: {{budget_per_day: {BUDGET}, value_per_click: 2, item_id: banner, pacer: all}}}}
  pacers: {{all: {{kind: throttle}}}}
"""


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("config") / "ads.yaml"
    before, _, _ = shipped_config("ads").read_text().partition("  pacers:")
    path.write_text(before + CAMPAIGNS + "worker: {cache_users: 40}\n")
    return path


@pytest.fixture(scope="module")
def events(config: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Requests, what became of the bids that a replay of them makes, and requests again."""
    path, folder = tmp_path_factory.mktemp("events") / "events.jsonl", tmp_path_factory.mktemp("first")
    asked = list(requests("r", T0))
    write(path, asked)
    asyncio.run(replayed(plan(path, config, folder)))
    write(path, [*asked, *outcomes(bids_of(folder), T0 + ROUND_MS), *requests("s", T0 + 2 * ROUND_MS)])
    return path


@pytest.fixture(scope="module")
def reference(events: Path, config: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("reference")
    asyncio.run(replayed(plan(events, config, folder)))
    return folder


def write(path: Path, events: Sequence[EventBase]) -> None:
    path.write_bytes(b"\n".join(encode_json(one) for one in events))


def requests(name: str, ts: int) -> Iterator[BidRequest]:
    chance = Random(name)
    for number in range(REQUESTS):
        user_id = f"u{chance.randrange(100)}"
        at_ms = ts + number * ROUND_MS // REQUESTS
        yield BidRequest(event_id=f"{name}{number}", user_id=user_id, ts=at_ms, slot_width=300, floor=0.1)


def outcomes(bids: Sequence[Bid], ts: int) -> Iterator[EventBase]:
    """Every bid is won for half of its price, and every third one leads to a click."""
    for number, bid in enumerate(one for one in bids if one.campaign is not None):
        price = bid.price / 2
        yield BidWin(event_id=f"w{number}", user_id=bid.user_id, ts=ts + number, bid_id=bid.bid_id, win_price=price)
        if number % 3 == 0:
            yield Click(event_id=f"c{number}", user_id=bid.user_id, ts=ts + number + 1, item_id="banner")


def bids_of(folder: Path) -> list[Bid]:
    return [decode_bid(line) for line in (folder / "bids.jsonl").read_bytes().splitlines()]


def test_a_budget_of_a_day_is_that_of_the_whole_replay(reference: Path) -> None:
    bids = bids_of(reference)
    first, second = (Counter(one.reason for one in bids[at : at + REQUESTS]) for at in (0, REQUESTS))

    assert len({one.partition for one in bids}) > 1
    assert first == {"bid": AFFORDED, "budget": REQUESTS - AFFORDED}
    assert second["budget"] > 0
    spent = sum(micros_of_cpm(one.price / 2) for one in bids[:REQUESTS])
    reserved = sum(micros_of_cpm(one.price) for one in bids[REQUESTS:])
    assert 0.95 * BUDGET * 1e6 < spent + reserved <= BUDGET * 1e6
    assert max(one.market_version for one in bids) > REQUESTS


async def test_an_interrupted_replay_goes_on_to_the_same_bids(
    events: Path, config: Path, reference: Path, tmp_path: Path
) -> None:
    wanted = plan(events, config, tmp_path)

    with pytest.raises(Interrupted):
        await replayed(replace(wanted, chunk=137), stop_at=REQUESTS + AFFORDED // 2)
    with (tmp_path / "bids.jsonl").open("ab") as file:  # as if it had been killed after its last checkpoint
        file.write(b'{"half a li')
    await replayed(replace(wanted, resume=True))

    assert written(tmp_path) == written(reference)


async def test_with_other_campaigns_an_interrupted_replay_does_not_go_on(
    events: Path, config: Path, tmp_path: Path
) -> None:
    other = tmp_path / "ads.yaml"
    other.write_text(config.read_text().replace("value_per_click: 2", "value_per_click: 3"))
    with pytest.raises(Interrupted):
        await replayed(plan(events, config, tmp_path), stop_at=500)

    with pytest.raises(CannotResume, match="had another source, configuration, mapping or version"):
        await replayed(replace(plan(events, other, tmp_path), resume=True))
