"""A batch, processed in parts: what some events lead to is handed over before the next ones are processed.

Whoever makes messages of a part at once finds it in the processor's cache, and its memory serves the next one. And
where stream time jumps, the windows of very many visitors close with one event; the shell can breathe in between.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from online_models.records import DecodedBatch
from online_models.step import Collected, Part, StepResult
from schemas.metrics import Accounting

if TYPE_CHECKING:
    from online_models.scoring import ScoringCore

TOMBSTONE, FEATURES_CHANGED = "tombstone", "features_changed"

_EVENTS = 50
# Behind a gap of so long in event time many can have left; so many visitors at a time.
_GAP_MS, _VISITORS = 5_000, 500


def in_parts(core: ScoringCore, batch: DecodedBatch, out: Collected) -> Iterator[Part]:
    """Process a batch as `ScoringCore.step` does, part by part; `result_of` then tells the rest.

    The events are taken out of the batch.
    """
    out.first_offset = batch.first_offset
    events = batch.events
    while events:
        for offset, source_ts, event in events[:_EVENTS]:
            seq, ts = 0, event.ts
            if ts - core.stream_time_ms > _GAP_MS:  # type: ignore[operator]  # decoded: int
                while core.close_some(offset, ts, source_ts, out, _VISITORS):  # type: ignore[arg-type]
                    yield out.hand_over()
                seq = out.seq
            core.process(offset, source_ts, event, out, seq)
        del events[:_EVENTS]
        yield out.hand_over()


def result_of(core: ScoringCore, batch: DecodedBatch, out: Collected) -> StepResult:
    """Return what a batch that was processed leads to, but for what was handed over; to be asked once."""
    core.tidy()
    _note_dropped(core, out)
    if batch.tombstones:
        out.ignored[TOMBSTONE] = batch.tombstones
    scores, examples, bids = out.counts()
    accounting = Accounting(
        topic=core.topic,
        partition=core.partition,
        first_offset=batch.first_offset,
        next_offset=batch.next_offset,
        events=batch.records,
        scored=out.scored,
        dead=len(batch.dead_letters),
        ignored=dict(out.ignored),
        scores=scores,
        examples=examples,
        stream_time_ms=core.stream_time_ms,
        bids=bids,
    )
    return StepResult(
        out.scores,
        out.examples,
        accounting,
        out.changed,
        core.take_timers(),
        out.notes,
        out.rule_said,
        batch.dead_letters,
        out.bids,
        core.desk.allowances.take_wants() if core.desk else {},
        core.desk.allowances.take_changed() if core.desk else (),
        out.labels_its_own,
    )


def _note_dropped(core: ScoringCore, out: Collected) -> None:
    """Have visitors stored without the triggers that had to go: else each time they are loaded these go once more."""
    for user_id, count in core.dropped.items():
        out.notes[FEATURES_CHANGED] += count
        if user_id in out.users:
            out.changed[user_id] = out.users[user_id]
    core.dropped.clear()
