"""The chances to be the largest: against simulation, against integrals by somebody else, and their laws."""

from __future__ import annotations

import random
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.integrate import quad
from scipy.stats import norm

from online_models.largest import Largest

SETS = {
    "alike": ([0.0, 0.1, -0.1, 0.3], [0.3, 0.3, 0.2, 0.25]),
    "well known and new": ([-1.0, -1.2, -2.0, -2.2], [0.01, 0.02, 0.6, 0.9]),
    "far apart": ([0.0, -3.0, -9.0], [0.5, 0.5, 0.5]),
    "two": ([0.0, 1.0], [3.0, 4.0]),
}


def chances(means: list[float], deviations: list[float], places: int = 1) -> list[float]:
    return Largest(means, deviations, places=places).chances()


def integrals(means: list[float], deviations: list[float]) -> list[float]:
    """Return what `chances` should, by adaptive quadrature of each integral by itself."""

    def integral(which: int) -> float:
        def integrand(x: float) -> float:
            below = [norm.cdf(x, m, s) for j, (m, s) in enumerate(zip(means, deviations, strict=True)) if j != which]
            return float(norm.pdf(x, means[which], deviations[which]) * np.prod(below))

        m, s = means[which], deviations[which]
        edges = sorted({m + k * s for k in range(-8, 9)} | {o for o in means if abs(o - m) < 8 * s})
        return sum(quad(integrand, a, b, epsabs=1e-12)[0] for a, b in pairwise(edges))

    return [integral(which) for which in range(len(means))]


@pytest.mark.parametrize("name", SETS)
def test_chances_are_the_integrals(name: str) -> None:
    means, deviations = SETS[name]

    assert chances(means, deviations) == pytest.approx(integrals(means, deviations), abs=1e-9)


@pytest.mark.parametrize("name", SETS)
def test_chances_are_how_often_each_is_the_largest_of_normal_draws(name: str) -> None:
    means, deviations = SETS[name]
    draws = 400_000
    drawn = np.random.default_rng(1).normal(means, deviations, (draws, len(means)))

    expected = np.array(chances(means, deviations))

    came = np.bincount(drawn.argmax(axis=1), minlength=len(means)) / draws
    assert came == pytest.approx(expected, abs=4.5 * 0.5 / draws**0.5)


def test_two_have_a_closed_form() -> None:
    assert chances([0.0, 1.0], [3.0, 4.0])[1] == pytest.approx(norm.cdf(1.0 / 5.0), abs=1e-10)


@pytest.mark.parametrize("count", [2, 10, 100, 1000])
@pytest.mark.parametrize("kind", ["equal", "alike", "mixed", "wild"])
def test_a_finer_grid_says_the_same(count: int, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(count)
    means, deviations = {
        "equal": (np.zeros(count), np.full(count, 0.3)),
        "alike": (rng.normal(0.0, 0.3, count), rng.uniform(0.1, 0.3, count)),
        "mixed": (rng.normal(0.0, 0.5, count), 10 ** rng.uniform(-2.5, -0.5, count)),
        "wild": (rng.normal(0.0, 3.0, count), 10 ** rng.uniform(-3.0, 0.0, count)),
    }[kind]

    found = chances(means.tolist(), deviations.tolist())

    at, weight = np.polynomial.legendre.leggauss(20)
    for constant, value in {"_WIDEST_PANEL": 0.3, "_REACH": 9.0, "_AT": at, "_WEIGHT": weight}.items():
        monkeypatch.setattr(f"online_models.largest.{constant}", value)
    assert found == pytest.approx(chances(means.tolist(), deviations.tolist()), abs=1e-11)


# ---------------------------------------------------------------- laws

variables = st.lists(
    st.tuples(st.floats(-34.0, 34.0), st.one_of(st.just(0.0), st.floats(1e-6, 1e6), st.floats(0.01, 1.0))),
    min_size=1,
    max_size=40,
)


@given(variables)
def test_chances_add_up_to_one(drawn: list[tuple[float, float]]) -> None:
    means, deviations = map(list, zip(*drawn, strict=True))

    found = chances(means, deviations)

    assert sum(found) == pytest.approx(1.0, abs=1e-9)
    assert all(0.0 <= one <= 1.0 for one in found)


@given(variables, st.randoms(use_true_random=False))
def test_the_order_of_variables_does_not_matter(drawn: list[tuple[float, float]], rng: random.Random) -> None:
    mixed = list(enumerate(drawn))
    rng.shuffle(mixed)

    found = chances([m for m, _ in drawn], [s for _, s in drawn])
    again = chances([m for _, (m, _) in mixed], [s for _, (_, s) in mixed])

    assert again == pytest.approx([found[index] for index, _ in mixed], abs=1e-11)


@given(variables, st.floats(-20.0, 20.0))
def test_what_all_have_in_common_does_not_matter(drawn: list[tuple[float, float]], common: float) -> None:
    means, deviations = map(list, zip(*[(round(m, 3), max(s, 0.01)) for m, s in drawn], strict=True))

    moved = chances([m + common for m in means], deviations)

    assert moved == pytest.approx(chances(means, deviations), abs=1e-9)


@given(variables)
def test_equal_variables_have_equal_chances(drawn: list[tuple[float, float]]) -> None:
    means, deviations = map(list, zip(*drawn, *drawn, strict=True))

    found = chances(means, deviations)

    half = len(drawn)
    assert found[:half] == found[half:]


# None below a hundredth of the largest, which counts as such a hundredth.
comparable = st.lists(st.tuples(st.floats(-5.0, 5.0), st.floats(0.01, 1.0)), min_size=1, max_size=40)


@given(comparable, st.randoms(use_true_random=False))
def test_after_some_have_left_chances_are_those_of_the_rest(
    drawn: list[tuple[float, float]], rng: random.Random
) -> None:
    rest = dict(enumerate(drawn))
    source = Largest([m for m, _ in drawn], [s for _, s in drawn], places=len(drawn))

    while rest:
        found = source.chances()
        alone = dict(zip(rest, chances([m for m, _ in rest.values()], [s for _, s in rest.values()]), strict=True))
        assert found == pytest.approx([alone.get(index, 0.0) for index in range(len(drawn))], abs=1e-9)
        index = rng.choice([*rest])
        source.leave(index)
        del rest[index]


def test_without_deviations_the_largest_mean_is_the_largest_and_ties_share() -> None:
    source = Largest([1.0, 2.0, 2.0], [0.0, 0.0, 0.0], places=3)

    assert source.chances() == [0.0, 0.5, 0.5]
    source.leave(1)
    assert source.chances() == [0.0, 0.0, 1.0]
    source.leave(2)
    assert source.chances() == [1.0, 0.0, 0.0]


def test_without_deviations_the_smallest_difference_decides() -> None:
    assert chances([0.0, 1e-9], [0.0, 0.0]) == [0.0, 1.0]
    assert chances([0.5] * 4, [0.0] * 4) == [0.25] * 4


def test_one_that_does_not_vary_beside_one_that_does_has_a_chance_of_its_own() -> None:
    found = chances([0.0, 0.0, 0.5], [0.0, 1.0, 0.0])

    # 0.5 is the largest unless the one that varies is above it; a hundredth of its deviation is what it counts as.
    assert found == pytest.approx([0.0, 1.0 - norm.cdf(0.5), norm.cdf(0.5)], abs=1e-4)


def test_the_wider_of_two_equal_means_among_many_is_the_largest_more_often() -> None:
    narrow, wide, *others = chances([0.0] * 10, [0.1, 0.4, *[0.1] * 8])

    assert wide > 3 * narrow
    assert set(others) == {narrow}


def test_what_is_hopeless_has_no_chance() -> None:
    assert chances([0.0, -9.0], [0.5, 0.5]) == [1.0, 0.0]
