"""Judge: progressive validation of one objective, beside the baselines, overall and over time.

A score is judged when its label arrives, by which time nothing had been learned from it; so is what the
baselines said at the same trigger. What is judged is collected and counted a few thousand at a time, at
places that depend on the labels alone, so that chunks decide nothing.

Under the policy `immediate` a positive is known before its window has closed, a negative is not. Such a
positive is held back until then, by the clock of its own partition: otherwise the last windows would hold positives
only. For the same reason the baselines learn of it no earlier; all of the first labels would tell them of a rate of 1.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from online_models.features import FeatureSet
from online_models.held_back import HeldBack
from online_models.objectives import Objective
from online_models.step import Probe
from online_models.validation.baselines import Baselines, Said
from online_models.validation.histogram import OperatingPoint, ScoreHistogram
from schemas.events import EventBase
from schemas.examples import Example
from schemas.scores import Score

MODEL = "model"
BY_BUDGET = OperatingPoint()

# Counting so many at once makes the cost of numpy's calls small.
_COUNTED_AT_ONCE = 4096
# Enough for a curve; neighbours are joined when a stream outgrows them.
_MOST_WINDOWS = 64
_FIRST_WIDTH_MS = 60_000
# How long a trigger is remembered after its window has closed; labels come with the next publication.
_MARGIN_MS = 3_600_000
# Triggers remembered before the first look for stale ones; every look doubles the room, so its cost is spread.
_REMEMBERED = 65_536
# Overall, AUC is right to a few ten thousandths; within a window, to a few thousandths.
_BINS_OVERALL, _BINS_OF_WINDOW = 256, 32

Histograms = dict[str, ScoreHistogram]
# Label, time of the trigger, the model's score, what the baselines said.
Row = tuple[bool, int, float, Said]
# What is held back: end of the window, a number that makes rows unlike, the row.
Early = tuple[int, int, Row]


class Judge:
    """Judges the scores of an objective.

    Parameters
    ----------
    point
        Where precision and recall are measured.

    Attributes
    ----------
    unknown
        Labels of triggers that were not seen, or were given up.
    """

    def __init__(self, objective: Objective, features: FeatureSet, point: OperatingPoint = BY_BUDGET) -> None:
        self._point = point
        self._baselines = Baselines(objective, features)
        self._closes_after_ms = objective.closes_after_ms
        self._kept_ms = objective.closes_after_ms + _MARGIN_MS
        self._said: dict[str, tuple[int, Said]] = {}
        self._forget_at = _REMEMBERED
        self._rows: list[Row] = []
        self._teach_early = objective.labels != "immediate"
        self._early: HeldBack[Early] = HeldBack()
        self._early_seen = 0
        self._names = [MODEL, *self._baselines.names]
        self._overall = self._histograms(_BINS_OVERALL)
        self._windows: dict[int, Histograms] = {}
        self._width_ms = _FIRST_WIDTH_MS
        self.unknown = 0

    def _histograms(self, bins_per_unit: int) -> Histograms:
        return {name: ScoreHistogram(self._point, bins_per_unit) for name in self._names}

    def scored(self, score: Score, event: EventBase, values: Sequence[Any], probe: Probe) -> None:
        """Note what the baselines say of the trigger."""
        self._said[score.score_id] = score.ts, self._baselines.said(score, values)
        if len(self._said) >= self._forget_at:
            self._forget(score.ts - self._kept_ms)

    def labelled(self, example: Example) -> None:
        """Judge a score by its label."""
        noted = self._said.pop(example.score_id, None)
        if noted is None:
            self.unknown += 1
            return
        ts, said = noted
        label, rows = example.label, self._rows
        row = (label, ts, example.score, said)
        due_ms, now_ms = ts + self._closes_after_ms, example.released_ts
        held_back = now_ms < due_ms
        if self._teach_early or not held_back:
            self._baselines.learn(said, label)
        if held_back:
            self._early_seen += 1
            self._early.add(example, (due_ms, self._early_seen, row))
        else:
            rows.append(row)
        for _, _, one in self._early.released(example):
            self._release(one)
        if len(rows) >= _COUNTED_AT_ONCE:
            self._count()

    def _release(self, row: Row) -> None:
        """Count a row that was held back: its window has closed."""
        self._rows.append(row)
        if not self._teach_early:
            label, _, _, said = row
            self._baselines.learn(said, label)

    def _forget(self, before_ms: int) -> None:
        """Give up triggers whose window is long over: they were scored, and got no label.

        All are looked at, for they are not in the order of their times: one clock that is far ahead would
        keep everything behind it.
        """
        self._said = {score_id: noted for score_id, noted in self._said.items() if noted[0] >= before_ms}
        self._forget_at = max(_REMEMBERED, 2 * len(self._said))

    # ---------------------------------------------------------------- counting

    def _count(self) -> None:
        rows, self._rows = self._rows, []
        if not rows:
            return
        labels = np.array([row[0] for row in rows], dtype=bool)
        times = np.array([row[1] for row in rows], dtype=np.int64)
        scores = {MODEL: np.array([row[2] for row in rows], dtype=float)}
        for position, name in enumerate(self._baselines.names):
            scores[name] = np.array([row[3][position] for row in rows], dtype=float)
        self._widen(int(times.min()), int(times.max()))
        for name, column in scores.items():
            self._overall[name].add(labels, column)
        place = times // self._width_ms
        for number in np.unique(place).tolist():
            within = place == number
            window = self._windows.get(number)
            if window is None:
                window = self._windows[number] = self._histograms(_BINS_OF_WINDOW)
            for name, column in scores.items():
                window[name].add(labels[within], column[within])

    def _widen(self, earliest_ms: int, latest_ms: int) -> None:
        """Join windows until those that are needed are few enough."""
        first, last = earliest_ms // self._width_ms, latest_ms // self._width_ms
        if self._windows:
            first, last = min(first, *self._windows), max(last, *self._windows)
        while last - first >= _MOST_WINDOWS:
            self._width_ms *= 2
            first, last = first // 2, last // 2
            joined: dict[int, Histograms] = {}
            for number, window in sorted(self._windows.items()):
                other = joined.setdefault(number // 2, window)
                if other is not window:
                    for name, histogram in window.items():
                        other[name].merge(histogram)
            self._windows = joined

    # ---------------------------------------------------------------- what was found

    def report(self) -> dict[str, Any]:
        """Return metrics of the model and the baselines.

        Returns
        -------
        dict
            ``overall``, ``second_half``, ``last_quarter``, ``windows`` (each with ``from_ms`` and ``to_ms``),
            ``calibration_curve``, ``operating_point``, ``unknown_labels``, ``baselines`` (name to metrics);
            the fields of `schemas.report`.
        """
        self._count()
        windows = [
            {
                "from_ms": number * self._width_ms,
                "to_ms": (number + 1) * self._width_ms,
                **_with_base(window),
                "baselines": {name: window[name].log_loss for name in self._baselines.names},
                "baselines_auc": {name: window[name].auc() for name in self._baselines.names},
            }
            for number, window in sorted(self._windows.items())
        ]
        return {
            "overall": _with_base(self._overall),
            "windows": windows,
            "calibration_curve": self._overall[MODEL].calibration_curve(),
            "operating_point": self._point._asdict(),
            "baselines": {name: _with_base(self._overall, name) for name in self._baselines.names},
            "second_half": self._behind(1, 2),
            "last_quarter": self._behind(3, 4),
            "unknown_labels": self.unknown,
        }

    def _behind(self, part: int, parts: int) -> dict[str, Any]:
        """Return the metrics of the time behind its first `part` of `parts`: of a model that has learned."""
        numbers = sorted(self._windows)
        if not numbers:
            return _with_base(self._histograms(_BINS_OF_WINDOW))
        start = numbers[0] + (numbers[-1] + 1 - numbers[0]) * part // parts
        joined = self._histograms(_BINS_OF_WINDOW)
        for number in numbers:
            if number >= start:
                for name, histogram in self._windows[number].items():
                    joined[name].merge(histogram)
        return _with_base(joined)

    # ---------------------------------------------------------------- to go on later

    def state(self) -> list[Any]:
        """Return everything as plain values."""
        return [
            self._said,
            self._forget_at,
            self._rows,
            [self._early.state(), self._early_seen],
            self._baselines.state(),
            _states(self._overall),
            self._width_ms,
            {number: _states(window) for number, window in self._windows.items()},
            self.unknown,
        ]

    def restore(self, state: Sequence[Any]) -> None:
        """Take up what `state` gave."""
        said, self._forget_at, rows, (early, self._early_seen), *counted = state
        baselines, overall, self._width_ms, windows, self.unknown = counted
        self._said = {score_id: (ts, tuple(of_trigger)) for score_id, (ts, of_trigger) in said.items()}
        self._rows = [_row(one) for one in rows]
        self._early.restore([[*first, _row(one)] for *first, one in early])
        self._baselines.restore(baselines)
        _restore(self._overall, overall)
        self._windows = {}
        for number, window in windows.items():
            self._windows[number] = self._histograms(_BINS_OF_WINDOW)
            _restore(self._windows[number], window)


def _row(saved: Sequence[Any]) -> Row:
    label, ts, score, said = saved
    return label, ts, score, tuple(said)


def _with_base(histograms: Histograms, name: str = MODEL) -> dict[str, Any]:
    return {**histograms[name].metrics(), "base_log_loss": histograms["base_rate"].log_loss}


def _states(histograms: Histograms) -> dict[str, Any]:
    return {name: one.state() for name, one in histograms.items()}


def _restore(histograms: Histograms, states: Mapping[str, Any]) -> None:
    for name, one in histograms.items():
        one.restore(states[name])
