"""Clusters: found, kept under their numbers, and the same after a restart."""

from __future__ import annotations

import random
import subprocess
import sys
from math import dist
from statistics import pstdev

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from online_models.clusters import FIRST_PER_CLUSTER, Clusters, Saved, Vector

GROUPS = [(0.0, 0.0, 9.0), (8.0, 0.0, 0.0), (0.0, 8.0, 0.0)]
SHARES = [0.6, 0.3, 0.1]


def descriptions(count: int, seed: int = 1) -> list[tuple[int, Vector]]:
    """Draw from three groups; which one, and the description."""
    rng = random.Random(seed)
    groups = rng.choices(range(3), weights=SHARES, k=count)
    return [(group, {one: rng.gauss(at, 1.0) for one, at in enumerate(GROUPS[group])}) for group in groups]


def learned(rows: list[tuple[int, Vector]]) -> Clusters:
    clusters = Clusters(3, 3)
    for _, x in rows:
        clusters.learn_one(x)
    return clusters


def test_groups_are_found_and_numbered_by_their_size() -> None:
    clusters = learned(descriptions(5_000))

    for at, centre, share in zip(GROUPS, clusters.centres, clusters.shares, strict=True):
        found = [
            mean + z * variance**0.5
            for mean, z, variance in zip(clusters.means, centre, clusters.variances, strict=True)
        ]
        assert dist(found, at) < 0.3
        assert share == pytest.approx(SHARES[GROUPS.index(at)], abs=0.03)


def test_a_cluster_keeps_its_number() -> None:
    clusters = learned(descriptions(FIRST_PER_CLUSTER * 3))

    numbers: dict[int, set[int | None]] = {0: set(), 1: set(), 2: set()}
    for group, x in descriptions(20_000, seed=2):
        numbers[group].add(clusters.learn_one(x))

    assert numbers == {0: {0}, 1: {1}, 2: {2}}


def test_a_cluster_follows_what_its_visitors_become() -> None:
    clusters = learned(descriptions(2_000))
    before = clusters.centres[1][0]

    rng = random.Random(3)
    for _ in range(3_000):
        clusters.learn_one({0: rng.gauss(11.0, 1.0), 1: rng.gauss(0.0, 1.0), 2: rng.gauss(0.0, 1.0)})

    at = clusters.means[0] + clusters.centres[1][0] * clusters.variances[0] ** 0.5
    assert at == pytest.approx(11.0, abs=1.0)
    assert clusters.shares[1] > 0.6
    assert before != clusters.centres[1][0]


def test_too_few_that_differ_make_no_clusters_and_do_not_pile_up() -> None:
    clusters = Clusters(2, 3)
    for number in range(1_000):
        clusters.learn_one({0: float(number % 2), 1: 0.0})

    assert clusters.centres == []
    assert len(clusters.state().first) < FIRST_PER_CLUSTER * 3


def test_a_number_that_is_always_the_same_or_always_missing_does_no_harm() -> None:
    rng = random.Random(1)
    clusters = Clusters(3, 2)
    for _ in range(200):
        clusters.learn_one({0: rng.choice([0.0, 9.0]) + rng.random(), 1: 5.0})

    assert [centre[1:] for centre in clusters.centres] == [[0.0, 0.0]] * 2


@pytest.mark.parametrize("at", [5, 2_000])  # among those that the centres are chosen from, and long after
@pytest.mark.parametrize("value", [1e6, -1e6])
def test_one_number_that_is_far_out_moves_nobody_into_another_cluster(value: float, at: int) -> None:
    rows = descriptions(4_000)
    rows.insert(at, (0, {0: value, 1: 0.0, 2: 9.0}))

    clusters = learned(rows)

    found = [(group, clusters.learn_one(x)) for group, x in descriptions(500, seed=2)]
    assert {number for group, number in found if group != number} == set()
    assert clusters.deviations == pytest.approx(learned(rows[:at] + rows[at + 1 :]).deviations, rel=0.15)


def test_the_scale_follows_when_numbers_grow_for_good() -> None:
    clusters = learned(descriptions(1_000))

    rows = descriptions(3_000, seed=2)
    for _, x in rows:
        clusters.learn_one({one: 1_000.0 * value for one, value in x.items()})

    for one, deviation in enumerate(clusters.deviations):
        values = [1_000.0 * x[one] for _, x in rows]
        assert deviation == pytest.approx(pstdev(values), rel=0.5)


def test_a_number_that_few_have_is_taken_as_it_is() -> None:
    clusters, rng, values = Clusters(2, 2), random.Random(1), []
    for number in range(4_000):
        values.append(60.0 if number >= 200 and number % 25 == 0 else 0.0)  # the first ones have none
        clusters.learn_one({0: values[-1], 1: rng.choice([0.0, 9.0]) + rng.random()})

    assert clusters.deviations[0] == pytest.approx(pstdev(values), rel=0.1)


def test_a_logarithm_is_never_far_out() -> None:
    clusters, rng, values = Clusters(2, 2), random.Random(1), []
    for number in range(2_000):
        values.append(14.0 if number == 1_000 else rng.random() / 100)
        clusters.learn_one({0: values[-1], 1: rng.choice([0.0, 9.0]) + rng.random()})

    assert clusters.deviations[0] == pytest.approx(pstdev(values), rel=1e-6)


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.dictionaries(st.integers(0, 2), st.floats(-1e6, 1e6), min_size=1), min_size=40, max_size=120),
    st.integers(0, 120),
)
def test_restored_clusters_go_on_bit_for_bit(rows: list[Vector], cut: int) -> None:
    straight, before, after = (Clusters(3, 1) for _ in range(3))
    for number, x in enumerate(rows):
        straight.learn_one(x)
        (before if number < cut else after).learn_one(x)
        if number == cut - 1:
            packed = msgspec.msgpack.encode(before.state())
            after.restore(msgspec.msgpack.decode(packed, type=Saved))

    if len(rows) >= cut > 0:
        assert msgspec.msgpack.encode(after.state()) == msgspec.msgpack.encode(straight.state())


def test_what_is_learned_is_the_same_in_every_process() -> None:
    code = (
        "from tests.online_models.test_clusters import *; import msgspec, hashlib;"
        "print(hashlib.sha256(msgspec.msgpack.encode(learned(descriptions(500)).state())).hexdigest())"
    )

    found = {
        subprocess.run(
            [sys.executable, "-c", code], env={"PYTHONHASHSEED": seed, "PYTHONPATH": ":".join(sys.path)}, check=True,
            capture_output=True,
        ).stdout
        for seed in ("1", "2")
    }  # fmt: skip

    assert len(found) == 1
