"""Budget ledgers that lose on demand what a server may lose."""

from __future__ import annotations

from typing import Any

from streams.budgets import CampaignDay, DictLedger, RedisLedger
from streams.sections import RedisSettings
from streams.stores.redis_client import connect

TTL_MS = 3 * 86_400_000


class LosableDict(DictLedger):
    """In memory; the same to lose as in Redis."""

    async def lose(self, *_: CampaignDay) -> None:
        self.forget()

    async def lose_book(self, place: CampaignDay) -> None:
        self.forget_book(place)

    async def lose_epoch(self, _: CampaignDay) -> None:
        self.forget_epoch()


class LosableRedis(RedisLedger):
    """In Redis, where another client deletes keys of it."""

    @classmethod
    def at(cls, url: str, prefix: str, **options: Any) -> LosableRedis:
        made = cls(connect(RedisSettings(url=url, timeout="5s", **options)), prefix=prefix, ttl_ms=TTL_MS)
        made.client, made.base = made._client, f"{prefix}:{{budgets}}:"
        return made

    client: Any
    base: str

    async def lose(self, *places: CampaignDay) -> None:
        keys = [f"{self.base}c:{place.day}:{place.campaign}" for place in places]
        keys += {f"{self.base}d:{place.day}" for place in places}
        await self.client.unlink(f"{self.base}epoch", *keys)

    async def lose_book(self, place: CampaignDay) -> None:
        await self.client.unlink(f"{self.base}c:{place.day}:{place.campaign}")

    async def lose_epoch(self, _: CampaignDay) -> None:
        await self.client.unlink(f"{self.base}epoch")
