"""Metrics agree with scikit-learn, and streaming ones with those over the whole run."""

from __future__ import annotations

import math
import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from river import metrics
from sklearn.metrics import log_loss as sklearn_log_loss
from sklearn.metrics import roc_auc_score

from online_models.evaluation import (
    BinnedAUC,
    ProgressiveMetrics,
    base_rate_log_loss,
    log_loss,
    roc_auc,
)

probabilities = st.one_of(st.floats(0.0, 1.0), st.sampled_from([0.0, 0.25, 0.5, 1.0]))
judged = st.lists(st.tuples(st.booleans(), probabilities), min_size=1, max_size=80)


def clicks(n: int, *, rate: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Rare labels, and scores that know something about them."""
    rng = np.random.default_rng(seed)
    logits = math.log(rate / (1 - rate)) + rng.normal(0, 1, n)
    scores = 1 / (1 + np.exp(-logits))
    return rng.random(n) < scores, 1 / (1 + np.exp(-(logits + rng.normal(0, 0.7, n))))


@given(judged)
def test_auc_equals_scikit_learns_with_ties(run: list[tuple[bool, float]]) -> None:
    labels, scores = zip(*run, strict=True)
    if len(set(labels)) == 2:
        assert roc_auc(labels, scores) == pytest.approx(roc_auc_score(labels, scores), abs=1e-12)
    else:
        with pytest.raises(ValueError, match="at least one positive and one negative"):
            roc_auc(labels, scores)


def test_auc_and_log_loss_equal_scikit_learns_on_a_long_run() -> None:
    labels, scores = clicks(50_000, rate=0.02, seed=1)

    assert roc_auc(labels, scores) == pytest.approx(roc_auc_score(labels, scores), abs=1e-12)
    assert log_loss(labels.tolist(), scores.tolist()) == pytest.approx(sklearn_log_loss(labels, scores), rel=1e-9)


def test_nothing_has_no_loss() -> None:
    assert (log_loss([], []), base_rate_log_loss([])) == (None, None)


def test_the_base_rate_knows_only_what_came_before() -> None:
    # rates before each label: 1/2, 2/3, 2/4
    assert base_rate_log_loss([True, False, True]) == pytest.approx(-math.log(1 / 2 * 1 / 3 * 1 / 2) / 3)


@pytest.mark.parametrize("rate", [0.3, 0.01, 0.001])
def test_binned_auc_is_right_to_a_thousandth_where_rivers_is_not(rate: float) -> None:
    labels, scores = clicks(60_000, rate=rate, seed=2)
    binned, rivers = BinnedAUC(), metrics.ROCAUC()
    for label, score in zip(labels.tolist(), scores.tolist(), strict=True):
        binned.update(label, score)
        rivers.update(label, {True: score, False: 1 - score})
    expected = roc_auc_score(labels, scores)

    assert binned.get() == pytest.approx(expected, abs=1e-3)
    if rate <= 0.01:
        assert abs(rivers.get() - expected) > 0.01


def test_binned_auc_reads_scores_that_hardly_differ() -> None:
    # A young model: all scores lie within a tenth of the base rate. River's metric reads 0.500 here.
    rng = np.random.default_rng(3)
    labels = rng.random(60_000) < 0.01
    scores = 0.01 * (1 + 0.05 * rng.normal(0, 1, labels.size) + 0.04 * labels)
    binned, rivers = BinnedAUC(), metrics.ROCAUC()
    for label, score in zip(labels.tolist(), scores.tolist(), strict=True):
        binned.update(label, score)
        rivers.update(label, {True: score, False: 1 - score})

    assert binned.get() == pytest.approx(roc_auc_score(labels, scores), abs=1e-3)
    assert rivers.get() == pytest.approx(0.5, abs=1e-3)


@given(judged, st.randoms(use_true_random=False))
def test_binned_auc_knows_no_order_and_can_be_merged(run: list[tuple[bool, float]], rng: random.Random) -> None:
    whole, first, second = BinnedAUC(), BinnedAUC(), BinnedAUC()
    for label, score in run:
        whole.update(label, score)
    rng.shuffle(run)
    for i, (label, score) in enumerate(run):
        (first if i % 2 else second).update(label, score)
    first.merge(second)

    assert first.state() == whole.state()
    assert first.get() == whole.get()


def test_binned_auc_of_one_class_is_unknown() -> None:
    auc = BinnedAUC()
    auc.update(True, 0.3)

    assert auc.get() is None


@given(judged)
def test_progressive_metrics_equal_those_of_the_whole_run(run: list[tuple[bool, float]]) -> None:
    progressive = ProgressiveMetrics()
    for label, score in run:
        progressive.update(label, score)
    labels, scores = [label for label, _ in run], [score for _, score in run]

    assert progressive.n == len(run)
    assert progressive.positives == sum(labels)
    assert progressive.log_loss == pytest.approx(log_loss(labels, scores))
    assert progressive.base_log_loss == pytest.approx(base_rate_log_loss(labels))
    assert progressive.mean_score == pytest.approx(sum(scores) / len(run))
    assert progressive.rate == pytest.approx(sum(labels) / len(run))
    if any(labels):
        assert progressive.calibration == pytest.approx(sum(scores) / sum(labels))


edges = st.sampled_from([0.0, 1e-16, 1e-15, 1e-9, 0.5, 1.0 - 1e-9, 1.0 - 1e-15, 1.0])


@given(st.lists(st.tuples(st.booleans(), st.one_of(st.floats(0.0, 1.0), edges))), st.integers(0, 20))
def test_judging_many_equals_judging_one_by_one_in_every_bit(run: list[tuple[bool, float]], cut: int) -> None:
    together, plain = ProgressiveMetrics(), ProgressiveMetrics()
    together.update_many(run[:cut])
    together.update_many(run[cut:])
    for label, score in run:
        plain.update(label, score)

    assert together.state() == plain.state()


@given(judged, judged)
def test_restored_metrics_go_on_the_same(before: list[tuple[bool, float]], after: list[tuple[bool, float]]) -> None:
    progressive, restored = ProgressiveMetrics(), ProgressiveMetrics()
    for label, score in before:
        progressive.update(label, score)
    restored.update(True, 0.9)  # is forgotten
    restored.restore(progressive.state())
    for label, score in after:
        progressive.update(label, score)
        restored.update(label, score)

    assert restored.state() == progressive.state()


def test_nothing_judged_yet_has_no_figures() -> None:
    young = ProgressiveMetrics()

    figures = (young.log_loss, young.base_log_loss, young.auc, young.mean_score, young.rate, young.calibration)
    assert figures == (None,) * 6
