"""Look-alikes: who is like a group rather than like everybody, and why."""

from __future__ import annotations

import math
import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from online_models.features.segments import Description
from online_models.lookalikes import PRIOR_VISITORS, SeedGroup
from online_models.segments import Population

FEATURES = ("visits", "spent", "clicks")
EVERYBODY = Population([10.0, 100.0, 0.0], [2.0, 50.0, 1.0])
numbers = st.none() | st.floats(-1e6, 1e6)
descriptions = st.lists(numbers, min_size=3, max_size=3)


def a_group(*seed: Description) -> SeedGroup:
    return SeedGroup(FEATURES, EVERYBODY, seed)


def test_who_is_like_the_group_is_above_a_half_and_what_speaks_for_it_is_told() -> None:
    group = a_group(*([10.0 + one, 250.0, 0.1 * one] for one in (-2.0, 0.0, 2.0) * 10))

    like, unlike = group.likeness([10.0, 240.0, 0.0]), group.likeness([10.0, 80.0, 0.0])

    assert like.score > 0.95
    assert unlike.score < 0.1
    assert like.reasons[0][0] == "spent"


def test_the_score_is_that_of_two_gaussians_between_which_one_has_to_choose() -> None:
    seed = [[12.0 + one, None, None] for one in range(4)]
    n, k = 4, PRIOR_VISITORS
    zs = [1.0, 1.5, 2.0, 2.5]
    mean, weight = sum(zs) / n, n + k
    variance = (sum((z - mean) ** 2 for z in zs) + k + n * k / weight * mean**2) / weight

    score, reasons = a_group(*seed).likeness([13.0, None, None])

    def density(z: float, at: float, of: float) -> float:
        return math.exp(-((z - at) ** 2) / of / 2) / math.sqrt(of)

    ratio = density(1.5, n * mean / weight, variance) / density(1.5, 0.0, 1.0)
    assert score == pytest.approx(ratio / (1 + ratio))
    assert reasons == [("visits", pytest.approx(math.log(ratio)))]


def test_of_a_number_that_nobody_of_the_group_has_nothing_is_said() -> None:
    assert a_group([None, None, None]).likeness([99.0, 1e6, -5.0]) == (0.5, [])


def test_one_number_far_out_does_not_decide_alone() -> None:
    group = a_group(*([10.0, 100.0 + 80.0 * one, 0.0] for one in (-1.0, 1.0) * 30))

    assert group.likeness([10.0, 1e6, 0.0]) == group.likeness([10.0, 300.0, 0.0])


@given(st.lists(descriptions, min_size=1, max_size=20), descriptions)
def test_whatever_comes_the_score_is_a_number_from_0_to_1(seed: list[Description], one: Description) -> None:
    score, reasons = a_group(*seed).likeness(one)

    assert 0.0 <= score <= 1.0
    assert [share for _, share in reasons] == sorted((share for _, share in reasons if share > 0.0), reverse=True)


@given(st.lists(descriptions, min_size=1, max_size=8), descriptions, st.randoms())
def test_the_order_of_the_seed_says_next_to_nothing(
    seed: list[Description], one: Description, rng: random.Random
) -> None:
    shuffled = rng.sample(seed, len(seed))

    assert a_group(*shuffled).likeness(one).score == pytest.approx(a_group(*seed).likeness(one).score)


def test_hidden_members_are_found_better_than_by_nearness() -> None:
    rng = np.random.default_rng(1)
    everybody, members = rng.normal(0, 1, (2_000, 6)), rng.normal(0, 1, (200, 6))
    members[:, 0] += 1.5
    members[:, 1] *= 0.3
    population = Population([0.0] * 6, [1.0] * 6)
    group = SeedGroup("abcdef", population, members[:50].tolist())
    asked = np.concatenate([members[50:], everybody])
    truth = [1] * 150 + [0] * 2_000

    scores = [group.likeness(one).score for one in asked.tolist()]
    nearness = -np.linalg.norm(asked - members[:50].mean(0), axis=1)

    assert roc_auc_score(truth, scores) > 0.9
    assert roc_auc_score(truth, scores) > roc_auc_score(truth, nearness) + 0.05
