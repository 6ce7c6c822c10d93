"""What the API does with more requests than it can serve."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

from aiohttp import web

from streams.configs import shipped_config
from streams.settings import load_settings
from streams.stores import Unavailable
from streams.web.api import Api


def an_api(most_at_once: int) -> Api:
    variables = {"STREAMSCORE_WORKER_HTTP_MOST_AT_ONCE": str(most_at_once)}
    return Api(SimpleNamespace(settings=load_settings(shipped_config("shop"), variables)))  # type: ignore[arg-type]


async def test_more_requests_than_may_be_under_way_are_turned_away_by_route() -> None:
    api, done = an_api(2), asyncio.Event()

    async def slow(_: Any) -> web.Response:
        await done.wait()
        return web.Response(text="done")

    async def broken(_: Any) -> web.Response:
        raise Unavailable("away")

    guarded, other = api._guarded(slow), api._guarded(broken)
    first = [asyncio.create_task(guarded(None)) for _ in range(2)]
    await asyncio.sleep(0)
    turned_away = await guarded(None)
    elsewhere = [await other(None) for _ in range(5)]
    done.set()

    assert turned_away.status == 503
    assert turned_away.headers["Retry-After"] == "1"
    assert b"2 such requests" in turned_away.body
    assert all(b"is away" in one.body for one in elsewhere), "what failed is under way no more"
    assert [(await one).status for one in first] == [200, 200]
    assert (await guarded(None)).status == 200
