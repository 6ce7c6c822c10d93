"""The demo's page in a real browser: click what you like, and the list reacts."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from browser import Page, opened
from site_under_test import Site, shop_events, working_site

CARDS = "[...document.querySelectorAll('#for-you button')].map(one => one.dataset.category)"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, embedded_broker: Any, valkey_url: str) -> Iterator[Site]:
    """A shop whose model has learned what visitors like."""
    folder = tmp_path_factory.mktemp("site")
    servers = embedded_broker.bootstrap_servers, valkey_url
    with working_site(folder, *servers, shop_events(15_000), STREAMSCORE_WORKER_SITE="true") as made:
        yield made


def address(site: Site) -> str:
    return f"http://127.0.0.1:{site.port}/site"


async def liked(page: Page, category: str, times: int) -> None:
    for _ in range(times):
        await page.value(f"document.querySelector('#shelf button[data-category={category}]').click()")
        await asyncio.sleep(0.4)


async def test_three_clicks_and_the_category_is_on_top(site: Site, browser: str, tmp_path: Path) -> None:
    async with opened(browser, address(site)) as page:
        first = await page.until(f"({CARDS}).length === 5 && {CARDS}")
        wanted = next(one for one in ("outdoor", "beauty", "kids", "bags") if one not in first[:2])

        await liked(page, wanted, 3)

        for _ in range(10):  # a place in ten explores
            now = await page.value(CARDS)
            if now[0] == wanted and now.count(wanted) == 2:
                break
            await liked(page, wanted, 1)
        else:
            pytest.fail(f"{wanted} did not rise: {now}")
        assert "has learned" in await page.value("document.getElementById('said').textContent")
        await page.picture(tmp_path / "site.png")
        assert page.complaints == []


async def test_it_works_with_a_keyboard_on_a_telephone_in_light_and_dark(site: Site, browser: str) -> None:
    async with opened(browser, address(site)) as page:
        await page.width(390)
        await page.until(f"({CARDS}).length === 5")
        assert await page.value("document.documentElement.scrollWidth <= document.documentElement.clientWidth")
        colours = set()
        for dark in (False, True):
            await page.dark(dark)
            colours.add(await page.value("getComputedStyle(document.body).backgroundColor"))
        assert len(colours) == 2
        for kind in ("keyDown", "keyUp"):
            await page.do("Input.dispatchKeyEvent", type=kind, key="Tab", code="Tab", windowsVirtualKeyCode=9)
        focused = await page.value("document.activeElement.dataset.category")
        assert focused == (await page.value(CARDS))[0]
        for kind in ("keyDown", "keyUp"):
            await page.do(
                "Input.dispatchKeyEvent", type=kind, key="Enter", code="Enter", text="\r", windowsVirtualKeyCode=13
            )
        await page.until("document.getElementById('said').textContent.includes('has learned')")
        assert page.complaints == []


def test_only_the_demo_has_the_page(site: Site) -> None:
    assert site.get("/site")[0] == 200
    site.environment["STREAMSCORE_WORKER_SITE"] = "false"
    site.environment["STREAMSCORE_WORKER_ROLE"] = "serving"
    site.start_worker()

    assert site.get("/site")[0] == 404
