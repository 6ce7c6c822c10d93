"""Whether look-alikes are found: members of a hidden group, given some of them; see docs/segments.md.

``python -m benchmarks.lookalikes [--data PATH] [--events N]`` hides groups in the simulated shop (who likes watches,
who comes most often, who is least thrifty: traits that no event tells) and, given the file of `benchmarks.segments`,
in real visits (who bought). From a seed of its members it ranks
everybody else, and prints the AUC of held-out members against all others: of the look-alike score, of the nearness to
the seed's mean, and of how much more the seed is in the visitor's segment than others. Median, lowest and highest of
ten draws of the seed.
"""

from __future__ import annotations

import argparse
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import islice
from math import dist
from pathlib import Path
from statistics import median
from typing import Any

from sklearn.metrics import roc_auc_score

from benchmarks.segments import COLUMNS, bought, visits
from online_models.clusters import Clusters, nearest_of
from online_models.crowd import CrowdCounts
from online_models.features import compile_features
from online_models.features.segments import Description
from online_models.lookalikes import SeedGroup
from online_models.segments import Population, population
from schemas.events import PageView
from streams.simulate import Shop
from streams.simulate.catalogue import CATEGORIES
from streams.simulate.visitors import Visitor

SEEDS = (20, 100)
DRAWS = 10
FEATURES: dict[str, Any] = {
    "visits_per_week": {"visits": "per_week", "transform": "log1p"},
    "clicks": {"decayed_count": "click", "half_life": "7d", "transform": "log1p"},
    "click_rate": {"rate": "click", "over": "impression", "prior": {"rate": 0.05, "strength": 20}},
    "dwelled": {"dwell": "mean", "transform": "log1p"},
    "spent": {"sum": "value", "of": "purchase", "transform": "log1p"},
    "basket_value": {"basket": "value", "transform": "log1p"},
    **{f"likes_{name}": {"affinity": "category", "to": name, "top": 12} for name, *_ in CATEGORIES},
}


@dataclass
class Audience:
    """Visitors, what everybody is like, and the centres of their segments."""

    of: tuple[str, ...]
    descriptions: list[Description]
    everybody: Population
    centres: list[list[float]]

    def placed(self, one: int) -> list[float]:
        return [
            0.0 if x is None else (x - mean) / deviation
            for x, mean, deviation in zip(self.descriptions[one], *self.everybody, strict=True)
        ]


def simulated(count: int) -> tuple[Audience, list[Visitor]]:
    """Return visitors of the shop after some events, and the people behind them."""
    features = compile_features(FEATURES, {"of": list(FEATURES), "count": 6})
    crowd, slots, last = CrowdCounts(features.crowd_tables), {}, {}
    shop = Shop(seed=11, visitors=2_000)
    for event in islice(shop.events(), count):
        state = slots.setdefault(event.user_id, features.new_slots())
        features.fold(state, event)
        last[event.user_id] = event.ts
        crowd.learn_one(features.told(state, event, crowd.weights), True)
    segments = features.segments
    assert segments is not None
    everybody = population(segments, crowd.weights)
    assert everybody is not None
    found = [
        segments.describe(state, PageView(event_id="", user_id=user_id, ts=last[user_id]))
        for user_id, state in slots.items()
    ]
    centres = [[crowd.weights[name] for name in some] for some in segments.names.centres]
    people = [Visitor(shop.seed, int(user_id.partition("-")[2])) for user_id in slots]
    return Audience(segments.of, found, everybody, centres), people


def real(path: Path) -> Audience:
    """Return visits to a shop, as visitors."""
    clusters, rows = Clusters(len(COLUMNS), 6), visits(path)
    for x in rows:
        clusters.learn_one(x)
    everybody = Population(clusters.means, clusters.deviations)
    return Audience(COLUMNS, [list(x.values()) for x in rows], everybody, clusters.centres)


Rule = Callable[[Audience, Sequence[int], Sequence[int]], list[float]]


def look_alike(audience: Audience, seed: Sequence[int], others: Sequence[int]) -> list[float]:
    group = SeedGroup(audience.of, audience.everybody, [audience.descriptions[one] for one in seed])
    return [group.likeness(audience.descriptions[one]).score for one in others]


def nearness(audience: Audience, seed: Sequence[int], others: Sequence[int]) -> list[float]:
    centre = [sum(column) / len(seed) for column in zip(*(audience.placed(one) for one in seed), strict=True)]
    return [-dist(audience.placed(one), centre) for one in others]


def same_segment(audience: Audience, seed: Sequence[int], others: Sequence[int]) -> list[float]:
    segments = [nearest_of(audience.placed(one), audience.centres) for one in range(len(audience.descriptions))]
    everybody = [segments.count(number) + 1 for number in range(len(audience.centres))]
    of_seed = [segments[one] for one in seed]
    lift = [of_seed.count(number) / size for number, size in enumerate(everybody)]
    return [lift[segments[one]] for one in others]


RULES: dict[str, Rule] = {"look-alike": look_alike, "nearness": nearness, "same segment": same_segment}


def aucs(audience: Audience, members: Sequence[bool], size: int) -> dict[str, list[float]]:
    found: dict[str, list[float]] = {name: [] for name in RULES}
    inside = [one for one, member in enumerate(members) if member]
    for draw in range(DRAWS):
        seed = set(random.Random(draw).sample(inside, size))
        others = [one for one in range(len(members)) if one not in seed]
        truth = [members[one] for one in others]
        for name, rule in RULES.items():
            found[name].append(roc_auc_score(truth, rule(audience, sorted(seed), others)))
    return found


def top(values: Sequence[float], share: float) -> list[bool]:
    bound = sorted(values)[int(len(values) * (1 - share))]
    return [value >= bound for value in values]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, help="visits of an online shop, csv.gz; else the simulated shop only")
    parser.add_argument("--events", type=int, default=150_000)
    options = parser.parse_args()
    audience, people = simulated(options.events)
    watches = [name for name, *_ in CATEGORIES].index("watches")
    groups: dict[str, tuple[Audience, list[bool]]] = {
        "likes watches": (audience, [one.taste[watches] > 0.0 for one in people]),
        "comes most often": (audience, top([one.visits_per_day for one in people], 0.15)),
        "least thrifty": (audience, top([-one.thrift for one in people], 0.15)),
    }
    if options.data is not None:
        groups["bought (real)"] = real(options.data), bought(options.data)
    print(f"| group | members | seed | {' | '.join(RULES)} |\n|---|---|---|{'---|' * len(RULES)}")
    for name, (some, members) in groups.items():
        for size in SEEDS:
            found = aucs(some, members, size)
            told = [f"{median(each):.2f} ({min(each):.2f} to {max(each):.2f})" for each in found.values()]
            print(f"| {name} | {sum(members)} of {len(members)} | {size} | {' | '.join(told)} |", flush=True)


if __name__ == "__main__":
    main()
