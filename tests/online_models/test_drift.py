"""Drift of the log loss: found when it is there, silent when it is not."""

from __future__ import annotations

import subprocess
import sys
from functools import reduce
from math import log
from operator import add
from random import Random

import numpy as np

from benchmarks.drift import labels_until_found
from online_models.drift import BLOCK, Change, DriftDetector


def losses(rate: float, count: int, seed: int) -> list[float]:
    """Return losses as of a click: small for the many, large for the few."""
    random = Random(seed)
    return [3.0 if random.random() < rate else 0.05 for _ in range(count)]


def scored(rate: float, score: float, count: int, seed: int) -> list[float]:
    """Return the log losses of a model that says the same of everything."""
    came = np.random.default_rng(seed).random(count) < rate
    found: list[float] = np.where(came, -log(score), -log(1 - score)).tolist()
    return found


def test_a_steady_stream_raises_no_alarm() -> None:
    for seed in range(3):
        assert DriftDetector().update_many(losses(0.05, 100_000, seed)) == []


def test_a_rise_is_found_and_is_worse_and_a_fall_is_better() -> None:
    detector = DriftDetector()
    assert detector.update_many(losses(0.05, 50_000, seed=1)) == []

    rises = detector.update_many(losses(0.08, 50_000, seed=2))
    falls = detector.update_many(losses(0.03, 50_000, seed=3))

    assert rises
    assert all(one.worse for one in rises)
    assert 50_000 < rises[0].at < 70_000
    assert abs(rises[0].before - 0.2) < 0.02
    assert falls
    assert not falls[-1].worse
    assert detector.level is not None
    assert abs(detector.level - 0.14) < 0.02


def test_scores_of_a_rare_outcome_that_become_three_times_too_high_are_found() -> None:
    found = [labels_until_found(0.01, 300_000, seed, lambda p: 3.0 * p) for seed in range(3)]

    assert all(one is not None and one <= 25_000 for one in found), found


def test_a_change_is_told_in_nats_however_rare_the_outcome() -> None:
    detector = DriftDetector()
    assert detector.update_many(scored(0.01, 0.01, 300_000, seed=0)) == []

    [change] = detector.update_many(scored(0.01, 0.1, 20_000, seed=1))

    assert abs(change.before - 0.056) < 0.002
    assert change.before < change.after < 0.1


def test_the_rarest_outcomes_raise_no_false_alarms() -> None:
    for seed in range(2):
        assert DriftDetector().update_many(scored(0.001, 0.001, 1_000_000, seed)) == []


def test_the_level_is_told_as_it_is_however_small() -> None:
    detector = DriftDetector()
    for blocks in (399, 1, 1, 500):
        detector.update_many([0.01] * (blocks * BLOCK))
        assert detector.level is None or abs(detector.level - 0.01) < 1e-12

    [rise] = detector.update_many([0.08] * 10_000)

    assert abs(rise.before - 0.01) < 1e-12
    assert detector.level is not None
    assert abs(detector.level - 0.08) < 1e-12


def test_how_losses_are_cut_changes_nothing() -> None:
    stream = [*losses(0.05, 20_000, seed=4), *losses(0.1, 20_000, seed=5)]
    at_once, one_by_one, in_parts = DriftDetector(), DriftDetector(), DriftDetector()

    found = at_once.update_many(stream)
    singly = [change for loss in stream for change in one_by_one.update_many([loss])]
    parts = [change for first in range(0, 40_000, 777) for change in in_parts.update_many(stream[first : first + 777])]

    assert found == singly == parts != []


def test_a_loss_that_is_no_number_is_passed_over_with_its_block() -> None:
    before, after = losses(0.05, 50_000, seed=1), losses(0.2, 50_000, seed=2)
    heard, disturbed = DriftDetector(), DriftDetector()

    found = heard.update_many([*before, *after])
    before[BLOCK * 7 + 3 : BLOCK * 7 + 5] = [float("nan"), float("inf")]

    assert [one.worse for one in disturbed.update_many([*before, *after])] == [one.worse for one in found] != []
    assert disturbed.level == heard.level


def test_nothing_is_known_before_the_first_block() -> None:
    detector = DriftDetector()

    assert detector.update_many([0.3] * (BLOCK - 1)) == []
    assert detector.level is None
    assert not Change(before=0.3, after=0.3, at=1).worse


def test_it_finds_what_rivers_own_detector_finds() -> None:
    from river.drift import ADWIN

    chance, ours, rivers = Random(5), DriftDetector(), ADWIN(clock=1)
    found = []
    for number in range(8_000):
        losses = [chance.expovariate(1 / (0.2 if (number // 1_000) % 2 else 0.3)) for _ in range(BLOCK)]
        changes = ours.update_many(losses)
        rivers.update(reduce(add, losses) / BLOCK)  # sum() compensates rounding from Python 3.12 on
        assert bool(changes) == rivers.drift_detected
        assert ours.level == rivers.estimation
        found += changes

    assert len(found) >= 7


def test_no_worker_loads_rivers_data_sets() -> None:
    program = (
        "import sys, streams.app\n"
        "from online_models.drift import BLOCK, DriftDetector\n"
        "assert DriftDetector().update_many([0.1] * BLOCK) == []\n"
        "heavy = {'scipy.stats', 'sklearn', 'river.datasets'} & sys.modules.keys()\n"
        "assert not heavy, heavy\n"
    )

    subprocess.run([sys.executable, "-c", program], check=True)
