"""Benches of which an objective has a condition on what all visitors do."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from builders import a_click
from core_bench import CLICK, Bench, a_replica

from online_models.crowd import CROWD
from online_models.features import compile_features

FEATURES = {"item": {"field": "item_id"}, "seen": {"count": "impression"}, "hot": {"popularity": "item_id"}}
HOT = {"hot": {"min": -1.0}}


class Clicked:
    """Counts of the crowd, who have clicked on one item."""

    version = 3

    def __init__(self, item: str) -> None:
        features = compile_features(FEATURES)
        click, slots = a_click(item), features.new_slots()
        features.fold(slots, click)
        self.weights: Mapping[str, float] = features.told(slots, click, {})


def crowded_bench(item: str, when: Any = HOT, *others: str, **limits: Any) -> Bench:
    """Return a bench for impressions, where everybody turns to an item; `others` are objectives without a condition."""
    declared = {"click": {**CLICK, "when": when} if when else CLICK, **dict.fromkeys(others, CLICK)}
    replicas: dict[str, Any] = {name: a_replica(name) for name in declared} | {CROWD: Clicked(item)}
    return Bench(declared, features=FEATURES, replicas=replicas, **limits)
