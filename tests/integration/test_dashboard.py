"""The dashboard of a real worker, over HTTP and in a real browser."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from browser import WITHIN_S, Page, opened
from site_under_test import Site, fed_and_accounted, shop_events, working_site

from streams.simulate import disturbed

TOKEN = "token-of-this-test"
EVENTS = 15_000
# What is drawn: pixels of the canvas that are not transparent.
INKED = """[...document.querySelectorAll('.plot')].map(plot => {
  const canvas = plot.querySelector('canvas');
  if (!canvas) return 0;
  const pixels = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data;
  return pixels.filter((value, place) => place % 4 === 3 && value).length;
})"""
NO_SCROLLING = "document.documentElement.scrollWidth <= document.documentElement.clientWidth"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, embedded_broker: Any, valkey_url: str) -> Iterator[Site]:
    """A shop whose model has learned, with some dead letters."""
    folder = tmp_path_factory.mktemp("dashboard")
    events = disturbed(shop_events(EVENTS), seed=2, poison=0.002)
    with working_site(folder, embedded_broker.bootstrap_servers, valkey_url, events) as made:
        yield made


def told(site: Site) -> dict[str, Any]:
    status, body = site.get("/dashboard.json")
    assert status == 200
    document = json.loads(body)
    assert isinstance(document, dict)
    return document


async def filled(page: Page) -> None:
    await page.until("document.readyState === 'complete'")
    await page.until("points.t?.length >= 2 && charts.length === 12 && charts.every(one => one.drawn)")


async def press(page: Page, key: str, code: int) -> None:
    for kind in ("keyDown", "keyUp"):
        await page.do("Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=code)


async def test_the_figures_account_for_what_was_fed(site: Site) -> None:
    document = told(site)
    async with asyncio.timeout(WITHIN_S):  # what came last is judged at the next point
        while len(points := document["points"].get("events", [])) < 2 or points[-1]:
            await asyncio.sleep(0.2)
            document = told(site)

    totals = document["totals"]
    assert totals["events"] == totals["scored"] + totals["ignored"] + totals["dead"] > EVENTS
    assert sum(document["dead_letters"]["by_reason"].values()) == totals["dead"] > 0
    assert set(document["objectives"]) == {"click", "purchase", "continue"}
    click = document["objectives"]["click"]
    assert sum(one["n"] for one in click["calibration"]) == click["judged"] == document["points"]["click.n"][-1]
    assert document["points"]["click.rule_log_loss"][-1] > 0
    # The hour on its circle is two numbers of one feature.
    features = {one["feature"].removesuffix(".sin").removesuffix(".cos") for one in click["features"]}
    assert features <= set(site.settings.features.names)
    assert len(document["scores"]) == 20
    assert document["not_ready"] is None
    exposed = site.get("/metrics")[1]
    assert 'streamscore_recent{metric="rule_log_loss",objective="click"}' in exposed
    assert 'streamscore_dead_letters_total{reason="not_json"}' in exposed


async def test_the_charts_fill_and_say_in_words_what_they_show(site: Site, browser: str, tmp_path: Path) -> None:
    async with opened(browser, f"http://127.0.0.1:{site.port}/") as page:
        await filled(page)

        assert min(await page.value(INKED)) > 500
        for chart in await page.value("[...document.querySelectorAll('.plot')].map(one => one.ariaLabel)"):
            assert any(digit in chart for digit in "0123456789")
        assert await page.value("document.querySelectorAll('#scores li').length") == 20
        assert await page.value("document.querySelectorAll('#scores .down').length")
        assert "the rule" in await page.value("document.querySelector('.verdict').textContent")
        assert "not_json" in await page.value("document.getElementById('dead-reasons').textContent")
        assert "events[" in await page.value("document.getElementById('dead-last').textContent")
        assert await page.value("document.getElementById('state').textContent") == "Ready"
        await page.picture(tmp_path / "dashboard.png")
        assert page.complaints == []


async def test_new_points_come_while_one_looks(site: Site, browser: str) -> None:
    async with opened(browser, f"http://127.0.0.1:{site.port}/") as page:
        await filled(page)
        before = await page.value("points.t.length")
        events = await page.value("points.events.reduce((sum, one) => sum + one)")

        more = itertools.islice(shop_events(EVENTS + 2_000), EVENTS, None)
        await asyncio.to_thread(lambda: asyncio.run(fed_and_accounted(site, more)))

        await page.until(f"points.t.length > {before} && points.events.reduce((sum, one) => sum + one) > {events}")
        assert page.complaints == []


async def test_it_fits_a_telephone_and_follows_light_and_dark(site: Site, browser: str) -> None:
    async with opened(browser, f"http://127.0.0.1:{site.port}/") as page:
        await filled(page)
        await page.width(360)
        await page.until(f"charts.every(one => one.drawn.width <= 360) && {NO_SCROLLING}")
        colours = []
        for dark in (False, True):
            await page.dark(dark)
            await page.until(f"matchMedia('(prefers-color-scheme: dark)').matches === {str(dark).lower()}")
            await page.until("charts.every(one => one.drawn.series[1].stroke() === colour(one.lines[0].style))")
            colours.append(await page.value("[getComputedStyle(document.body).backgroundColor, colour('model')]"))
        assert colours[0][0] != colours[1][0]
        assert colours[0][1] != colours[1][1]
        assert min(await page.value(INKED)) > 500
        assert page.complaints == []


async def test_a_keyboard_reaches_every_chart_and_reads_it(site: Site, browser: str) -> None:
    async with opened(browser, f"http://127.0.0.1:{site.port}/") as page:
        await filled(page)
        reached = []
        for _ in range(30):
            await press(page, "Tab", 9)
            where = "document.activeElement"
            reached.append(await page.value(f"{where}.className || {where}.tagName"))
            if len(reached) == 2:  # the first chart, behind the skip link
                assert await page.value(f"getComputedStyle({where}).outlineStyle") == "solid"
                await press(page, "ArrowLeft", 37)
                said = await page.value(f"{where}.parentElement.querySelector('.spoken').textContent")
                assert "events " in said
                assert "scores " in said

        assert reached[0] == "skip"
        assert reached.count("plot") >= 12
        assert reached.count("SUMMARY") >= 3
        headings = await page.value("[...document.querySelectorAll('h1,h2,h3,h4')].map(one => +one.tagName[1])")
        assert headings[0] == 1
        assert all(later - earlier <= 1 for earlier, later in itertools.pairwise(headings))
        assert await page.value("['header', 'main', 'footer'].every(one => document.querySelector(`body > ${one}`))")
        assert page.complaints == []


async def test_drift_a_worker_that_is_not_ready_and_segments_are_shown_when_there_are_any(
    site: Site, browser: str
) -> None:
    told_otherwise = """fetch('/dashboard.json').then(answer => answer.json()).then(told => {
      const segments = [{ id: '2', name: 'new', share: .25 }], changes = [{ t: told.now, before: .2, worse: true }];
      Object.assign(told, { points: {}, not_ready: 'no partitions are assigned', segments });
      Object.assign(told.objectives.click, { drifting: true, level: .3, changes });
      show(told);
      return ['alarms', 'state', 'segments'].map(id => at(id).hidden ? null : at(id).textContent.trim());
    })"""
    async with opened(browser, f"http://127.0.0.1:{site.port}/") as page:
        await filled(page)
        assert await page.value("at('alarms').hidden")

        alarm, state, segments = await page.value(told_otherwise)

        assert alarm.startswith("Drift in click: the log loss of its scores rose at ")
        assert alarm.endswith("; it was 0.200 and is 0.300 since.")
        assert state == "Not ready: no partitions are assigned"
        assert "2: new, 25 % of the visits" in segments
        assert page.complaints == []


async def test_campaigns_are_shown_where_there_is_bidding(site: Site, browser: str) -> None:
    told_otherwise = """fetch('/dashboard.json').then(answer => answer.json()).then(told => {
      const shoes = { campaign: 'shoes', status: 'running', day: '2026-11-26', budget: 200, spent: 50, multiplier: .8 };
      const wrong = { status: "pacer: No pacer is called 'slow'", day: '', budget: 0, spent: 0, multiplier: 1 };
      const tents = { campaign: '<b>tents</b>', ...wrong };
      const bidding = { campaigns: {}, bids: { bid: 1200, paced: 3 }, ledger_open: false, shown: [shoes, tents] };
      show(Object.assign(told, { points: {}, bidding }));
      const text = row => [...row.cells].map(one => one.textContent).join('|');
      return [at('bids-said').textContent, ...[...at('campaigns').rows].map(text)];
    })"""
    async with opened(browser, f"http://127.0.0.1:{site.port}/") as page:
        await filled(page)
        assert await page.value("at('bidding').hidden")

        bids, _, shoes, tents = await page.value(told_otherwise)
        await page.width(360)

        assert bids.startswith("Requests here by what became of them: 1,200 bid and 3 paced.")
        assert bids.endswith("The ledger of budgets is away or waits for partitions: nothing is granted.")
        assert shoes == "shoes|running|50|200|25 %|0.8"
        assert tents == "<b>tents</b>|pacer: No pacer is called 'slow'||||"
        await page.until(NO_SCROLLING)
        assert page.complaints == []


async def test_with_tokens_the_page_asks_for_one_and_says_when_the_worker_is_away(
    site: Site, browser: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(site.environment, "STREAMSCORE_WORKER_HTTP_TOKENS", TOKEN)
    monkeypatch.setitem(site.environment, "STREAMSCORE_WORKER_ROLE", "serving")
    monkeypatch.setattr(site, "port", site.port)  # of the site's worker again, when this one is gone
    worker = site.launch_worker()
    while site.get("/healthz")[0] != 200:
        await asyncio.sleep(0.1)
    assert site.get("/dashboard.json")[0] == 401
    async with opened(browser, f"http://127.0.0.1:{site.port}/") as page:
        await page.until("document.readyState === 'complete'")
        await page.until("!at('asks').hidden")
        assert await page.value("document.activeElement.id") == "token"
        await give(page, "wrong-token-of-this-test")
        await page.until("at('refusal').textContent.includes('does not know')")

        await give(page, TOKEN)

        await page.until("!at('all').hidden && !at('forget').hidden && at('app').textContent !== ''")
        assert await page.value("sessionStorage.getItem('streamscore-token')") == TOKEN
        # It scores nothing, and says so where the charts of the objectives would be.
        assert await page.value("document.querySelectorAll('.objective .empty:not([hidden])').length") == 9
        assert all("401" in one for one in page.complaints)  # the browser's own, of the two refusals
        worker.kill()
        worker.wait()
        await page.until("at('state').textContent.includes('does not answer')")
        assert await page.value("!at('all').hidden")


async def give(page: Page, token: str) -> None:
    await page.value("at('token').focus()")
    await page.do("Input.insertText", text=token)
    for kind in ("keyDown", "keyUp"):
        await page.do(
            "Input.dispatchKeyEvent", type=kind, key="Enter", code="Enter", text="\r", windowsVirtualKeyCode=13
        )
