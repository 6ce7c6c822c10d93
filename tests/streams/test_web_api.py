"""What the API does with more requests than it can serve, and with those that are none."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from aiohttp import web

from online_models.features import compile_features
from schemas.codec import BadRecord
from schemas.events import EventBase, PageView
from streams.configs import shipped_config
from streams.settings import load_settings
from streams.stores import Unavailable
from streams.web import api as web_api
from streams.web.api import Api


class Request:
    """A request whose body comes when it is let."""

    def __init__(self, body: asyncio.Future[bytes] | None = None) -> None:
        self._body = body

    async def read(self) -> bytes:
        return await self._body if self._body is not None else b""


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
    first = [asyncio.create_task(guarded(Request())) for _ in range(2)]
    await asyncio.sleep(0)
    turned_away = await guarded(Request())
    elsewhere = [await other(Request()) for _ in range(5)]
    done.set()

    assert turned_away.status == 503
    assert turned_away.headers["Retry-After"] == "1"
    assert b"2 such requests" in turned_away.body
    assert all(b"is away" in one.body for one in elsewhere), "what failed is under way no more"
    assert [(await one).status for one in first] == [200, 200]
    assert (await guarded(Request())).status == 200


async def test_bodies_that_do_not_come_take_nobodys_place_and_end(monkeypatch: pytest.MonkeyPatch) -> None:
    api = an_api(2)

    async def fine(_: Any) -> web.Response:
        return web.Response(text="done")

    guarded = api._guarded(fine)
    never = asyncio.get_running_loop().create_future()
    waiting = [asyncio.create_task(guarded(Request(asyncio.shield(never)))) for _ in range(8)]
    monkeypatch.setattr(web_api, "_BODY_S", 0.01)
    late = asyncio.create_task(guarded(Request(asyncio.shield(never))))
    await asyncio.sleep(0)

    assert (await late).status == 503, "there is an end to those who may send their bodies, too"
    for one in waiting[1:]:
        one.cancel()
    await asyncio.wait(waiting[1:])
    assert (await guarded(Request())).status == 200
    assert (await guarded(Request(asyncio.shield(never)))).status == 408
    waiting[0].cancel()


def test_what_is_nested_too_deeply_is_refused_and_nothing_else_with_it() -> None:
    deep: Any = 1
    for _ in range(300):
        deep = [deep]

    with pytest.raises(BadRecord, match="too_deep"):
        an_api(2)._event({"type": "page_view", "user_id": "u", "unknown": deep})


async def test_features_are_asked_at_an_event_that_none_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """At a page view `time_since: page_view` would be the gap before the last one, which it takes for this one."""
    asked: list[EventBase] = []

    class Answers:
        async def features(self, user_id: str, event: EventBase) -> None:
            asked.append(event)

    async def ready() -> Answers:
        return Answers()

    api = an_api(2)
    monkeypatch.setattr(api, "_ready", ready)

    answer = await api._features(SimpleNamespace(match_info={"user_id": "u"}))  # type: ignore[arg-type]

    assert answer.status == 404
    [event] = asked
    assert (event.type, event.user_id) == ("", "u")
    features = compile_features({"since_view": {"time_since": "page_view"}})
    slots = features.new_slots()
    for before_ms in (20 * 60_000, 5 * 60_000):
        features.fold(slots, PageView(event_id="e", user_id="u", ts=event.ts - before_ms))  # type: ignore[operator]
    assert features.extract(slots, event, {}) == [300.0]
