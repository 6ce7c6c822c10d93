"""What pacers share that look at their spend at regular intervals."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar, Generic, TypeVar

from msgspec import Struct

from online_models.bidding.pacing.base import Flight
from online_models.bidding.pacing.progress import Progress
from online_models.bidding.pacing.saving import packed, unpacked

# One win more or less says little of the multiplier.
_ENOUGH_WINS = 5.0
# But nobody waits for more than so many lengths: a price like no other must not stop the steps for days.
_MOST_LOOKS = 30
# So many times its length counts an interval in which nobody came.
_LONGEST = 3
# What a win costs is remembered over so many of them.
_MEMORY = 200
# Spending five times what was wanted and spending fifty times as much are answered alike.
_LARGEST_EXCESS = 4.0


class Interval(Struct):
    """The time since a pacer last stepped, and what should be spent in it.

    Attributes
    ----------
    from_spent
        What was spent when it began.
    from_ms
        When it was last looked at.
    wanted
        What should have been spent from its beginning until then.
    wanted_per_ms
        What should be spent from then on.
    looks
        How often it was looked at since it began.
    wins, cost_of_win
        How many there were so far, and what one costs.
    """

    progress: Progress
    from_spent: float = 0.0
    from_ms: int = 0
    wanted: float = 0.0
    wanted_per_ms: float = 0.0
    looks: int = 0
    wins: int = 0
    cost_of_win: float = 0.0

    def pay(self, at_ms: int, cost: float) -> None:
        """Count what an auction cost."""
        if self.progress.pay(at_ms, cost):
            self.wins += 1
            self.cost_of_win += (cost - self.cost_of_win) / min(self.wins, _MEMORY)

    def begin(self, every_ms: int) -> None:
        """Start an interval now."""
        self.from_spent, self.wanted, self.looks = self.progress.spent, 0.0, 0
        self._go_on(every_ms)

    def look(self, every_ms: int) -> bool:
        """Take note of the time that has passed; tell whether there is enough to judge by."""
        gone_ms = min(self.progress.now_ms - self.from_ms, _LONGEST * every_ms)
        self.wanted += self.wanted_per_ms * gone_ms
        self.looks += 1
        self._go_on(every_ms)
        return self._tells()

    def _go_on(self, every_ms: int) -> None:
        self.from_ms = self.progress.now_ms
        self.wanted_per_ms = self.progress.wanted(every_ms) / every_ms

    def _tells(self) -> bool:
        """Tell whether enough was wanted, or spent, to judge by: what many wins cost."""
        much = max(self.wanted, self.progress.spent - self.from_spent)
        return much >= _ENOUGH_WINS * self.cost_of_win or self.looks >= _MOST_LOOKS

    def error(self) -> float:
        """Return by how much too little was spent, as a part of what was wanted: at most 1, below 0 for too much."""
        spent = self.progress.spent - self.from_spent
        if self.wanted <= 0.0:
            return 0.0 if spent <= 0.0 else -_LARGEST_EXCESS
        return max(-_LARGEST_EXCESS, 1.0 - spent / self.wanted)


class Stepped(Struct):
    """A state of which the interval is a part."""

    interval: Interval


S = TypeVar("S", bound=Stepped)


class SteppedPacer(ABC, Generic[S]):
    """Steps with the first opportunity or cost after an interval's time, if the interval tells enough; else it goes on.

    After a long time without either, most of it does not count: where nobody came, nothing is to be learned.
    """

    kind: ClassVar[str]

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
        if not interval.progress.reach(at_ms) or interval.progress.now_ms < interval.from_ms + every_ms:
            return
        if interval.look(every_ms):
            self._step()
            interval.begin(every_ms)

    @abstractmethod
    def _step(self) -> None:
        """Change the pace after the interval that ends now."""

    def state(self) -> bytes:
        """Return all that is known."""
        return packed(self.kind, self._state)

    def restore(self, state: bytes) -> None:
        """Go on from what `state` gave; raises BadRecord."""
        self._state = unpacked(state, self.kind, type(self._state))
