"""What is kept of one batch when its messages are made, for metrics, `/status` and the dashboard."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping
from operator import attrgetter
from typing import NamedTuple

from online_models.step import Part, StepResult
from schemas.dead_letters import REASON_HEADER, SOURCE_HEADER, TIME_HEADER
from schemas.metrics import Accounting
from schemas.scores import Score

RECENT_SCORES = 20
# Reasons are read of so many scores of a part.
_READ_OF_PART = 4
_SHOWN_DEAD = 8
_objective = attrgetter("objective")
_objective_and_label = attrgetter("objective", "label")
_reason = attrgetter("reason")
_source_ts = attrgetter("source_ts")


class Refused(NamedTuple):
    """A dead letter without its value: why, where it came from, and the Kafka timestamp of its record."""

    reason: str
    source: str
    ts_ms: int


class Summary:
    """What is kept of a batch when its messages are made: for metrics, `/status` and the dashboard.

    Attributes
    ----------
    scores, bids, dead
        How many, by objective; by `bid` or the reason that none was made; by the reason of refusal.
    examples
        How many, by objective and label.
    score_sources_ms, bid_sources_ms
        Kafka timestamps of the events that were answered, epoch ms.
    recent, last_dead
        The last scores, and the last dead letters.
    reasons
        Objective and reasons of some scores.
    judged
        Label, score, and what the hand-written rule says, of triggers that have got their label; by objective.
    """

    def __init__(self) -> None:
        self.scores: Counter[str] = Counter()
        self.examples: Counter[tuple[str, bool]] = Counter()
        self.bids: Counter[str] = Counter()
        self.score_sources_ms: list[int] = []
        self.bid_sources_ms: list[int] = []
        self.recent: list[Score] = []
        self.reasons: list[tuple[str, list[tuple[str, float]]]] = []
        self.judged: dict[str, list[tuple[bool, float, float | None]]] = defaultdict(list)
        self.accounting: Accounting
        self.notes: Mapping[str, int] = {}
        self.dead: Counter[str] = Counter()
        self.last_dead: list[Refused] = []

    def take(self, part: Part) -> None:
        """Note what some events lead to."""
        scores = part.scores
        if scores:
            self.scores.update(map(_objective, scores))
            self.score_sources_ms.extend(map(_source_ts, scores))
            self.recent = [*self.recent, *scores[-RECENT_SCORES:]][-RECENT_SCORES:]
            for score in scores[:: 1 + len(scores) // _READ_OF_PART]:
                self.reasons.append((score.objective, score.reasons))
        if part.bids:
            self.bids.update(map(_reason, part.bids))
            self.bid_sources_ms.extend(map(_source_ts, part.bids))
        if part.examples:
            self.examples.update(map(_objective_and_label, part.examples))
        if part.rule_said:
            for example, rule in zip(part.examples, part.rule_said, strict=True):
                if example.use != "learn":
                    self.judged[example.objective].append((example.label, example.score, rule))

    def end(self, result: StepResult) -> None:
        """Note what is known of the batch as a whole."""
        self.accounting = result.accounting
        self.notes = result.notes
        for letter in result.dead_letters:
            self.dead[letter.header(REASON_HEADER)] += 1
        for letter in result.dead_letters[-_SHOWN_DEAD:]:
            reason, source, ts = map(letter.header, (REASON_HEADER, SOURCE_HEADER, TIME_HEADER))
            self.last_dead.append(Refused(reason, source, int(ts)))
