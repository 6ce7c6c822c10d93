"""Segments in the crowd: how they are learned among its counters, and what they are called.

Descriptions of visitors come with what events tell of items, and what was learned leaves as numbers among the counters.
So segments have the version of the crowd counts, and need no rules of their own for crashes and replays.

A segment is named by what sets it apart: the numbers in which its centre is furthest from everybody, in standard
deviations.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from online_models.clusters import Clusters
from online_models.features.plan import Clustering
from online_models.features.segments import TINY, Segments, names_of
from schemas.api import SegmentState

# Below that a difference is not worth a word; from _VERY on it gets two.
_APART = 0.4
_VERY = 1.5
_MOST_WORDS = 3
UNNAMED = "like everybody"


class SegmentTable:
    """The clusters of one declaration, and under which names they are told and published."""

    def __init__(self, prefix: str, clustering: Clustering) -> None:
        self.clusters = Clusters(len(clustering.of), clustering.count)
        self._places = {prefix + name: place for place, name in enumerate(clustering.of)}
        self._names = names_of(prefix, clustering)

    def learned(self, x: Mapping[str, float]) -> tuple[Mapping[str, float], dict[str, float]]:
        """Learn a visitor's description; return what else was told, and the numbers that changed."""
        places = self._places
        description = {places[name]: value for name, value in x.items() if name in places}
        if not description:
            return x, {}
        self.clusters.learn_one(description)
        return {name: value for name, value in x.items() if name not in places}, self._numbers()

    def _numbers(self) -> dict[str, float]:
        clusters, names = self.clusters, self._names
        found: dict[str, float] = {names.count: clusters.learned}
        found.update(zip(names.means, clusters.means, strict=True))
        found.update(zip(names.deviations, clusters.deviations, strict=True))
        # The rest is not there before the centres are.
        found.update(zip(names.shares, clusters.shares, strict=False))
        found.update(zip(names.sizes, clusters.sizes, strict=False))
        for of_one, centre in zip(names.centres, clusters.centres, strict=False):
            found.update(zip(of_one, centre, strict=True))
        return {name: float(value) or TINY for name, value in found.items()}


class Population(NamedTuple):
    """Mean and standard deviation of each number of a description, as a model sees it."""

    means: list[float]
    deviations: list[float]


def population(segments: Segments, crowd: Mapping[str, float]) -> Population | None:
    """Return what everybody is like; None: nothing is known yet."""
    names = segments.names
    if names.means[0] not in crowd:
        return None
    return Population([crowd[name] for name in names.means], [crowd[name] for name in names.deviations])


def described(segments: Segments | None, crowd: Mapping[str, float]) -> list[SegmentState]:
    """Return the segments, in the order of their numbers; none while too few visits have come.

    Parameters
    ----------
    crowd
        Weights of the crowd counts' replica, see `online_models.crowd.crowd_of`.
    """
    if segments is None or segments.names.sizes[0] not in crowd:
        return []
    everybody = population(segments, crowd)
    assert everybody is not None
    names, found = segments.names, []
    for number in range(segments.count):
        apart = [crowd[name] for name in names.centres[number]]
        values = [mean + z * sd for mean, sd, z in zip(*everybody, apart, strict=True)]
        found.append(
            SegmentState(
                id=str(number + 1),
                name=name_of(segments.of, apart),
                share=crowd[names.shares[number]],
                size=int(crowd[names.sizes[number]]),
                centroid=dict(zip(segments.of, segments.in_own_units(values), strict=True)),
                apart=dict(zip(segments.of, apart, strict=True)),
            )
        )
    return found


def name_of(features: Sequence[str], apart: Sequence[float]) -> str:
    """Name a segment by what sets it apart.

    Parameters
    ----------
    apart
        Its distance from everybody in each feature, in standard deviations.

    Examples
    --------
    >>> name_of(["visits", "basket", "clicks"], [-0.7, 2.1, 0.3])
    'basket very high, visits low'
    """
    # Rounded, so that two that are as far apart do not change places with every visit.
    far = sorted(range(len(apart)), key=lambda one: -round(abs(apart[one]), 1))[:_MOST_WORDS]
    words = [f"{features[one]} {_how(apart[one])}" for one in far if abs(apart[one]) >= _APART]
    return ", ".join(words) or UNNAMED


def _how(apart: float) -> str:
    return f"{'very ' if abs(apart) >= _VERY else ''}{'high' if apart > 0 else 'low'}"
