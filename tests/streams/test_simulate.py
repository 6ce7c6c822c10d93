"""The simulated shop: the same for the same seed, like a shop, and with a law that can be learned."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from itertools import accumulate, islice, pairwise
from random import Random

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.codec import BadRecord, decode_event
from schemas.events import EventBase, Impression, Purchase
from streams.simulate import Shop, disturbed
from streams.simulate.catalogue import CATEGORIES, Catalogue, Shelf
from streams.simulate.trouble import POISON
from streams.sources import RawRecord

HOUR_MS, DAY_MS = 3_600_000, 86_400_000
START_MS = Shop().start_ms
NOW_MS = START_MS + 1_000 * DAY_MS

Labelled = list[tuple[EventBase, float | None]]


@pytest.fixture(scope="module")
def two_days() -> Labelled:
    return list(Shop(seed=3, visitors=2_000).labelled(until_ms=START_MS + 2 * DAY_MS))


def clicks_and_chances(labelled: Labelled) -> tuple[np.ndarray, np.ndarray]:
    """Return (clicked, true probability) of each impression."""
    clicked: list[int] = []
    chance: list[float] = []
    last: dict[tuple[str | None, str | None, int | None], int] = {}
    for event, probability in labelled:
        key = (event.session_id, event.item_id, event.position)
        if probability is not None:
            last[key] = len(clicked)
            clicked.append(0)
            chance.append(probability)
        elif event.type == "click":
            clicked[last[key]] = 1
    return np.array(clicked), np.array(chance)


def auc(labels: np.ndarray, scores: np.ndarray) -> float:
    order = np.argsort(scores)
    ranks = np.empty(len(scores))
    ranks[order] = np.arange(1, len(scores) + 1)
    positives = int(labels.sum())
    return float((ranks[labels == 1].sum() - positives * (positives + 1) / 2) / (positives * (len(labels) - positives)))


def test_the_same_seed_gives_the_same_bytes_and_another_seed_others() -> None:
    def encoded(seed: int) -> list[bytes]:
        return [msgspec.json.encode(event) for event in islice(Shop(seed=seed, visitors=200).events(), 5_000)]

    assert encoded(1) == encoded(1)
    assert encoded(1) != encoded(2)


def test_events_come_in_time_order_with_unique_ids_and_say_that_they_are_simulated(two_days: Labelled) -> None:
    events = [event for event, _ in two_days]

    assert all(before.ts <= after.ts for before, after in pairwise(events))  # type: ignore[operator]
    assert len({event.event_id for event in events}) == len(events)
    assert all(event.properties is not None and event.properties["source"] == "simulated" for event in events)
    assert events[-1].ts < START_MS + 2 * DAY_MS  # type: ignore[operator]


def test_every_event_decodes_as_it_was_encoded(two_days: Labelled) -> None:
    for event, _ in two_days[::23]:
        assert decode_event(msgspec.json.encode(event), record_ts_ms=NOW_MS) == event


def test_the_mix_is_that_of_a_shop(two_days: Labelled) -> None:
    counts = Counter(event.type for event, _ in two_days)
    sessions = len({event.session_id for event, _ in two_days})
    users = len({event.user_id for event, _ in two_days})

    assert set(counts) == {
        *("page_view", "impression", "scroll", "search"),
        *("click", "add_to_cart", "remove_from_cart", "purchase"),
    }
    assert counts["impression"] > 0.6 * len(two_days)
    assert 0.03 < counts["click"] / counts["impression"] < 0.06
    assert 0.015 < counts["purchase"] / sessions < 0.04
    assert counts["purchase"] < counts["add_to_cart"] < counts["click"]
    assert sessions > 1.3 * users, "visitors come back"


def test_visits_of_one_visitor_follow_each_other(two_days: Labelled) -> None:
    current: dict[str, str | None] = {}
    ended: set[str | None] = set()
    for event, _ in two_days:
        before = current.get(event.user_id)
        if before != event.session_id:
            ended.add(before)
            current[event.user_id] = event.session_id
        assert event.session_id not in ended


def test_a_click_follows_an_impression_of_its_item_within_the_visit(two_days: Labelled) -> None:
    shown: set[tuple[str | None, str | None]] = set()
    for event, _ in two_days:
        if isinstance(event, Impression):
            shown.add((event.session_id, event.item_id))
        elif event.type == "click":
            assert (event.session_id, event.item_id) in shown


def test_the_true_probability_is_calibrated_and_bounds_what_a_model_can_reach(two_days: Labelled) -> None:
    clicked, chance = clicks_and_chances(two_days)

    # 5 standard errors of a sum of Bernoulli draws
    assert abs(clicked.sum() - chance.sum()) < 5 * math.sqrt((chance * (1 - chance)).sum())
    for low, high in ((0.0, 0.02), (0.02, 0.1), (0.1, 1.0)):
        part = (chance >= low) & (chance < high)
        spread = math.sqrt((chance[part] * (1 - chance[part])).sum())
        assert abs(clicked[part].sum() - chance[part].sum()) < 5 * spread
    assert 0.78 < auc(clicked, chance) < 0.88


def test_tastes_differ_between_visitors_and_stay(two_days: Labelled) -> None:
    clicks: defaultdict[str, Counter[str | None]] = defaultdict(Counter)
    everybody: Counter[str | None] = Counter()
    for event, _ in two_days:
        if event.type == "click":
            clicks[event.user_id][event.category] += 1
            everybody[event.category] += 1
    favourites = [counts.most_common(1)[0] for counts in clicks.values() if counts.total() >= 10]
    totals = [counts.total() for counts in clicks.values() if counts.total() >= 10]

    assert len(favourites) > 50
    # One of twelve categories takes half of a visitor's clicks, but none takes much of everybody's.
    assert sum(count for _, count in favourites) / sum(totals) > 0.45
    assert len({category for category, _ in favourites}) == len(CATEGORIES)
    assert max(everybody.values()) / everybody.total() < 0.2


def test_what_is_popular_shifts_over_the_day() -> None:
    catalogue = Catalogue(240, Random(1))

    def share(category: int, hour: int) -> float:
        catalogue._fresh_until_ms = -1
        catalogue.refresh(hour * HOUR_MS)
        weights = catalogue.home._weights
        return sum(w for w, item in zip(weights, catalogue.items, strict=True) if item.category == category)

    for number, (_, _, peak) in enumerate(CATEGORIES):
        assert share(number, peak) > 1.5 * share(number, (peak + 12) % 24)


def test_visits_follow_the_hour_of_the_visitors_day(two_days: Labelled) -> None:
    by_local_hour = Counter(
        (event.ts + (event.tz_offset_min or 0) * 60_000) % DAY_MS // HOUR_MS  # type: ignore[operator]
        for event, _ in two_days
    )

    assert sum(by_local_hour[h] for h in (19, 20, 21)) > 4 * sum(by_local_hour[h] for h in (2, 3, 4))


def test_the_first_position_is_clicked_most(two_days: Labelled) -> None:
    shown: Counter[int] = Counter()
    clicked: Counter[int] = Counter()
    for event, _ in two_days:
        if event.position is not None:
            (clicked if event.type == "click" else shown)[event.position] += 1

    assert clicked[1] / shown[1] > 1.5 * clicked[10] / shown[10]


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**32), st.integers(2, 12))
def test_a_page_repeats_no_item_and_its_propensities_are_exact(seed: int, slots: int) -> None:
    catalogue = Catalogue(24, Random(seed))
    catalogue.refresh(seed % DAY_MS)
    shelf = catalogue.home

    drawn = shelf.draw(Random(seed), slots)

    left = 1.0
    for index, propensity in drawn:
        assert propensity == pytest.approx(shelf._weights[index] / left)
        left -= shelf._weights[index]
    assert len({index for index, _ in drawn}) == slots


def test_propensities_are_the_shares_with_which_items_are_shown() -> None:
    catalogue = Catalogue(24, Random(5))
    catalogue.refresh(0)
    shelf: Shelf = catalogue.home
    rng, n = Random(1), 20_000

    first = Counter(shelf.draw(rng, 3)[0][0] for _ in range(n))

    for index, weight in enumerate(shelf._weights):
        assert abs(first[index] / n - weight) < 5 * math.sqrt(weight * (1 - weight) / n)


@pytest.mark.parametrize("rate", [None, 5.0])
def test_the_rate_in_event_time_is_the_one_asked_for(rate: float | None) -> None:
    shop = Shop(seed=5, visitors=1_000)

    events = sum(1 for _ in shop.events(rate, until_ms=START_MS + DAY_MS))

    assert events / (DAY_MS / 1000) == pytest.approx(rate or shop.natural_rate_per_s(), rel=0.12)


def test_a_purchase_is_worth_what_was_in_the_cart(two_days: Labelled) -> None:
    carts: defaultdict[str | None, dict[str | None, float]] = defaultdict(dict)
    orders = 0
    for event, _ in two_days:
        if event.type == "add_to_cart":
            carts[event.session_id][event.item_id] = event.price or 0.0
        elif event.type == "remove_from_cart":
            del carts[event.session_id][event.item_id]
        elif isinstance(event, Purchase):
            orders += 1
            assert event.value == pytest.approx(sum(carts[event.session_id].values()), abs=0.01)
            assert event.quantity == len(carts[event.session_id])
    assert orders > 50


def test_troubles_come_in_their_shares_and_lose_nothing() -> None:
    events = list(islice(Shop(seed=1, visitors=300).events(), 20_000))

    out = list(disturbed(events, seed=4, duplicates=0.02, late=0.03, poison=0.01))

    good = [item for item in out if not isinstance(item, RawRecord)]
    counts = Counter(event.event_id for event in good)
    assert set(counts) == {event.event_id for event in events}
    assert sum(counts.values()) - len(counts) == pytest.approx(400, rel=0.3)
    assert len(out) - len(good) == pytest.approx(200, rel=0.3)
    latest = accumulate((event.ts for event in good), max)
    late = sum(1 for event, so_far in zip(good, latest, strict=True) if event.ts < so_far)  # type: ignore[operator]
    assert late == pytest.approx(600, rel=0.3)
    assert out == list(disturbed(events, seed=4, duplicates=0.02, late=0.03, poison=0.01))
    assert list(disturbed(events)) == events


@pytest.mark.parametrize("number", range(len(POISON)))
def test_all_poison_is_refused_by_the_codec(number: int) -> None:
    with pytest.raises(BadRecord):
        decode_event(POISON[number], record_ts_ms=NOW_MS)


def test_wrong_sizes_and_shares_are_refused() -> None:
    with pytest.raises(ValueError, match="at least 1 visitor and 12 items"):
        Shop(items=5)
    with pytest.raises(ValueError, match="`late` in"):
        disturbed([], late=1.0)
