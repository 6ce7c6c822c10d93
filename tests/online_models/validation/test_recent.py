"""The last judged scores: the window equals the slow way over the same scores."""

from __future__ import annotations

from random import Random

import numpy as np
import pytest

from online_models.evaluation import base_rate_log_loss, log_loss, roc_auc
from online_models.validation.recent import RecentScores

SIZE = 300


def judged(count: int, seed: int) -> tuple[list[bool], list[float], list[float]]:
    random = Random(seed)
    scores = [random.choice((0.02, 0.1, 0.3, random.random())) for _ in range(count)]
    return [random.random() < p for p in scores], scores, [0.4 if random.random() < 0.3 else 0.1 for _ in scores]


def taken(
    recent: RecentScores, labels: list[bool], scores: list[float], rule: list[float] | None, cut: int
) -> list[float]:
    losses: list[float] = []
    for first in range(0, len(labels), cut):
        part = slice(first, first + cut)
        said = None if rule is None else np.array(rule[part])
        losses += recent.add(np.array(labels[part]), np.array(scores[part]), said).tolist()
    return losses


@pytest.mark.parametrize("count", [1, 7, SIZE, SIZE + 1, 1_000])
@pytest.mark.parametrize("cut", [1, 64, 300])
def test_figures_are_those_of_the_last_scores_however_they_were_cut(count: int, cut: int) -> None:
    labels, scores, rule = judged(count, seed=count)
    recent = RecentScores(SIZE)

    losses = taken(recent, labels, scores, rule, cut)

    figures = recent.figures()
    last = slice(max(0, count - SIZE), None)
    n = min(count, SIZE)
    # The base rate knows all labels before, not only those of the window.
    whole, before = base_rate_log_loss(labels), base_rate_log_loss(labels[: count - n])
    assert whole is not None
    base = (whole * count - (before or 0.0) * (count - n)) / n
    assert (figures.n, figures.positives) == (n, sum(labels[last]))
    assert figures.log_loss == pytest.approx(log_loss(labels[last], scores[last]))
    assert figures.base_log_loss == pytest.approx(base)
    assert figures.rule_log_loss == pytest.approx(log_loss(labels[last], rule[last]))
    if 0 < figures.positives < n:
        assert figures.auc == pytest.approx(roc_auc(labels[last], scores[last]))
        assert figures.rule_auc == pytest.approx(roc_auc(labels[last], rule[last]))
    else:
        assert figures.auc is None
    assert sum(losses) == pytest.approx((log_loss(labels, scores) or 0.0) * count)


def test_without_a_rule_there_are_no_figures_of_one() -> None:
    labels, scores, _ = judged(200, seed=1)
    recent = RecentScores(SIZE)

    taken(recent, labels, scores, None, 50)

    assert recent.figures().rule_log_loss is None
    assert recent.figures().rule_auc is None
    assert recent.figures().auc is not None


def test_calibration_counts_every_score_once_and_keeps_equal_ones_together() -> None:
    recent = RecentScores(SIZE)
    assert recent.calibration() == []
    labels = [True, False, False, False] * 50
    scores = [0.25] * 100 + [0.5] * 100

    taken(recent, labels, scores, None, 200)

    assert recent.calibration() == [
        {"mean_score": 0.25, "rate": 0.25, "n": 100},
        {"mean_score": 0.5, "rate": 0.25, "n": 100},
    ]


def test_calibration_has_ten_groups_by_rising_score() -> None:
    random = Random(3)
    scores = [random.random() for _ in range(SIZE)]
    recent = RecentScores(SIZE)

    taken(recent, [random.random() < p for p in scores], scores, None, SIZE)

    groups = recent.calibration()
    assert [one["n"] for one in groups] == [SIZE // 10] * 10
    assert [one["mean_score"] for one in groups] == sorted(one["mean_score"] for one in groups)
