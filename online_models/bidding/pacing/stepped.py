"""What pacers share that look at their spend at regular intervals."""

from __future__ import annotations

from typing import Generic, Protocol, TypeVar

from msgspec import Struct

from online_models.bidding.pacing.base import Flight
from online_models.bidding.pacing.progress import Progress

# An interval in which fewer wins are wanted is believed less: one win more or less says little of the multiplier.
_ENOUGH_WINS = 10.0
# What a win costs is remembered over so many of them.
_MEMORY = 200
# Spending five times what was wanted and spending fifty times as much are answered alike.
_LARGEST_EXCESS = 4.0


class Interval(Struct):
    """The time since a pacer last looked, and what should be spent in it."""

    progress: Progress
    from_ms: int = 0
    from_spent: float = 0.0
    wanted: float = 0.0
    wins: int = 0
    cost_of_win: float = 0.0

    def pay(self, at_ms: int, cost: float) -> None:
        """Count what an auction cost."""
        self.progress.pay(at_ms, cost)
        self.wins += 1
        self.cost_of_win += (cost - self.cost_of_win) / min(self.wins, _MEMORY)

    def begin(self, every_ms: int) -> None:
        """Start an interval now."""
        self.from_ms, self.from_spent = self.progress.now_ms, self.progress.spent
        self.wanted = self.progress.wanted(every_ms)

    def error(self) -> float:
        """Return by how much too little was spent, as a part of what was wanted: at most 1, below 0 for too much."""
        spent = self.progress.spent - self.from_spent
        if self.wanted <= 0.0:
            return 0.0 if spent <= 0.0 else -_LARGEST_EXCESS
        return max(-_LARGEST_EXCESS, 1.0 - spent / self.wanted)

    def belief(self) -> float:
        """Return how much an error says, 0 to 1: all, if what was wanted is that of many wins."""
        enough = _ENOUGH_WINS * self.cost_of_win
        return 1.0 if self.wanted >= enough else self.wanted / enough


class HasInterval(Protocol):
    """A state of which the interval is a part."""

    interval: Interval


S = TypeVar("S", bound=HasInterval)


class SteppedPacer(Generic[S]):
    """Steps with the first opportunity or cost after an interval's time.

    After a time without either it steps once, however long that was: where nobody came, nothing is to be learned.
    """

    def __init__(self, state: S, every_ms: int) -> None:
        self._state = state
        self._every_ms = every_ms

    def begin(self, flight: Flight) -> None:
        """Start a flight, from what the one before has taught."""
        self._state.interval.progress.begin(flight)
        self._state.interval.begin(self._every_ms)

    def opportunity(self, at_ms: int, value: float) -> None:
        """Count an auction the campaign may take part in."""
        self._reach(at_ms)

    def spent(self, at_ms: int, cost: float) -> None:
        """Count what an auction cost."""
        self._reach(at_ms)
        self._state.interval.pay(at_ms, cost)

    def _reach(self, at_ms: int) -> None:
        interval, every_ms = self._state.interval, self._every_ms
        if interval.progress.reach(at_ms) and interval.progress.now_ms >= interval.from_ms + every_ms:
            self._step()
            interval.begin(every_ms)

    def _step(self) -> None:
        """Change the pace after the interval that ends now."""
        raise NotImplementedError

    def state(self) -> S:
        """Return all that is known; to be encoded or copied before the pacer goes on."""
        return self._state

    def restore(self, state: S) -> None:
        """Go on from what `state` gave."""
        self._state = state
