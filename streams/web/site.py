"""The demo's page: a small shop that asks for a ranking and reacts to clicks, with the simulated shop's items."""

from __future__ import annotations

from importlib.resources import files

import orjson
from aiohttp import web

import streams.web
from streams.simulate.catalogue import CATEGORIES

# Two of each category; the simulated shop numbers its items in the same way.
_ITEMS = 2 * len(CATEGORIES)


def items() -> list[dict[str, object]]:
    """Return what the page shows, as candidates of a rank request."""
    shelf = []
    for number in range(_ITEMS):
        category, price, _ = CATEGORIES[number % len(CATEGORIES)]
        shelf.append({"item_id": f"item-{number}", "category": category, "price": price})
    return shelf


def routes() -> list[web.RouteDef]:
    """Return the page and its items."""
    return [web.get("/site", _page), web.get("/site/items.json", _items)]


async def _page(_: web.Request) -> web.Response:
    page = (files(streams.web) / "pages" / "shop.html").read_bytes()
    headers = {"Content-Security-Policy": "default-src 'self' 'unsafe-inline'; img-src data:"}
    return web.Response(body=page, content_type="text/html", charset="utf-8", headers=headers)


async def _items(_: web.Request) -> web.Response:
    return web.Response(body=orjson.dumps(items()), content_type="application/json")
