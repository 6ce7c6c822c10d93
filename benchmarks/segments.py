"""Which of River's clusterings make segments that last; see docs/segments.md.

``python -m benchmarks.segments [--data PATH]`` learns, one description at a time, drawn visits (five times 4,000 of six
groups, four of them small) and, given the UCI's `online_shoppers` as a csv.gz, real ones (12,330 of an online shop). It
prints of each clustering: clusters with at least 1 % of the visits; the silhouette of the second half (1 is apart, 0 is
not); the share of the first half that is in the same cluster after the second was learned; how well drawn groups were
found (adjusted Rand index; chance is 0); microseconds to learn one.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import math
import random
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from river import cluster
from river.preprocessing import StandardScaler

from online_models.clusters import Clusters

COLUMNS = (
    *("Administrative", "Administrative_Duration", "Informational", "ProductRelated", "ProductRelated_Duration"),
    *("BounceRates", "ExitRates", "SpecialDay"),
)
COUNT = 6
Vector = dict[int, float]


class Scaled:
    """One of River's clusterings behind its scaler."""

    def __init__(self, model: Any) -> None:
        self.scaler, self.model = StandardScaler(), model

    def learn_one(self, x: Vector) -> None:
        self.scaler.learn_one(x)
        self.model.learn_one(self.scaler.transform_one(x))

    def predict_one(self, x: Vector) -> int:
        return int(self.model.predict_one(self.scaler.transform_one(x)))


class Ours(Clusters):
    """Ours, asked as River's are."""

    def predict_one(self, x: Vector) -> int:
        z = self._scaler.transform_one(x)
        centres = self.centres
        return min(range(len(centres)), key=lambda one: math.dist(self._place(z), centres[one])) if centres else -1


def clusterings(dimensions: int) -> dict[str, Callable[[], Any]]:
    return {
        "KMeans, as it comes": lambda: Scaled(cluster.KMeans(COUNT, seed=1)),
        "KMeans, halflife 0.01": lambda: Scaled(cluster.KMeans(COUNT, halflife=0.01, seed=1)),
        "STREAMKMeans": lambda: Scaled(cluster.STREAMKMeans(100, COUNT, halflife=0.1, sigma=1, seed=1)),
        "CluStream": lambda: Scaled(cluster.CluStream(COUNT, 50, seed=1, halflife=0.4)),
        "DBSTREAM": lambda: Scaled(cluster.DBSTREAM(1.5, cleanup_interval=100, intersection_factor=0.3)),
        "DenStream": lambda: Scaled(cluster.DenStream(decaying_factor=0.001, beta=0.2, mu=10, epsilon=1.0)),
        "KMeans from chosen centres (ours)": lambda: Ours(dimensions, COUNT),
    }


def visits(path: Path) -> list[Vector]:
    """Return real visits, described by logarithms."""
    return [{one: math.log1p(float(row[name])) for one, name in enumerate(COLUMNS)} for row in _rows(path)]


def bought(path: Path) -> list[bool]:
    """Tell which of the visits ended in a purchase."""
    return [row["Revenue"] in ("1", "True", "TRUE") for row in _rows(path)]


def _rows(path: Path) -> list[dict[str, str]]:
    """Return the file's rows in an order that is drawn once: its own is not time."""
    with gzip.open(path, "rt") as file:
        rows = list(csv.DictReader(file))
    random.Random(1).shuffle(rows)
    return rows


def drawn(count: int, seed: int) -> tuple[list[Vector], list[int]]:
    """Return descriptions of six groups and which group each is of."""
    rng = random.Random(seed)
    centres = [[rng.gauss(0.0, 2.0) for _ in range(6)] for _ in range(COUNT)]
    groups = rng.choices(range(COUNT), weights=[45, 25, 12, 8, 6, 4], k=count)
    return [{one: rng.gauss(at, 1.0) for one, at in enumerate(centres[group])} for group in groups], groups


def measured(new: Callable[[], Any], rows: Sequence[Vector], groups: Sequence[int] | None) -> list[float]:
    model, half = new(), len(rows) // 2
    started = time.perf_counter()
    for x in rows[:half]:
        model.learn_one(x)
    before = [model.predict_one(x) for x in rows[half // 2 : half]]
    for x in rows[half:]:
        model.learn_one(x)
    spent_us = (time.perf_counter() - started) / len(rows) * 1e6
    after = [model.predict_one(x) for x in rows[half // 2 : half]]
    said = [model.predict_one(x) for x in rows[half:]]
    large = sum(size >= 0.01 * len(said) for size in Counter(said).values())
    stayed = sum(map(int.__eq__, before, after)) / len(before)
    found = math.nan if groups is None else adjusted_rand(said, groups[half:])
    return [large, silhouette(rows[half : half + 2000], said[:2000]), stayed, found, spent_us]


def silhouette(rows: Sequence[Vector], labels: Sequence[int]) -> float:
    """Return the mean silhouette (Rousseeuw, 1987), dimensions scaled to a variance of 1."""
    x = np.array([list(row.values()) for row in rows])
    x = (x - x.mean(0)) / x.std(0)
    distances = np.sqrt(np.maximum(((x[:, None, :] - x[None, :, :]) ** 2).sum(-1), 0.0))
    of = np.array(labels)
    kinds = sorted(set(labels))
    if len(kinds) < 2:
        return 0.0
    sums = np.stack([distances[:, of == kind].sum(1) for kind in kinds])
    sizes = np.array([(of == kind).sum() for kind in kinds])
    own = np.searchsorted(kinds, of)
    columns = np.arange(len(of))
    within = sums[own, columns] / np.maximum(sizes[own] - 1, 1)
    means = sums / sizes[:, None]
    means[own, columns] = np.inf
    beside = means.min(0)
    return float(np.where(sizes[own] > 1, (beside - within) / np.maximum(beside, within), 0.0).mean())


def adjusted_rand(one: Sequence[int], other: Sequence[int]) -> float:
    """Return the adjusted Rand index (Hubert and Arabie, 1985)."""
    pairs = sum(math.comb(n, 2) for n in Counter(zip(one, other, strict=True)).values())
    ones = sum(math.comb(n, 2) for n in Counter(one).values())
    others = sum(math.comb(n, 2) for n in Counter(other).values())
    expected = ones * others / math.comb(len(one), 2)
    most = (ones + others) / 2
    return 1.0 if most == expected else (pairs - expected) / (most - expected)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, help="visits of an online shop, csv.gz; without it drawn visits only")
    path = parser.parse_args().data
    sets: dict[str, list[tuple[list[Vector], list[int] | None]]] = {"drawn": [drawn(4_000, seed) for seed in range(5)]}
    if path is not None:
        sets["real"] = [(visits(path), None)]
    print("| visits | clustering | clusters | silhouette | stayed | groups found | µs |\n|---|---|---|---|---|---|---|")
    for name, some in sets.items():
        for clustering, new in clusterings(len(some[0][0][0])).items():
            each = [measured(new, rows, groups) for rows, groups in some]
            large, apart, stayed, found, spent_us = (sum(column) / len(each) for column in zip(*each, strict=True))
            told = "" if math.isnan(found) else f"{found:.2f}"
            print(
                f"| {name} | {clustering} | {large:.1f} | {apart:.2f} | {stayed:.0%} | {told} | {spent_us:.0f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
