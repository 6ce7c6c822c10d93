"""Drift: has the log loss of the served scores changed for good, or does it only vary?

ADWIN (Bifet, Gavalda, SDM 2007) keeps a window of losses that grows while nothing changes, and cuts it where an
older and a newer part differ by more than chance allows. It is fed means of blocks, not single losses: the loss of
a rare click is some fifty times that of the many that do not click, and single losses set it off about once in
300,000 examples of a stream in which nothing happens. Blocks are counted from the first example, so it does not matter
how examples are cut into batches.

ADWIN's bound is for values from 0 to 1, and asks for as much evidence as if they filled that range. Of a rare outcome
they do not: at a rate of 1 % most means of blocks lie below 0.2. So once the level is known, values are told doubled or
fourfold where that keeps their mean below a quarter, and the window begins anew. A fault at 1 % is then found in half
of the examples (`python -m benchmarks.drift`); eightfold, steady streams of 0.1 % set it off.
"""

from __future__ import annotations

from collections.abc import Iterable
from math import isfinite
from typing import NamedTuple

from river._river_rust.drift import AdaptiveWindowing

# 200,000 examples of a steady stream set off none of five seeds; at 100 a change is seen twice as late.
BLOCK = 25
# Blocks after which a window's level is known, to a tenth at a rate of 1 %.
_KNOWN = 400
_MOST_TIMES = 4
_HIGHEST_MEAN = 0.25


def _window() -> AdaptiveWindowing:
    """Return what `river.drift.ADWIN(clock=1)` is made of.

    That class itself comes with River's data sets, SciPy's statistics and, where it is installed, scikit-learn: a
    second of loading and 76 MiB, in a worker that has no other use for them.
    """
    return AdaptiveWindowing(delta=0.002, clock=1, max_buckets=5, min_window_length=5, grace_period=10)


class Change(NamedTuple):
    """A change that was found.

    Attributes
    ----------
    before, after
        Mean log loss of what was cut off the window, and of what is left of it, in nats.
    at
        Examples seen until then.
    """

    before: float
    after: float
    at: int

    @property
    def worse(self) -> bool:
        """Whether the loss rose; it falls while a model learns, and that is no alarm."""
        return self.after > self.before


class DriftDetector:
    """Watches the losses of one objective.

    Examples
    --------
    >>> detector = DriftDetector()
    >>> detector.update_many([0.2] * 5_000)
    []
    >>> [(one.worse, round(one.before, 1)) for one in detector.update_many([0.5] * 5_000)][:1]
    [(True, 0.2)]
    """

    def __init__(self) -> None:
        self.seen = 0
        self._sum = 0.0
        self._begin(1)
        self._detected = False

    def _begin(self, times: int) -> None:
        self._window = _window()
        self._times = times  # a power of two, so that no figure is rounded
        self._scaled = times > 1

    @property
    def level(self) -> float | None:
        """Mean loss of what the window holds, which reaches back to the last change at most; None: nothing."""
        width = self._window.get_width()
        return self._window.get_total() / self._times / width if width else None

    def update_many(self, losses: Iterable[float]) -> list[Change]:
        """Take losses in the order of the log; return the changes that they reveal."""
        found = []
        for loss in losses:
            self._sum += loss
            self.seen += 1
            if self.seen % BLOCK:
                continue
            if self._detected:  # as River's does, it begins anew behind a change
                self._begin(1)
            window, times, mean = self._window, self._times, self._times * self._sum / BLOCK
            self._sum = 0.0
            if not isfinite(mean):  # it would stay in the window's sums, which tell no change any more
                continue
            count, total = window.get_width() + 1, window.get_total() + mean
            self._detected = window.update(mean)
            if self._detected:
                left, sum_left = window.get_width(), window.get_total()
                before, after = (total - sum_left) / (count - left), sum_left / left
                found.append(Change(before / times, after / times, self.seen))
            elif not self._scaled and window.get_width() >= _KNOWN:
                self._scaled = True
                times = _times_of(window.get_total() / window.get_width())
                if times > 1:
                    self._begin(times)
        return found


def _times_of(level: float) -> int:
    times = 1
    while times < _MOST_TIMES and 2 * times * level <= _HIGHEST_MEAN:
        times *= 2
    return times
