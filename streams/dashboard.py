"""What the dashboard shows of a worker: kept by the worker itself, for half an hour, in bounded memory.

A batch leaves rows behind; they are counted a few thousand at a time, as a replay's judges do. Every five seconds a
point is made of what has come since. Nothing here decides anything, and nothing is stored: a restart begins anew.
"""

from __future__ import annotations

import math
import time
from collections import Counter, deque
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from online_models.drift import Change, DriftDetector
from online_models.reasons import ReasonNames
from online_models.validation import RecentScores
from schemas.scores import Score
from streams.settings import Settings
from streams.summary import Summary
from streams.telemetry import Telemetry

POINT_S = 5.0
POINTS = 360  # half an hour
_PERCENTILES = {"p50_ms": 0.5, "p95_ms": 0.95, "p99_ms": 0.99}
# Counting so many at once makes the cost of numpy's calls small.
_COUNTED_AT_ONCE = 4096
# Reasons are those of the last so many scores of each objective that are read.
_READ = 400
_SHOWN_FEATURES, _SHOWN_DEAD, _SHOWN_CHANGES = 10, 8, 20
# An alarm that nothing has answered since is history; the mark stays on the chart.
_ALARM_S = 600.0


class _Found(NamedTuple):
    at_s: float
    change: Change


class _Watched:
    """What is kept of one objective."""

    def __init__(self) -> None:
        self.rows: list[tuple[bool, float, float | None]] = []
        self.recent = RecentScores()
        self.drift = DriftDetector()
        self.changes: deque[_Found] = deque(maxlen=_SHOWN_CHANGES)
        self.reasons: deque[list[tuple[str, float]]] = deque(maxlen=_READ)

    def count(self, now_s: float) -> list[Change]:
        """Judge what has come; return the changes that it reveals."""
        rows, self.rows = self.rows, []
        if not rows:
            return []
        labels = np.array([row[0] for row in rows], dtype=bool)
        scores = np.array([row[1] for row in rows], dtype=float)
        rule = None if rows[0][2] is None else np.array([row[2] for row in rows], dtype=float)
        changes = self.drift.update_many(self.recent.add(labels, scores, rule).tolist())
        self.changes.extend(_Found(now_s, one) for one in changes)
        return changes


class Dashboard:
    """Takes note of what a worker does, and tells it.

    Parameters
    ----------
    telemetry
        Where its totals stand, and where alarms are counted.
    """

    def __init__(self, settings: Settings, telemetry: Telemetry) -> None:
        self._telemetry = telemetry
        self._names = ReasonNames(settings.features)
        self._watched = {one.name: _Watched() for one in settings.objectives}
        self._ruled = {one.name for one in settings.objectives if one.rule}
        self._points: deque[dict[str, Any]] = deque(maxlen=POINTS)
        self._dead_by_reason: Counter[str] = Counter()
        self._dead: deque[dict[str, Any]] = deque(maxlen=_SHOWN_DEAD)
        self._before: tuple[float, dict[str, int]] = time.monotonic(), dict(telemetry.totals)
        self._latencies = telemetry.latency.counts()

    def note(self, summary: Summary, now_s: float) -> None:
        """Take note of a batch whose results are published and stored; `now_s` is the time since the epoch."""
        watched = self._watched
        for name, rows in summary.judged.items():
            one = watched[name]
            one.rows += rows
            if len(one.rows) >= _COUNTED_AT_ONCE:
                self._count(name, one, now_s)
        for name, reasons in summary.reasons:
            watched[name].reasons.append(reasons)
        self._dead_by_reason.update(summary.dead)
        for reason, count in summary.dead.items():
            self._telemetry.dead.labels(reason).inc(count)
        for dead in summary.last_dead:
            self._dead.append({"reason": dead.reason, "source": dead.source, "ts": dead.ts_ms})

    def _count(self, name: str, one: _Watched, now_s: float) -> None:
        for change in one.count(now_s):
            self._telemetry.drifts.labels(name, "worse" if change.worse else "better").inc()

    def point(self, now_s: float, monotonic_s: float, *, lag: int) -> None:
        """Make a point of what has come since the last one; called every `POINT_S`."""
        before_s, before = self._before
        totals = dict(self._telemetry.totals)
        self._before = monotonic_s, totals
        seconds = max(monotonic_s - before_s, 1e-3)
        counts = self._telemetry.latency.counts()
        told = self._telemetry.latency.percentiles(counts - self._latencies, list(_PERCENTILES.values()))
        self._latencies = counts
        nothing: list[float | None] = [None] * len(_PERCENTILES)
        point: dict[str, Any] = {
            "events": (totals["events"] - before["events"]) / seconds,
            "scores": (totals["scores"] - before["scores"]) / seconds,
            "lag": lag,
            **dict(zip(_PERCENTILES, told or nothing, strict=True)),
        }
        for name, one in self._watched.items():
            self._count(name, one, now_s)
            figures = one.recent.figures()._asdict()
            for metric, value in figures.items():
                point[f"{name}.{metric}"] = value
                if value is not None:
                    self._telemetry.recent.labels(name, metric).set(value)
        self._points.append({metric: _short(value) for metric, value in point.items()} | {"t": round(now_s, 1)})

    # ---------------------------------------------------------------- what is told

    def document(self, now_s: float, since_s: float = 0.0) -> dict[str, Any]:
        """Return what the page shows: the points behind `since_s`, and all else as it is now."""
        points = [one for one in self._points if one["t"] > since_s]
        names = self._points[-1] if self._points else ()
        return {
            "now": now_s,
            "started": self._telemetry.started,
            "points_s": POINT_S,
            "points": {name: [one[name] for one in points] for name in names},
            "totals": dict(self._telemetry.totals),
            "objectives": {name: self._objective(name, one, now_s) for name, one in self._watched.items()},
            "scores": [self._score(one) for one in reversed(self._telemetry.recent_scores)],
            "dead_letters": {"by_reason": dict(self._dead_by_reason.most_common()), "last": [*reversed(self._dead)]},
        }

    def _objective(self, name: str, one: _Watched, now_s: float) -> dict[str, Any]:
        progress = self._telemetry.progress.get(name)
        return {
            "ruled": name in self._ruled,
            "judged": one.recent.seen,
            "learned": progress.learned if progress else None,
            "calibration": [{key: _short(value) for key, value in group.items()} for group in one.recent.calibration()],
            "features": [
                {key: _short(value) for key, value in weight._asdict().items()}
                for weight in self._names.weights(one.reasons, _SHOWN_FEATURES)
            ],
            "level": _short(one.drift.level),
            "changes": [
                {
                    "t": found.at_s,
                    "before": _short(found.change.before),
                    "worse": found.change.worse,
                }
                for found in one.changes
            ],
            "drifting": bool(one.changes) and one.changes[-1].change.worse and now_s - one.changes[-1].at_s < _ALARM_S,
        }

    def _score(self, score: Score) -> dict[str, Any]:
        return {
            "score_id": score.score_id,
            "ts": score.ts,
            "objective": score.objective,
            "score": _short(score.score),
            "user_id": score.user_id,
            "item_id": score.item_id,
            "ranking": score.ranking,
            "shown": len(score.ranked),
            "variant": score.variant,
            "model_version": score.model_version,
            "flags": score.flags,
            "reasons": self._reasons(score.reasons),
        }

    def _reasons(self, reasons: Sequence[tuple[str, float]]) -> list[tuple[str, float]]:
        return [(self._names.shown(name), _short(share)) for name, share in reasons]


def _short(value: Any) -> Any:
    """Keep five significant digits of a number: more than is drawn, less than half of the bytes."""
    if not isinstance(value, float) or not value or not math.isfinite(value):
        return value
    return round(value, 4 - math.floor(math.log10(abs(value))))
