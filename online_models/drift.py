"""Drift: has the log loss of the served scores changed for good, or does it only vary?

ADWIN (Bifet, Gavalda, SDM 2007) keeps a window of losses that grows while nothing changes, and cuts it where an
older and a newer part differ by more than chance allows. It is fed means of blocks, not single losses: the loss of
a rare click is some fifty times that of the many that do not click, and single losses set it off about once in
300,000 examples of a stream in which nothing happens. Blocks are counted from the first example, so it does not matter
how examples are cut into batches.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

# 200,000 examples of a steady stream set off none of five seeds; at 100 a change is seen twice as late.
BLOCK = 25


def load() -> type[Any]:
    """Return River's ADWIN.

    With it River loads its data sets, and with them SciPy's statistics and, where it is installed, scikit-learn. That
    takes longer than all else that a worker loads, and nothing is judged before the first labels. A thread may do it.
    """
    from river.drift import ADWIN

    return ADWIN


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
        self._adwin: Any = None  # made with the first block

    @property
    def level(self) -> float | None:
        """Mean loss since the last change; None before the first block."""
        return float(self._adwin.estimation) if self._adwin is not None else None

    def update_many(self, losses: Iterable[float]) -> list[Change]:
        """Take losses in the order of the log; return the changes that they reveal."""
        found = []
        for loss in losses:
            self._sum += loss
            self.seen += 1
            if self.seen % BLOCK:
                continue
            if self._adwin is None:
                self._adwin = load()(clock=1)
            adwin, mean = self._adwin, self._sum / BLOCK
            self._sum = 0.0
            count, total = adwin.width + 1, adwin.width * adwin.estimation + mean
            adwin.update(mean)
            if adwin.drift_detected:
                before = (total - adwin.width * adwin.estimation) / (count - adwin.width)
                found.append(Change(float(before), float(adwin.estimation), self.seen))
        return found
