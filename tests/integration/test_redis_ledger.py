"""What the ledger in Redis promises beyond the contract of all ledgers: lifetimes, one slot, faults, permissions."""

from __future__ import annotations

import contextlib
import re
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
import redis
from budget_ledgers import TTL_MS, LosableRedis
from redis.cluster import key_slot
from redis_servers import LossyProxy

from streams.budgets import CampaignDay, Drawn, Entry, RedisLedger, Totals, Want, open_ledger
from streams.configs import shipped_config
from streams.embedded import EmbeddedValkey
from streams.settings import load_settings
from streams.stores import Unavailable

DOCUMENTS = Path(__file__).resolve().parent.parent.parent / "docs"
SHOES = CampaignDay("shoes", "2026-11-26")
WANT = {SHOES: Want(100, 100, 1_000, 0)}


@pytest.fixture
async def make(unique: Callable[[str], str]) -> AsyncIterator[Callable[[str], LosableRedis]]:
    made: list[LosableRedis] = []
    prefix = unique("ledger")

    def ledger(url: str) -> LosableRedis:
        made.append(LosableRedis.at(url, prefix))
        return made[-1]

    yield ledger
    for one in made:
        await one.close()


async def opened(ledger: Any) -> str:
    epoch = str((await ledger.draw("events-0", "", {})).epoch)
    await ledger.register("events-0", epoch, {}, expected=["events-0"])
    return epoch


async def test_every_key_has_a_time_to_live_and_all_lie_in_one_slot(redis_url: str, make: Any) -> None:
    ledger = make(redis_url)
    with contextlib.closing(redis.Redis.from_url(redis_url)) as admin:
        await ledger.draw("events-0", await opened(ledger), WANT)
        await ledger.report("events-0", {CampaignDay("hats", "2026-11-27"): Entry(5)})
        await ledger.lose_book(SHOES)
        await ledger.draw("events-0", "", WANT)
        keys = {key: admin.pttl(key) for key in admin.scan_iter(match=f"{ledger.base}*")}

    names = ["c:2026-11-26:shoes", "c:2026-11-27:hats", "d:2026-11-26", "d:2026-11-27", "epoch"]
    assert sorted(key.decode().removeprefix(ledger.base) for key in keys) == names
    assert all(TTL_MS - 60_000 < life <= TTL_MS for life in keys.values())
    assert len({key_slot(key) for key in keys}) == 1


async def test_a_server_that_started_anew_or_another_that_took_over_asks_all_again(redis_url: str, make: Any) -> None:
    ledger = make(redis_url)
    epoch = await opened(ledger)
    await ledger.client.hset(f"{ledger.base}epoch", "server", "another run")

    answer = await ledger.draw("events-0", epoch, WANT)

    assert (answer.epoch != epoch, answer.missing, answer.drawn) == (True, 1, {})


@pytest.mark.parametrize("losing", ["lose_requests", "lose_answers"])
async def test_a_draw_that_is_repeated_after_a_lost_connection_is_granted_once(
    losing: str, valkey_url: str, make: Any
) -> None:
    async with LossyProxy(valkey_url) as proxy:
        ledger = make(proxy.url)
        epoch = await opened(ledger)
        setattr(proxy, losing, 1)
        with pytest.raises(Unavailable):
            await ledger.draw("events-0", epoch, WANT)

        again = (await ledger.draw("events-0", epoch, WANT)).drawn[SHOES]

    assert again == Drawn(100, 100 if losing == "lose_requests" else 0, 100, 900)


async def test_a_ledger_that_is_away_is_unavailable(make: Any) -> None:
    with EmbeddedValkey() as valkey:
        ledger = make(valkey.url)
        epoch = await opened(ledger)

    for step in (
        lambda: ledger.draw("events-0", epoch, WANT),
        lambda: ledger.report("events-0", {SHOES: Entry(1)}),
        lambda: ledger.register("events-0", epoch, {}, expected=["events-0"]),
        lambda: ledger.spent_total(*SHOES),
        lambda: ledger.totals(SHOES.day),
    ):
        with pytest.raises(Unavailable):
            await step()


async def test_a_time_to_live_that_a_day_may_outlast_is_not_used() -> None:
    ledger = open_ledger(load_settings(shipped_config("shop"), {"STREAMSCORE_REDIS_STATE_TTL": "1h"}))

    assert ledger._ttl_ms == TTL_MS
    with pytest.raises(ValueError, match="Expected ttl_ms of at least 259200000, got 3600000"):
        RedisLedger(ledger._client, prefix="shop", ttl_ms=3_600_000)
    await ledger.close()


@pytest.mark.parametrize("document", ["budgets.md", "production.md"])
async def test_the_documented_permissions_are_enough(document: str, redis_url: str, unique: Any) -> None:
    user, prefix = unique("user"), unique("app")
    with contextlib.closing(redis.Redis.from_url(redis_url)) as admin:
        admin.execute_command("ACL", "SETUSER", user, "on", ">secret", f"~{prefix}:*", *documented_rules(document))
        ledger = LosableRedis.at(redis_url, prefix, username=user, password="secret")
        try:
            drawn = await ledger.draw("events-0", await opened(ledger), WANT)
            await ledger.report("events-0", {SHOES: Entry(100, 0, 30)})
            assert drawn.drawn == {SHOES: Drawn(100, 100, 100, 900)}
            assert await ledger.totals(SHOES.day) == {"shoes": Totals(1_000, 100, 30)}
            assert await ledger.spent_total(*SHOES) == 30
        finally:
            await ledger.close()
            admin.execute_command("ACL", "DELUSER", user)


def documented_rules(document: str) -> list[str]:
    text = (DOCUMENTS / document).read_text()
    if document == "production.md":
        (line,) = re.findall(r"^user streamscore on .*$", text, re.MULTILINE)
        return line.split()[5:]
    (commands,) = re.findall(r"\*\*Permissions\.\*\* `([A-Z ]+)`", text)
    return ["-@all", *(f"+{command.lower()}" for command in commands.split())]
