"""The streams that trials are fed: a simulated shop, and what real streams bring besides. Seeded, without end."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from random import Random
from typing import Any

from msgspec import structs
from site_under_test import asking

from schemas.events import EventBase
from streams.simulate import Shop, disturbed

VISITORS = 120
_GAP_AFTER = 3_000
_GAP_MS = 30 * 60_000
_SHUFFLED = 8
_HOT_SHARE = 0.45


def shop(seed: int = 5) -> Iterator[EventBase]:
    """A shop on a quiet day, which asks now and then what to show."""
    return asking(Shop(seed=seed, visitors=VISITORS).events(), every=20)


def repeated(seed: int = 5) -> Iterator[Any]:
    """One event in ten comes twice."""
    return disturbed(shop(seed), seed=seed, duplicates=0.1)


def late(seed: int = 5) -> Iterator[Any]:
    """One event in five comes up to ten minutes late."""
    return disturbed(shop(seed), seed=seed, late=0.2, late_by_ms=600_000)


def shuffled(seed: int = 5) -> Iterator[EventBase]:
    """Neighbours come in any order."""
    chance = Random(seed)
    events = shop(seed)
    while some := list(itertools.islice(events, _SHUFFLED)):
        chance.shuffle(some)
        yield from some


def hot(seed: int = 5) -> Iterator[EventBase]:
    """One visitor has about a hundred times the traffic of each of the others."""
    chance = Random(seed)
    for event in shop(seed):
        yield structs.replace(event, user_id="hot") if chance.random() < _HOT_SHARE else event


def poisoned(seed: int = 5) -> Iterator[Any]:
    """One record in a hundred is none."""
    return disturbed(shop(seed), seed=seed, poison=0.01)


def gap(seed: int = 5) -> Iterator[EventBase]:
    """After some thousand events nobody comes for 30 minutes."""
    for number, event in enumerate(shop(seed)):
        yield event if number < _GAP_AFTER else structs.replace(event, ts=event.ts + _GAP_MS)
