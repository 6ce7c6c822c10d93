"""What all systems get to do: the same events, twelve features, one score for each event."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator

import orjson

PARTITIONS = int(os.environ.get("BENCH_PARTITIONS", "4"))
START_MS = 1_767_225_600_000
# 500 records of one chunk then come from some 480 different visitors.
VISITORS = 20_000
SHARES = (("page_view", 0.5), ("impression", 0.3), ("scroll", 0.1), ("click", 0.07), ("add_to_cart", 0.03))
CATEGORIES = [f"category-{number:02}" for number in range(20)]
DEVICES = ("mobile", "desktop", "tablet")
# Between two events, so that nearly all of a run has windows that close, examples and a model that has learned.
STEP_MS = 1


def events(count: int, *, visitors: int = VISITORS) -> Iterator[tuple[int, bytes, bytes]]:
    """Yield (partition, key, value), `count` events of some 231 bytes in the order of their times."""
    rng = random.Random(7)
    types, weights = zip(*SHARES, strict=True)
    kinds = rng.choices(types, weights, k=count)
    for number in range(count):
        visitor = rng.randrange(visitors)
        item = rng.randrange(500)
        event = {
            "type": kinds[number],
            "event_id": f"e{number:010}",
            "user_id": f"user-{visitor:07}",
            "ts": START_MS + number * STEP_MS,
            "session_id": f"s{visitor:07}",
            "item_id": f"item-{item:04}",
            "category": CATEGORIES[item % len(CATEGORIES)],
            "price": 5 + item % 90,
            "position": rng.randrange(10),
            "device": DEVICES[visitor % 3],
            "country": "DE",
            "url": f"/p/{item:04}",
        }
        if kinds[number] == "scroll":
            event["depth"] = round(rng.random(), 2)
        yield visitor % PARTITIONS, event["user_id"].encode(), orjson.dumps(event)


def by_partition(count: int, *, visitors: int = VISITORS) -> dict[int, list[tuple[bytes, bytes]]]:
    """Return the same events as (key, value) by partition."""
    found: dict[int, list[tuple[bytes, bytes]]] = {number: [] for number in range(PARTITIONS)}
    for number, key, value in events(count, visitors=visitors):
        found[number].append((key, value))
    return found


SCORING_YAML = """\
features:
  views:        {count: page_view, window: 30m, transform: log1p}
  clicks:       {count: click, window: 7d, transform: log1p}
  since_click:  {time_since: click, default: 30d, transform: log1p}
  visit_events: {session: events, transform: log1p}
  visit_time:   {session: duration, transform: log1p}
  scrolled:     {scroll: max}
  basket:       {basket: items}
  price:        {field: price, transform: log1p}
  position:     {field: position}
  category:     {field: category}
  device:       {field: device}
  hour:         {hour: categorical}

objectives:
  click:
    trigger: [page_view, impression, scroll, click, add_to_cart]
    outcome: click
    match: user
    window: 10s
    grace: 0
    prior: 0.1
    model: {name: ftrl, alpha: 0.1, l2: 1.0}
"""
