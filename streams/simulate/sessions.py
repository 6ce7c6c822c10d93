"""One visit to the simulated shop, event by event.

The law of the shop, which a model may find out::

    log odds of a click = BASE + eagerness + mood + taste[category] + quality(item) + appeal(item, hour)
                          - thrift * ln(price / median) - 0.5 * ln(position) + 0.5 on search results

Every impression is decided for itself, and what is to be clicked is clicked within the visit, a few
seconds later; so the probability is exact and the best possible AUC of `click` is known.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from schemas.events import (
    AddToCart,
    Click,
    EventBase,
    Impression,
    PageView,
    Purchase,
    RemoveFromCart,
    Scroll,
    Search,
)
from streams.simulate.catalogue import CATEGORIES, Catalogue, Item, Shelf
from streams.simulate.visitors import Visitor

Step = tuple[int, EventBase, float | None]

BASE = -3.95  # chosen for 4 to 5 clicks on 100 impressions
_SLOTS, _FIRST_SCREEN, _RELATED = 12, 4, 4
_MOST_DEEP = 3  # item pages opened from item pages end here, by showing no related items
_CHECKOUT = "/checkout"
_PROPERTIES: dict[str, dict[str, Any]] = {
    page: {"source": "simulated", "page": page} for page in ("home", "category", "search", "item", "checkout")
}
# Where a visit comes from: share, referrer, campaign, its effect on the mood.
_ENTRIES: tuple[tuple[float, str | None, str | None, float], ...] = (
    (0.34, None, None, 0.0),
    (0.26, "https://www.google.com/", None, 0.1),
    (0.08, "https://www.bing.com/", None, 0.0),
    (0.10, "https://www.instagram.com/", "spring-social", -0.3),
    (0.08, "https://www.facebook.com/", "retargeting", 0.2),
    (0.08, "https://mail.google.com/", "newsletter", 0.3),
    (0.06, "https://news.ycombinator.com/", None, -0.4),
)


class Visit:
    """One visit; iterate `steps` once: (event time, event, probability of a click for impressions)."""

    def __init__(self, visitor: Visitor, start_ms: int, catalogue: Catalogue) -> None:
        self._visitor = visitor
        self._catalogue = catalogue
        self._rng = rng = visitor.rng
        self._number = 0
        self._cart: dict[str, Item] = {}
        self.ts = start_ms
        visitor.visits += 1
        self._session_id = f"{visitor.user_id}-s{visitor.visits}"
        _, referrer, campaign, mood = _ENTRIES[_pick(rng.random())]
        phone = rng.random() >= 0.1
        self._mood = mood + rng.gauss(0, 0.2) + visitor.eagerness
        self._common: dict[str, Any] = {
            "user_id": visitor.user_id,
            "session_id": self._session_id,
            "user_agent": visitor.user_agent if phone else visitor.second_agent,
            "country": visitor.country,
            "region": visitor.region,
            "tz_offset_min": visitor.tz_offset_min,
            "referrer": referrer,
            "campaign": campaign,
        }

    def steps(self) -> Iterator[Step]:
        """Yield the events of the visit in their order."""
        rng = self._rng
        landing = rng.random()
        if landing < 0.50:
            yield from self._listing("home", self._catalogue.home, "/", None)
        elif landing < 0.80:
            yield from self._category_page()
        else:
            shelf = self._shelf_of_interest()
            yield from self._item_page(shelf.items[shelf.draw(rng, 1)[0][0]], 0)
        while rng.random() < 0.66:
            self._think(4_000, 30_000)
            choice = rng.random()
            if choice < 0.60:
                yield from self._category_page()
            elif choice < 0.80:
                yield from self._search_page()
            else:
                yield from self._listing("home", self._catalogue.home, "/", None)
        if self._cart and rng.random() < 0.2:
            yield from self._checkout()

    def _event(self, cls: type[EventBase], page: str, **fields: Any) -> Step:
        self._number += 1
        event = cls(
            event_id=f"{self._session_id}-{self._number}",
            ts=self.ts,
            properties=_PROPERTIES[page],
            **self._common,
            **fields,
        )
        return self.ts, event, None

    def _think(self, least_ms: int, most_ms: int) -> int:
        """Let time pass, rather little than much; return how much."""
        passed = int(least_ms + (most_ms - least_ms) * self._rng.random() ** 2)
        self.ts += passed
        return passed

    def _shelf_of_interest(self) -> Shelf:
        return self._catalogue.shelves[self._category_of_interest()]

    def _category_of_interest(self) -> int:
        return self._rng.choices(range(len(CATEGORIES)), self._visitor.interest)[0]

    def _category_page(self) -> Iterator[Step]:
        number = self._category_of_interest()
        name = CATEGORIES[number][0]
        yield from self._listing("category", self._catalogue.shelves[number], f"/c/{name}", name)

    def _search_page(self) -> Iterator[Step]:
        number = self._category_of_interest()
        name = CATEGORIES[number][0]
        yield self._event(Search, "search", query=name)
        yield from self._listing("search", self._catalogue.shelves[number], f"/search?q={name}", name)

    def _listing(self, page: str, shelf: Shelf, url: str, category: str | None) -> Iterator[Step]:
        """Show a page of items as far down as the visitor scrolls, then open what is clicked."""
        rng = self._rng
        yield self._event(PageView, page, url=url, category=category)
        seen = _FIRST_SCREEN
        while seen < _SLOTS and rng.random() < 0.8:
            seen += 2
        choice = shelf.draw(rng, seen)
        wanted: list[tuple[int, Item]] = []
        self.ts += 150
        yield from self._impressions(page, shelf, choice[:_FIRST_SCREEN], 1, wanted)
        if seen > _FIRST_SCREEN:
            passed = self._think(2_000, 15_000)
            yield self._event(Scroll, page, url=url, depth=round(seen / _SLOTS, 3), dwell_ms=passed)
            yield from self._impressions(page, shelf, choice[_FIRST_SCREEN:], _FIRST_SCREEN + 1, wanted)
        yield from self._open(page, wanted, 0)

    def _impressions(
        self, page: str, shelf: Shelf, choice: list[tuple[int, float]], position: int, wanted: list[tuple[int, Item]]
    ) -> Iterator[Step]:
        rng, visitor = self._rng, self._visitor
        bonus = BASE + self._mood + (0.5 if page == "search" else 0.0)
        common, properties, ts = self._common, _PROPERTIES[page], self.ts
        for index, propensity in choice:
            item = shelf.items[index]
            name, median, _ = CATEGORIES[item.category]
            odds = (
                bonus
                + visitor.taste[item.category]
                + item.quality
                + shelf.appeal[index]
                - visitor.thrift * math.log(item.price / median)
                - 0.5 * math.log(position)
            )
            probability = 1 / (1 + math.exp(-odds))
            if rng.random() < probability:
                wanted.append((position, item))
            self._number += 1
            event = Impression(
                event_id=f"{self._session_id}-{self._number}",
                ts=ts,
                item_id=item.item_id,
                category=name,
                price=item.price,
                position=position,
                propensity=round(propensity, 6),
                properties=properties,
                **common,
            )
            yield ts, event, probability
            position += 1

    def _open(self, page: str, wanted: list[tuple[int, Item]], deep: int) -> Iterator[Step]:
        for position, item in wanted:
            self._think(800, 12_000)
            yield self._event(Click, page, position=position, **_described(item))
            self.ts += 200
            yield from self._item_page(item, deep)

    def _item_page(self, item: Item, deep: int) -> Iterator[Step]:
        rng, url = self._rng, f"/i/{item.item_id}"
        yield self._event(PageView, "item", url=url, **_described(item))
        wanted: list[tuple[int, Item]] = []
        if deep < _MOST_DEEP:
            self.ts += 150
            shelf = self._catalogue.shelves[item.category]
            yield from self._impressions("item", shelf, shelf.draw(rng, _RELATED), 1, wanted)
        if rng.random() < 0.7:
            passed = self._think(3_000, 40_000)
            depth = round(0.2 + 0.8 * rng.random(), 3)
            yield self._event(Scroll, "item", url=url, depth=depth, dwell_ms=passed, **_described(item))
        liking = self._visitor.taste[item.category] + item.quality - self._visitor.thrift
        if rng.random() < 1 / (1 + math.exp(2.9 - 0.7 * liking)):
            self._think(1_000, 8_000)
            self._cart[item.item_id] = item
            yield self._event(AddToCart, "item", quantity=1, **_described(item))
            if rng.random() < 0.12:
                self._think(2_000, 20_000)
                del self._cart[item.item_id]
                yield self._event(RemoveFromCart, "item", quantity=1, **_described(item))
        yield from self._open("item", wanted, deep + 1)

    def _checkout(self) -> Iterator[Step]:
        self._think(3_000, 20_000)
        yield self._event(PageView, "checkout", url=_CHECKOUT)
        self._think(20_000, 120_000)
        items = list(self._cart.values())
        only = _described(items[0]) if len(items) == 1 else {}
        value = round(sum(item.price for item in items), 2)
        yield self._event(
            Purchase, "checkout", order_id=f"{self._session_id}-order", value=value, quantity=len(items), **only
        )


def _described(item: Item) -> dict[str, Any]:
    return {"item_id": item.item_id, "category": CATEGORIES[item.category][0], "price": item.price}


def _pick(chance: float) -> int:
    for index, entry in enumerate(_ENTRIES):
        chance -= entry[0]
        if chance < 0:
            return index
    return len(_ENTRIES) - 1
