"""What a step of the scoring core leads to, and who may look on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from online_models.bidding.allowances import Place, Want
from schemas.bids import Bid
from schemas.dead_letters import DeadLetter
from schemas.events import EventBase
from schemas.examples import Example
from schemas.metrics import Accounting
from schemas.scores import Score
from schemas.user_state import Allowance, UserState


class Part(NamedTuple):
    """What some events of a batch lead to, in their order; see `StepResult`."""

    scores: list[Score]
    examples: list[Example]
    rule_said: Sequence[float | None] = ()
    bids: Sequence[Bid] = ()


class StepResult(NamedTuple):
    """What a batch leads to; nothing of it has been published or stored yet.

    Where a batch is processed in parts, they have its scores, examples, bids, and what rules said; here is the rest.
    """

    scores: list[Score]
    examples: list[Example]
    accounting: Accounting
    changed_users: dict[str, UserState]
    changed_timers: dict[str, int | None]
    notes: Counter[str]
    # What the hand-written rule of its objective says of each example; see `Collected.rule_said`.
    rule_said: Sequence[float | None] = ()
    dead_letters: Sequence[DeadLetter] = ()
    bids: Sequence[Bid] = ()
    # What campaigns ask the ledger for, and the books that changed; see `online_models.bidding.allowances`.
    wants: Mapping[Place, Want] = {}
    books: Sequence[Allowance] = ()
    # Whether a trigger of this very batch has got its label.
    labels_its_own: bool = False


class Collected:
    """Collects what events lead to, and where in the log it stands.

    Parameters
    ----------
    users
        States at hand, as for `ScoringCore.step`.
    scores, examples, bids
        Lists to append to; partitions that take turns can share them.

    Attributes
    ----------
    clock_ms
        When windows are closed: the time of the event that ends them, or its record's Kafka timestamp where that is
        earlier, epoch ms. No visitor's clock moves it, while stream time follows one that is fast.
    rule_said
        For each example, what its objective's `rule` says of the trigger, None without one; empty unless rules are
        to be asked.
    first_offset
        Of the batch: triggers from here on are its own.
    labels_its_own
        Whether one of them has got its label.
    """

    def __init__(
        self,
        users: dict[str, UserState],
        *,
        scores: list[Score] | None = None,
        examples: list[Example] | None = None,
        bids: list[Bid] | None = None,
    ) -> None:
        self.users = users
        self.scores = [] if scores is None else scores
        self.examples = [] if examples is None else examples
        self.bids = [] if bids is None else bids
        self.changed: dict[str, UserState] = {}
        self.ignored: Counter[str] = Counter()
        self.notes: Counter[str] = Counter()
        self.rule_said: list[float | None] = []
        self.scored = 0
        self.offset = 0
        self.seq = 0
        self.stream_time_ms = 0
        self.clock_ms = 0
        self.first_offset = 0
        self.labels_its_own = False
        self._counts = 0, 0, 0

    def hand_over(self) -> Part:
        """Return what has come since the last time, and keep no more of it than how much it was."""
        self._counts = self.counts()
        part = Part(self.scores, self.examples, self.rule_said, self.bids)
        self.scores, self.examples, self.rule_said, self.bids = [], [], [], []
        return part

    def counts(self) -> tuple[int, int, int]:
        """Return how many scores, examples and bids there were, with those handed over."""
        scores, examples, bids = self._counts
        return scores + len(self.scores), examples + len(self.examples), bids + len(self.bids)


# The score that the visitor would get at this moment for another event, such as the same impression of another item.
Probe = Callable[[EventBase], float]


class Observer(Protocol):
    """Sees each score as it is made; a replay's judges and what-ifs. Live has none."""

    def scored(self, score: Score, event: EventBase, values: Sequence[Any], probe: Probe) -> None:
        """Take note of a score.

        Parameters
        ----------
        values
            Compact base feature values at the trigger, see `FeatureSet.extract`.
        probe
            To be called at once or never: the visitor's features go on changing.
        """
