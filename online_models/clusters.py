"""Clusters of visitors, learned one description at a time: River's StandardScaler before River's KMeans.

River's KMeans draws its first centres by chance and moves the nearest by a constant share. On real data that leaves
clusters that nobody is near to, and numbers that change hands (`python -m benchmarks.segments` prints it). So

- the first descriptions are kept until there are enough, and the centres are chosen among them without chance: each
  makes the sum of squared distances least, given those before it, and is then exchanged for a better one, given all
  others (BUILD and SWAP of Kaufman and Rousseeuw, Finding Groups in Data, 1990); rounds of Lloyd's algorithm follow;
- clusters are then numbered by size and keep their numbers: centres only move, none is drawn anew;
- a centre moves by 1/n at its n-th description, so that it is their mean, and from `MEMORY` on by 1/`MEMORY`;
- when the scale changes, centres stay where they are in the features' own units;
- a number further out than `FAR` deviations counts as that far out. One of a million without a transform would make the
  scale so wide that all others were in one place, and pull a centre away for good. At most one in a hundred numbers is
  so far out, whatever they are (Chebyshev's inequality); where more are, the scale grows with each, until that holds.

Dimensions are whole numbers, because River sums distances in the order of a set: with texts, that order is another
one in each process, and sums would differ in their last bit.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import dist, inf
from typing import Any

from msgspec import Struct

# Fewer make centres of single visitors; for more, segments would come late. A description comes once a visit.
FIRST_PER_CLUSTER = 30
# So many descriptions of a cluster its centre is the mean of; the share is one of so many for each cluster.
MEMORY = 1_000
# See above.
FAR = 10.0
# Nearer to the mean than that, in its own unit, no number is far out: logarithms are not larger, and do no harm.
_NEAR = 20.0
_ROUNDS = 10

Vector = dict[int, float]


class Saved(Struct, array_like=True):
    """All of the state, as plain numbers."""

    learned: int
    counts: list[int]
    means: list[float]
    variances: list[float]
    centres: list[list[float]]
    sizes: list[int]
    shares: list[float]
    first: list[list[float | None]]


class Clusters:
    """Cluster centres of descriptions of equal length.

    Parameters
    ----------
    dimensions
        Numbers in a description.
    count
        How many clusters.

    Attributes
    ----------
    learned
        Descriptions so far.
    means, variances, deviations
        Of each dimension, over everything that was learned.
    centres
        In standard deviations from the mean, by cluster; empty until enough has come.
    sizes
        Descriptions that each cluster was the nearest to.
    shares
        Of the clusters in the latest descriptions, `MEMORY` for each cluster.
    """

    def __init__(self, dimensions: int, count: int) -> None:
        self.dimensions = dimensions
        self.count = count
        self.learned = 0
        self.sizes: list[int] = []
        self.shares: list[float] = []
        self._scaler = _new_scaler()
        self._k_means: Any = None
        self._first: list[Vector] = []

    @property
    def means(self) -> list[float]:
        """Of each dimension."""
        return [self._scaler.means[one] for one in range(self.dimensions)]

    @property
    def variances(self) -> list[float]:
        """Of each dimension."""
        return [self._scaler.vars[one] for one in range(self.dimensions)]

    @property
    def deviations(self) -> list[float]:
        """Standard deviation of each dimension; 1 where all are the same, which then are nowhere far from the mean."""
        return [variance**0.5 or 1.0 for variance in self.variances]

    @property
    def centres(self) -> list[list[float]]:
        """By cluster."""
        if self._k_means is None:
            return []
        return [[centre[one] for one in range(self.dimensions)] for centre in self._k_means.centers.values()]

    def learn_one(self, x: Vector) -> int | None:
        """Learn a description, its missing numbers left out; return its cluster, None while there are none."""
        self.learned += 1
        k_means = self._k_means
        if k_means is None:
            self._scaler.learn_one(x)
            self._first.append(x)
            if len(self._first) >= FIRST_PER_CLUSTER * self.count:
                self._begin()
            return None
        before = self.means, self.deviations
        x = _bounded(x, *before)
        self._scaler.learn_one(x)
        self._rescale(*before)
        z = self._scaler.transform_one(x)
        nearest: int = k_means.predict_one(z)
        self.sizes[nearest] += 1
        k_means.halflife = 1.0 / min(self.sizes[nearest], MEMORY)
        k_means.learn_one(z)
        step = 1.0 / min(sum(self.sizes), MEMORY * self.count)
        self.shares = [share + step * ((one == nearest) - share) for one, share in enumerate(self.shares)]
        return nearest

    def _rescale(self, means: list[float], deviations: list[float]) -> None:
        """Let the centres be where they were by another scale."""
        shifts = [(a - b) / d for a, b, d in zip(means, self.means, self.deviations, strict=True)]
        ratios = [a / b for a, b in zip(deviations, self.deviations, strict=True)]
        for centre in self._k_means.centers.values():
            for one, (shift, ratio) in enumerate(zip(shifts, ratios, strict=True)):
                centre[one] = centre[one] * ratio + shift

    def _begin(self) -> None:
        """Choose the centres among the first descriptions; wait for others if too many of them are the same."""
        self._bound_first()
        places = [self._place(self._scaler.transform_one(x)) for x in self._first]
        if len(set(places)) < self.count:
            del self._first[: len(self._first) // 2]
            return
        clusters = _grouped(places, _spread(places, self.count))
        clusters.sort(key=lambda one: -one[1])
        self._first = []
        self.sizes = [size for _, size in clusters]
        self.shares = [size / len(places) for size in self.sizes]
        self._set_centres([centre for centre, _ in clusters])

    def _bound_first(self) -> None:
        """Bound the first descriptions by a scale without the numbers that may be far out; scale anew if any is."""
        scales = [_scale([x[one] for x in self._first if one in x]) for one in range(self.dimensions)]
        bounded = [_bounded(x, *zip(*scales, strict=True)) for x in self._first]
        if bounded == self._first:
            return
        self._first, self._scaler = bounded, _new_scaler()
        for x in bounded:
            self._scaler.learn_one(x)

    def _place(self, z: Vector) -> tuple[float, ...]:
        return tuple([z.get(one, 0.0) for one in range(self.dimensions)])  # missing: as everybody

    def _set_centres(self, centres: Sequence[Sequence[float]]) -> None:
        from river.cluster import KMeans

        k_means = self._k_means = KMeans(n_clusters=self.count, seed=0)
        for number, centre in enumerate(centres):  # in every dimension, so that nothing is drawn
            k_means.centers[number].update(enumerate(centre))

    def state(self) -> Saved:
        """Return all of the state."""
        counts = [self._scaler.counts[one] for one in range(self.dimensions)]
        first = [[x.get(one) for one in range(self.dimensions)] for x in self._first]
        return Saved(self.learned, counts, self.means, self.variances, self.centres, self.sizes, self.shares, first)

    def restore(self, saved: Saved) -> None:
        """Go on from a state, bit for bit."""
        self.learned = saved.learned
        self._scaler = _new_scaler()
        for one in range(self.dimensions):
            if saved.counts[one]:
                self._scaler.counts[one] = saved.counts[one]
                self._scaler.means[one] = saved.means[one]
                self._scaler.vars[one] = saved.variances[one]
        self.sizes, self.shares = list(saved.sizes), list(saved.shares)
        self._first = [{one: value for one, value in enumerate(x) if value is not None} for x in saved.first]
        self._k_means = None
        if saved.centres:
            self._set_centres(saved.centres)


def _bounded(x: Vector, means: Sequence[float], deviations: Sequence[float]) -> Vector:
    """Return a description without numbers that are far out."""
    found = {}
    for one, value in x.items():
        mean, reach = means[one], max(FAR * deviations[one], _NEAR)
        found[one] = min(max(value, mean - reach), mean + reach)
    return found


def _scale(values: Sequence[float]) -> tuple[float, float]:
    """Return mean and deviation of numbers, without the hundredth, and at least one, that is furthest out."""
    if len(values) < 2:
        return sum(values), inf
    middle = sorted(values)[len(values) // 2]
    near = sorted(values, key=lambda value: abs(value - middle))[: -(1 + len(values) // 100)]
    mean = sum(near) / len(near)
    return mean, (sum((value - mean) ** 2 for value in near) / len(near)) ** 0.5


def _spread(places: Sequence[Sequence[float]], count: int) -> list[Sequence[float]]:
    """Choose `count` of the places so that the sum of squared distances to the nearest is small."""
    squares = [[dist(one, other) ** 2 for other in places] for one in places]

    def best_beside(nearest: list[float]) -> tuple[float, int]:
        return min((sum(map(min, nearest, squares[one])), one) for one in range(len(places)))

    chosen: list[int] = []
    nearest, least = [inf] * len(places), inf
    for _ in range(count):
        least, one = best_beside(nearest)
        chosen.append(one)
        nearest = list(map(min, nearest, squares[one]))
    for place in range(count) if count > 1 else ():
        others = [squares[one] for number, one in enumerate(chosen) if number != place]
        total, one = best_beside([min(some) for some in zip(*others, strict=True)])
        if total < least:
            chosen[place], least = one, total
    return [places[one] for one in chosen]


def _grouped(
    places: Sequence[Sequence[float]], centres: Sequence[Sequence[float]]
) -> list[tuple[Sequence[float], int]]:
    """Move the centres to the means of what is nearest to them, some rounds; return them with their sizes."""
    members: list[list[Sequence[float]]] = []
    for _ in range(_ROUNDS):
        members = [[] for _ in centres]
        for place in places:
            members[nearest_of(place, centres)].append(place)
        centres = [
            [sum(column) / len(some) for column in zip(*some, strict=True)] if some else list(centre)
            for some, centre in zip(members, centres, strict=True)
        ]
    return [(centre, len(some)) for centre, some in zip(centres, members, strict=True)]


def nearest_of(place: Sequence[float], centres: Sequence[Sequence[float]]) -> int:
    """Return the index of the nearest centre; of several, the first."""
    return min(range(len(centres)), key=lambda one: dist(place, centres[one]))


def _new_scaler() -> Any:
    # Here, because what it needs of River takes a process more than a second to load, and few cluster.
    from river.preprocessing import StandardScaler

    return StandardScaler()
