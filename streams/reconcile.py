"""Accounts for every event that was fed, from what the topics hold afterwards.

Independent witnesses: `scores` and `bids` (which events were answered, and what was published), the dead
letters (which were refused, and why), and the worker's accounting on `metrics` (which were passed
over, by rule). The labels come from `examples`; quality is judged on the scores as published.
"""

from __future__ import annotations

from array import array
from collections import Counter
from sys import intern
from typing import Any

import numpy as np

from online_models.evaluation import base_rate_log_loss, log_loss, roc_auc
from schemas.bids import Bid
from schemas.examples import Example
from schemas.metrics import Accounting
from schemas.scores import Score

Ranges = dict[int, tuple[int, int]]


class AccountingBook:
    """The accounting of one topic's partitions, with what a crash has repeated taken out."""

    def __init__(self, ranges: Ranges) -> None:
        self._ranges = ranges
        self._chunks: dict[int, list[Accounting]] = {partition: [] for partition in ranges}

    def add(self, chunk: Accounting) -> None:
        """Take in a chunk; a later message replaces those that start at or behind it."""
        first, behind = self._ranges.get(chunk.partition, (0, 0))
        if chunk.first_offset < first or chunk.first_offset >= behind:
            return
        chunks = self._chunks[chunk.partition]
        while chunks and chunks[-1].first_offset >= chunk.first_offset:
            chunks.pop()
        chunks.append(chunk)

    @property
    def covered(self) -> int:
        """Events of the ranges that the worker has finished with."""
        return sum(
            min(chunks[-1].next_offset, self._ranges[partition][1]) - self._ranges[partition][0]
            for partition, chunks in self._chunks.items()
            if chunks
        )

    @property
    def total(self) -> int:
        """Offsets that the ranges span."""
        return sum(behind - first for first, behind in self._ranges.values())

    def sums(self) -> tuple[Counter[str], Counter[str]]:
        """Return (sum of the counts, events passed over by rule)."""
        counts: Counter[str] = Counter()
        ignored: Counter[str] = Counter()
        for chunks in self._chunks.values():
            for chunk in chunks:
                counts.update(scored=chunk.scored, dead=chunk.dead, scores=chunk.scores, examples=chunk.examples)
                counts["bids"] += chunk.bids
                ignored.update(chunk.ignored)
        return counts, ignored


class Reconciliation:
    """Joins what was fed with what came out.

    Parameters
    ----------
    ranges
        Partition to (first, behind the last) offset of the events that were fed.

    Attributes
    ----------
    unknown_scores
        Labels of events that were fed, whose score was not found; they are not judged.
    """

    def __init__(self, topic: str, ranges: Ranges) -> None:
        self.topic = topic
        self.accounting = AccountingBook(ranges)
        self._ranges = ranges
        # By partition, offset and the rest of the score_id, which is the objective, with `#` and the place of an item
        # that a ranking shows, or the ranking itself.
        self._scores: dict[tuple[int, int, str], float] = {}
        # Of an answer to a rank request, by partition, offset and objective: what each place got, first place first.
        self._places: dict[tuple[int, int, str], array[float]] = {}
        self._bids: set[tuple[int, int]] = set()
        self._dead: dict[tuple[int, int], str] = {}
        self._latencies = array("d")
        self._judged: dict[str, tuple[list[bool], list[float]]] = {}
        self._judged_ids: set[tuple[int, int, int]] = set()
        self.duplicate_scores = 0
        self.duplicate_bids = 0
        self.unknown_scores = 0
        self.unreadable = 0
        self.examples_found = 0

    def _is_ours(self, partition: int, offset: int) -> bool:
        first, behind = self._ranges.get(partition, (0, 0))
        return first <= offset < behind

    def add_score(self, score: Score, record_ts_ms: int) -> None:
        """Take in a message of `scores`; `record_ts_ms` is its Kafka timestamp."""
        if score.topic != self.topic or not self._is_ours(score.partition, score.offset):
            return
        key = (score.partition, score.offset, intern(score.score_id.rpartition(":")[2]))
        if key in self._scores:
            self.duplicate_scores += 1
            return
        self._scores[key] = score.score
        if score.ranked:  # places of its objective have no message of their own
            place_key = (score.partition, score.offset, intern(score.objective))
            self._places[place_key] = array("d", [one.score for one in score.ranked])
        self._latencies.append(record_ts_ms - score.source_ts)

    def add_bid(self, bid: Bid) -> None:
        """Take in a message of `bids`."""
        place = (bid.partition, bid.offset)
        if bid.topic != self.topic or not self._is_ours(*place):
            return
        self.duplicate_bids += place in self._bids
        self._bids.add(place)

    def add_dead(self, partition: int, offset: int, reason: str) -> None:
        """Take in a dead letter by the place its record had."""
        if self._is_ours(partition, offset):
            self._dead[partition, offset] = reason

    def add_example(self, example: Example) -> None:
        """Take in a labelled trigger; only those whose score was published in the ranges are judged."""
        released = (example.partition, example.offset, example.seq)
        if example.topic == self.topic and self._is_ours(example.partition, example.offset):
            self.examples_found += 1
        if example.topic != self.topic or example.use == "learn" or released in self._judged_ids:
            return
        where, _, name = example.score_id.rpartition(":")
        trigger = int(where.rpartition("-")[2])
        if not self._is_ours(example.partition, trigger):
            return
        published = self._published(example.partition, trigger, name)
        if published is None:
            self.unknown_scores += 1
            return
        self._judged_ids.add(released)
        labels, scores = self._judged.setdefault(example.objective, ([], []))
        labels.append(example.label)
        scores.append(published)

    def _published(self, partition: int, offset: int, name: str) -> float | None:
        objective, _, number = name.partition("#")
        places = self._places.get((partition, offset, objective)) if number else None
        if places is None:
            return self._scores.get((partition, offset, name))
        place = int(number)
        return places[place - 1] if 1 <= place <= len(places) else None

    @property
    def scores_found(self) -> int:
        """Distinct scores found so far."""
        return len(self._scores)

    @property
    def bids_found(self) -> int:
        """Distinct bid requests whose answer was found so far."""
        return len(self._bids)

    @property
    def dead_found(self) -> int:
        """Dead letters found so far."""
        return len(self._dead)

    def report(self, *, events: int, seconds: float) -> dict[str, Any]:
        """Return the result, ready for JSON.

        Parameters
        ----------
        events
            Records that were produced.
        seconds
            From the first record's production until the last one's state was stored.
        """
        _, ignored = self.accounting.sums()
        scored = len(self._bids.union((partition, offset) for partition, offset, _ in self._scores))
        passed_over = sum(ignored.values())
        return {
            "events": events,
            "scored": scored,
            "ignored": passed_over,
            "dead": len(self._dead),
            "unaccounted": events - scored - passed_over - len(self._dead),
            "objectives": {name: _quality(*judged) for name, judged in sorted(self._judged.items())},
            "events_per_s": round(events / seconds, 1) if seconds > 0 else None,
            "latency_ms": self._latency(),
            "ignored_by_rule": dict(sorted(ignored.items())),
            "dead_by_reason": dict(sorted(Counter(self._dead.values()).items())),
            "duplicate_scores": self.duplicate_scores,
            "scores": len(self._scores),
            "bids": len(self._bids),
            "duplicate_bids": self.duplicate_bids,
            "unknown_scores": self.unknown_scores,
        }

    def _latency(self) -> dict[str, float] | None:
        if not self._latencies:
            return None
        p50, p99 = np.percentile(np.frombuffer(self._latencies), (50, 99))
        return {"p50": round(float(p50), 1), "p99": round(float(p99), 1)}


def _quality(labels: list[bool], scores: list[float]) -> dict[str, Any]:
    return {
        "n": len(labels),
        "positives": sum(labels),
        "auc": roc_auc(labels, scores) if 0 < sum(labels) < len(labels) else None,
        "log_loss": log_loss(labels, scores),
        "base_log_loss": base_rate_log_loss(labels),
    }
