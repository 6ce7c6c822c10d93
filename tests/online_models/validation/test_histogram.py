"""Metrics from a histogram agree with scikit-learn's over all scores, at any base rate, and parts add up."""

from __future__ import annotations

import math

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from river import metrics as river_metrics
from sklearn.metrics import average_precision_score, log_loss, precision_score, recall_score, roc_auc_score

from online_models.validation import BY_BUDGET, OperatingPoint, ScoreHistogram

# Scores far enough apart for the histogram to tell them from each other; some of them tie.
apart = st.sampled_from([0.0, 1e-6, 0.001, 0.004, 0.01, 0.05, 0.2, 0.25, 0.5, 0.8, 0.99, 1.0])
judged = st.lists(st.tuples(st.booleans(), apart), min_size=1, max_size=60)
anywhere = st.lists(st.tuples(st.booleans(), st.floats(0.0, 1.0)), max_size=60)

Run = list[tuple[bool, float]]


def counted(run: Run, point: OperatingPoint = BY_BUDGET) -> ScoreHistogram:
    histogram = ScoreHistogram(point)
    histogram.add(np.array([label for label, _ in run], dtype=bool), np.array([score for _, score in run], dtype=float))
    return histogram


def rare(rate: float, *, n: int = 200_000, signal: float = 0.6) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    """Labels of a base rate, and calibrated scores that know something about them."""
    rng = np.random.default_rng(7)
    logits = math.log(rate / (1 - rate)) + rng.normal(0, signal, n)
    scores = 1 / (1 + np.exp(-logits))
    return rng.random(n) < scores, scores


@pytest.mark.parametrize("rate", [0.5, 0.1, 0.01, 0.001])
def test_auc_and_average_precision_are_scikit_learns_at_any_base_rate(rate: float) -> None:
    labels, scores = rare(rate)
    histogram = ScoreHistogram(BY_BUDGET, bins_per_unit=256)

    histogram.add(labels, scores)

    assert histogram.auc() == pytest.approx(roc_auc_score(labels, scores), abs=2e-4)
    assert histogram.average_precision() == pytest.approx(average_precision_score(labels, scores), rel=0.02)
    assert histogram.log_loss == pytest.approx(log_loss(labels, scores), rel=1e-9)


def test_auc_at_one_percent_is_right_where_thresholds_of_equal_distance_see_nothing() -> None:
    labels, scores = rare(0.01, n=50_000)
    histogram, river = ScoreHistogram(BY_BUDGET), river_metrics.ROCAUC()

    histogram.add(labels, scores)
    for label, score in zip(labels.tolist(), scores.tolist(), strict=True):
        river.update(label, score)

    truth = roc_auc_score(labels, scores)
    assert truth > 0.62
    assert histogram.auc() == pytest.approx(truth, abs=0.001)
    assert abs(river.get() - truth) > 0.05


@given(judged)
def test_order_is_exact_where_scores_are_apart(run: Run) -> None:
    labels, scores = zip(*run, strict=True)
    histogram = counted(run)

    if len(set(labels)) == 2:
        assert histogram.auc() == pytest.approx(roc_auc_score(labels, scores), abs=1e-9)
    else:
        assert histogram.auc() is None
    if any(labels):
        assert histogram.average_precision() == pytest.approx(average_precision_score(labels, scores), abs=1e-9)
    else:
        assert histogram.average_precision() is None
    clipped = np.clip(scores, 1e-15, 1 - 1e-15)  # scikit-learn's own edge is elsewhere
    assert histogram.log_loss == pytest.approx(log_loss(labels, clipped, labels=[False, True]), rel=1e-6, abs=1e-9)


@given(judged, st.sampled_from([0.003, 0.02, 0.3, 0.5]))
def test_precision_and_recall_at_a_threshold_are_scikit_learns(run: Run, threshold: float) -> None:
    labels, scores = zip(*run, strict=True)
    acted = [score >= threshold for score in scores]

    found = counted(run, OperatingPoint(threshold)).at_point()

    hits = sum(map(bool.__and__, labels, acted))
    assert found["accuracy"] == pytest.approx(np.mean(np.equal(labels, acted)))
    assert found["precision"] == (pytest.approx(precision_score(labels, acted)) if any(acted) else None)
    assert found["recall"] == (pytest.approx(recall_score(labels, acted)) if any(labels) else None)
    if any(acted) and any(labels):
        assert found["lift"] == pytest.approx(hits / sum(acted) / np.mean(labels))


def test_a_budget_takes_the_best_scored() -> None:
    # ten triggers by falling score; a budget of 0.3 takes the first three, of which two are positive
    labels = [True, False, True, False, False, True, False, False, False, False]
    run = [(label, 0.9 - 0.08 * place) for place, label in enumerate(labels)]

    found = counted(run, OperatingPoint(budget=0.3)).at_point()

    assert found["precision"] == pytest.approx(2 / 3)
    assert found["recall"] == pytest.approx(2 / 3)
    assert found["accuracy"] == pytest.approx((2 + 6) / 10)
    assert found["lift"] == pytest.approx((2 / 3) / 0.3)


@given(judged, st.floats(0.001, 1.0))
def test_scores_that_are_all_the_same_lift_nothing(run: Run, budget: float) -> None:
    found = counted([(label, 0.25) for label, _ in run], OperatingPoint(budget=budget)).at_point()

    if any(label for label, _ in run):
        assert found["lift"] == pytest.approx(1.0)
        assert found["recall"] == pytest.approx(budget)


def test_calibrated_scores_have_next_to_no_calibration_error_and_doubled_ones_their_mean() -> None:
    labels, scores = rare(0.01)
    honest, boastful = ScoreHistogram(BY_BUDGET), ScoreHistogram(BY_BUDGET)

    honest.add(labels, scores)
    boastful.add(labels, 2 * scores)

    assert honest.calibration_error() == pytest.approx(0.0, abs=0.001)
    assert boastful.calibration_error() == pytest.approx(scores.mean(), rel=0.05)


@given(anywhere)
def test_the_calibration_curve_holds_every_score_and_every_positive(run: Run) -> None:
    curve = counted(run).calibration_curve()

    assert sum(one["n"] for one in curve) == len(run)
    assert sum(one["n"] * one["rate"] for one in curve) == pytest.approx(sum(label for label, _ in run))
    assert sum(one["n"] * one["mean_score"] for one in curve) == pytest.approx(sum(score for _, score in run))
    assert [one["mean_score"] for one in curve] == sorted(one["mean_score"] for one in curve)


def test_groups_of_the_calibration_curve_are_of_about_equal_size() -> None:
    labels, scores = rare(0.01)
    histogram = ScoreHistogram(BY_BUDGET, bins_per_unit=256)

    histogram.add(labels, scores)

    sizes = [one["n"] for one in histogram.calibration_curve()]
    assert len(sizes) == 15
    assert max(sizes) < 1.1 * min(sizes)


@given(anywhere, anywhere, st.sampled_from([OperatingPoint(), OperatingPoint(0.2)]))
def test_histograms_of_parts_add_up(first: Run, second: Run, point: OperatingPoint) -> None:
    merged, other = counted(first, point), counted(second, point)

    merged.merge(other)

    assert merged.metrics() == pytest.approx(counted(first + second, point).metrics(), nan_ok=False)
    assert other.metrics() == counted(second, point).metrics()


@given(anywhere, anywhere, st.sampled_from([OperatingPoint(), OperatingPoint(0.2)]))
def test_what_was_restored_goes_on_as_if_nothing_had_been(first: Run, second: Run, point: OperatingPoint) -> None:
    unbroken, resumed = counted(first, point), ScoreHistogram(point)

    resumed.restore(msgspec.msgpack.decode(msgspec.msgpack.encode(unbroken.state())))
    for histogram in (unbroken, resumed):
        histogram.merge(counted(second, point))

    assert resumed.state() == unbroken.state()
    assert resumed.metrics() == unbroken.metrics()


def test_nothing_tells_nothing() -> None:
    found = ScoreHistogram(BY_BUDGET).metrics()

    assert found.pop("n") == found.pop("positives") == 0
    assert set(found.values()) == {None}
