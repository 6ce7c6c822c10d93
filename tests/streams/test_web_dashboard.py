"""The dashboard over HTTP: an empty page for everybody, the figures for who may see `/status`."""

from __future__ import annotations

import hashlib
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

import streams.web
from streams.configs import shipped_config
from streams.dashboard import Dashboard
from streams.new_models import new_replicas
from streams.settings import load_settings
from streams.telemetry import Telemetry
from streams.web.access import Access
from streams.web.dashboard import DashboardPage

TOKEN = "a-token-of-this-test"
PAGES = Path(streams.web.__path__[0]) / "pages"
LOADED = re.findall(r'(?:src|href)="(/[^"]+)"', (PAGES / "dashboard.html").read_text())


@asynccontextmanager
async def a_client(why: str | None = None, **variables: str) -> AsyncIterator[TestClient[Any, Any]]:
    """Serve the dashboard of a worker that does nothing."""
    settings = load_settings(shipped_config("shop"), variables)
    telemetry = Telemetry()
    worker: Any = SimpleNamespace(
        settings=settings,
        telemetry=telemetry,
        dashboard=Dashboard(settings, telemetry),
        replicas=new_replicas(settings),
        sessions={},
        campaign_watch=None,
        lag_of_events=lambda: 3,
    )
    app = web.Application(middlewares=Access(settings.worker).middlewares)
    app.add_routes(DashboardPage(worker, lambda: why).routes())
    worker.dashboard.point(1_800_000_000.0, 5.0, lag=3)
    async with TestClient(TestServer(app)) as client:
        yield client


async def test_the_page_and_all_that_it_loads_come_from_here_without_a_token() -> None:
    async with a_client(STREAMSCORE_WORKER_HTTP_TOKENS=TOKEN) as client:
        for path in ["/", *(one for one in LOADED if one.startswith("/assets/"))]:
            async with client.get(path) as answer:
                assert answer.status == 200
                policy = answer.headers["Content-Security-Policy"]
                assert "default-src 'none'" in policy
                assert "unsafe" not in policy
    assert {one for one in LOADED if not one.startswith("/assets/")} == {"/dashboard.json"}
    assert len(LOADED) == 6


async def test_the_figures_want_a_token_as_the_status_does() -> None:
    async with a_client(STREAMSCORE_WORKER_HTTP_TOKENS=TOKEN) as client:
        async with client.get("/dashboard.json") as answer:
            assert answer.status == 401
        async with client.get("/dashboard.json", headers={"Authorization": f"Bearer {TOKEN}"}) as answer:
            assert answer.status == 200
        async with client.get("/assets/../dashboard.json") as answer:
            assert answer.status == 401
        async with client.get("/assets/nothing.js") as answer:
            assert answer.status == 404


async def test_pages_of_other_origins_are_refused() -> None:
    async with (
        a_client() as client,
        client.get("/dashboard.json", headers={"Origin": "https://elsewhere.example"}) as answer,
    ):
        assert answer.status == 403


async def test_the_figures_say_what_the_worker_is_and_why_it_is_not_ready() -> None:
    async with a_client("no partitions are assigned") as client:
        async with client.get("/dashboard.json") as answer:
            told = await answer.json()
        assert (told["app"], told["role"], told["lag"]) == ("shop", "all", 3)
        assert told["not_ready"] == "no partitions are assigned"
        assert told["models"][0] == {
            "objective": "click",
            "variant": "",
            "served": True,
            "model": "ftrl",
            "version": 0,
        }
        assert told["points"]["t"] == [1_800_000_000.0]
        async with client.get("/dashboard.json?since=1800000000") as answer:
            assert (await answer.json())["points"]["t"] == []
        async with client.get("/dashboard.json?since=yesterday") as answer:
            assert answer.status == 400


@pytest.mark.parametrize("name", ["uPlot.iife.min.js", "uPlot.min.css"])
def test_the_library_is_what_its_readme_says(name: str) -> None:
    said = dict(
        re.findall(r"^\| (\S+) \| ([0-9a-f]{64}) \|$", (PAGES / "uplot" / "README.md").read_text(), re.MULTILINE)
    )

    assert hashlib.sha256((PAGES / "uplot" / name).read_bytes()).hexdigest() == said[name]
