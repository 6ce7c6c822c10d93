"""Who may use the HTTP API: tokens, origins, loopback."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from streams.configs import shipped_config
from streams.sections import WorkerSettings
from streams.settings import InvalidSettings, load_settings, parse_settings
from streams.web.access import Access

TOKEN, OTHER = "a-token-of-the-shop", "a-token-of-the-news"
PAGE = "https://shop.example"


@asynccontextmanager
async def a_client(**settings: Any) -> AsyncIterator[TestClient[Any, Any]]:
    """Serve one page of each kind, each of which says yes."""

    async def yes(_: web.Request) -> web.Response:
        return web.Response(text="yes")

    app = web.Application(middlewares=Access(WorkerSettings(**settings)).middlewares, client_max_size=100)

    async def body(request: web.Request) -> web.Response:
        return web.Response(text=str(len(await request.read())))

    app.add_routes([web.get("/healthz", yes), web.get("/status", yes), web.get("/v1/models", yes)])
    app.add_routes([web.post("/v1/events", body), web.post("/v1/rank", body)])
    async with TestClient(TestServer(app)) as client:
        yield client


async def status(client: TestClient[Any, Any], method: str, path: str, **options: Any) -> int:
    async with client.request(method, path, **options) as answer:
        return answer.status


def bearing(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


async def test_with_tokens_only_health_is_for_everybody() -> None:
    async with a_client(http_tokens=f"{OTHER}, {TOKEN}", http_host="0.0.0.0") as client:
        for path in ("/status", "/v1/models"):
            assert await status(client, "GET", path) == 401
            assert await status(client, "GET", path, headers=bearing("guessed-guessed-guessed")) == 401
            assert await status(client, "GET", path, headers={"Authorization": f"Basic {TOKEN}"}) == 401
            assert await status(client, "GET", path, headers=bearing("")) == 401
            assert await status(client, "GET", path, headers=bearing("\udcff\udcfe")) == 401
            assert await status(client, "GET", path, headers=bearing(TOKEN)) == 200
            assert await status(client, "GET", path, headers=bearing(OTHER)) == 200
        assert await status(client, "GET", "/healthz") == 200
        async with client.get("/v1/models") as answer:
            assert answer.headers["WWW-Authenticate"] == "Bearer"
            assert await answer.json() == {"error": "Expected `Authorization: Bearer TOKEN`"}


async def test_a_beacon_may_name_its_token_in_the_address_and_nothing_else_may() -> None:
    async with a_client(http_tokens=TOKEN) as client:
        assert await status(client, "POST", f"/v1/events?access_token={TOKEN}", data=b"{}") == 200
        assert await status(client, "POST", "/v1/events?access_token=wrong-wrong-wrong", data=b"{}") == 401
        assert await status(client, "POST", f"/v1/rank?access_token={TOKEN}", data=b"{}") == 401


async def test_without_tokens_the_api_is_for_this_machine() -> None:
    async with a_client() as client:
        assert await status(client, "GET", "/v1/models") == 200
    async with a_client(http_host="0.0.0.0") as client:
        assert await status(client, "GET", "/v1/models") == 403
        assert await status(client, "GET", "/status") == 200


async def test_pages_of_declared_origins_may_ask_and_are_told_so() -> None:
    async with a_client(http_origins=f"https://news.example, {PAGE}", http_tokens=TOKEN) as client:
        asking = {"Origin": PAGE, "Access-Control-Request-Method": "POST"}
        async with client.options("/v1/rank", headers=asking) as answer:
            assert answer.status == 204
            assert answer.headers["Access-Control-Allow-Origin"] == PAGE
            assert answer.headers["Access-Control-Allow-Headers"] == "authorization, content-type"
        async with client.get("/v1/models", headers={"Origin": PAGE, **bearing(TOKEN)}) as answer:
            assert (answer.status, answer.headers["Access-Control-Allow-Origin"]) == (200, PAGE)
            assert answer.headers["Vary"] == "Origin"
        async with client.get("/v1/models", headers={"Origin": PAGE}) as answer:
            assert (answer.status, answer.headers["Access-Control-Allow-Origin"]) == (401, PAGE)


async def test_pages_of_other_origins_may_not_not_even_without_reading_the_answer() -> None:
    async with a_client() as client:
        for path in ("/v1/events", "/v1/rank"):
            sent = {"Origin": "https://evil.example", "Content-Type": "text/plain"}
            assert await status(client, "POST", path, data=b"{}", headers=sent) == 403
        own = {"Origin": f"http://127.0.0.1:{client.port}"}
        assert await status(client, "POST", "/v1/events", data=b"{}", headers=own) == 200


async def test_what_aiohttp_refuses_is_refused_as_json() -> None:
    async with a_client() as client:
        async with client.get("/nowhere") as answer:
            assert (answer.status, await answer.json()) == (404, {"error": "Not Found"})
        async with client.get("/v1/rank") as answer:
            assert (answer.status, answer.headers["Allow"]) == (405, "POST")
        async with client.post("/v1/events", data=b"x" * 101) as answer:
            assert answer.status == 413
            assert "error" in await answer.json()


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({"STREAMSCORE_WORKER_HTTP_TOKENS": "short"}, "expected tokens of at least 16 characters"),
        ({"STREAMSCORE_WORKER_HTTP_ORIGINS": "shop.example"}, "such as https://shop.example, got 'shop.example'"),
    ],
)
def test_what_cannot_be_meant_stops_the_start(variables: dict[str, str], message: str) -> None:
    with pytest.raises(InvalidSettings, match=message) as caught:
        load_settings(shipped_config("shop"), variables)

    assert "'short'" not in str(caught.value)


def test_tokens_come_from_the_environment_and_are_never_shown() -> None:
    text = shipped_config("shop").read_text()
    with pytest.raises(InvalidSettings, match="Set STREAMSCORE_WORKER_HTTP_TOKENS instead"):
        parse_settings(f"{text}\nworker: {{http_tokens: {TOKEN}}}\n", {})

    settings = load_settings(shipped_config("shop"), {"STREAMSCORE_WORKER_HTTP_TOKENS": TOKEN})

    assert settings.worker.http_token_list == [TOKEN]
    assert TOKEN not in str(settings.masked())
