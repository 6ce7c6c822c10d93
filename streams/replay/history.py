"""Models as they were: any version of an objective's model, rebuilt from the examples behind it.

A version is an offset of `examples`: the model that has learned all before it. (Where the log has taken the place of
another, the offset is so much below the version as the live checkpoint says.) So the live examples are
copied to a file on disk, and a learner is led from version to version. Versions mostly grow; for those
that do not (partitions of several workers, whose models arrive at different moments) there are as many
learners as stand apart, and snapshots to begin from again.
"""

from __future__ import annotations

import sqlite3
from bisect import bisect_right
from collections.abc import Callable, Iterator
from pathlib import Path

from online_models.calibration import Calibrator
from online_models.closed_loop import OwnReplica
from online_models.distribution import Records
from online_models.estimators import Estimator
from online_models.learning import LearningCore, start_of, versions_begin_at
from online_models.objectives import Objective, objective_of, variant_of
from schemas.codec import BadRecord, decode_example
from schemas.examples import Example
from streams.settings import Settings

# A learner that goes back learns again at most this many examples: about a second.
_SNAPSHOT_EVERY = 50_000
# Learners of one objective that may stand at different versions.
_MOST_LEARNERS = 4
_LEARNED_AT_ONCE = 5_000


class VersionLost(ValueError):
    """A version cannot be rebuilt because examples before it are no longer kept; the message says which."""


class ExampleSpool:
    """The examples of a topic on disk, by objective and offset."""

    def __init__(self, path: Path | None) -> None:
        self._db = sqlite3.connect("" if path is None else path, isolation_level=None)
        self._db.executescript(
            "PRAGMA synchronous = OFF; PRAGMA journal_mode = OFF;"
            "CREATE TABLE examples (objective TEXT, position INTEGER, value BLOB, PRIMARY KEY (objective, position))"
            " WITHOUT ROWID"
        )
        self.unreadable = 0

    def put(
        self, records: list[tuple[int, bytes | None]], *, belongs: Callable[[str], bool] = lambda objective: True
    ) -> list[Example]:
        """Keep records of the topic, as (offset, value); return those that can be read.

        Parameters
        ----------
        belongs
            Whether an objective's examples are learned from the partition that these stand in.
        """
        rows, read = [], []
        for offset, value in records:
            try:
                example = decode_example(value or b"")
            except BadRecord:  # the live learner passes over it as well
                self.unreadable += 1
                continue
            if not belongs(example.objective):
                continue
            read.append(example)
            rows.append((example.objective, offset, value))
        self._db.execute("BEGIN")
        self._db.executemany("INSERT OR IGNORE INTO examples VALUES (?, ?, ?)", rows)
        self._db.execute("COMMIT")
        return read

    def between(self, objective: str, start: int, end: int) -> Iterator[tuple[int, Example]]:
        """Yield (offset, example) from `start` up to and not including `end`."""
        rows = self._db.execute(
            "SELECT position, value FROM examples WHERE objective = ? AND position >= ? AND position < ? "
            "ORDER BY position",
            (objective, start, end),
        )
        for offset, value in rows:
            yield offset, decode_example(value)

    def close(self) -> None:
        """Close the file."""
        self._db.close()


class _Nowhere:
    """A distributor for a learner that publishes nothing."""

    begun_at = 0

    def publish(self, version: int) -> Records:
        return []

    def state(self) -> int:
        return 0

    def restore(self, state: int) -> None:
        """Nothing to take up."""


class ModelHistory:
    """The versions of the model of one variant of an objective.

    Parameters
    ----------
    oldest
        Offset of the oldest example kept.
    checkpoint
        A checkpoint of the live learner, which reaches what the oldest examples no longer do, and tells where the model
        began and whether they are all that was learned: a learner that has come from another log brought a model with
        it.

    Attributes
    ----------
    learned
        Examples learned so far, those learned again included.
    calibrator
        Of the model that `model_at` has returned last, and valid as long.
    """

    def __init__(
        self,
        objective: Objective,
        settings: Settings,
        examples: ExampleSpool,
        *,
        oldest: int = 0,
        checkpoint: bytes | None = None,
    ) -> None:
        self.objective = objective
        self.learned = 0
        self.calibrator: Calibrator | None = None
        self._trained_on = objective_of(objective.name)
        self._variant = variant_of(objective.name)
        self._settings = settings
        self._examples = examples
        self._oldest = oldest
        self._begun_at = versions_begin_at(checkpoint) if checkpoint is not None else 0
        start = start_of(checkpoint) if checkpoint is not None else objective.begins_at
        self._start = settings.former_start(objective) if start is None else start
        whole = oldest == 0 and not self._begun_at
        self._snapshots: list[tuple[int, bytes | None]] = [(0, None)] if whole else []
        if checkpoint is not None and not whole:
            _, estimator, reached = self._restored(checkpoint)
            del estimator
            self._snapshots.append((reached, checkpoint))
        self._learners: list[tuple[LearningCore, Estimator]] = []

    def model_at(self, version: int) -> Estimator:
        """Return the model that has learned all examples before `version`; valid until the next call.

        Raises
        ------
        VersionLost
        """
        learner, model = self._nearest(version - self._begun_at)
        while learner.version < version:
            end = min(version - self._begun_at, self._next_snapshot(learner.next_offset))
            self._learn(learner, end)
            if end % _SNAPSHOT_EVERY == 0 and all(at != end for at, _ in self._snapshots):
                self._snapshots.append((end, learner.checkpoint()))
                self._snapshots.sort(key=lambda one: one[0])
        self.calibrator = learner.calibrator
        return model

    def _learn(self, learner: LearningCore, end: int) -> None:
        batch: list[tuple[int, Example]] = []
        for one in self._examples.between(self._trained_on, learner.next_offset, end):
            batch.append(one)
            if len(batch) == _LEARNED_AT_ONCE:
                self.learned += len(batch)
                learner.step(batch)
                batch = []
        self.learned += len(batch)
        learner.step(batch)
        learner.next_offset = end

    @staticmethod
    def _next_snapshot(offset: int) -> int:
        return (offset // _SNAPSHOT_EVERY + 1) * _SNAPSHOT_EVERY

    def _nearest(self, offset: int) -> tuple[LearningCore, Estimator]:
        """Return the learner that stands at `offset` or nearest before it."""
        places = [at for at, _ in self._snapshots]
        before = bisect_right(places, offset) - 1
        behind = [one for one in self._learners if one[0].next_offset <= offset]
        if before < 0 and not behind:
            begun_at = self._begun_at
            raise VersionLost(
                f"Version {begun_at + offset} of {self.objective.name} cannot be rebuilt: "
                + (f"the log of examples was exchanged at version {begun_at}, " if begun_at else "")
                + f"the oldest example kept is {self._oldest}"
                + (f", the checkpoint is at {begun_at + places[0]}" if places else ", there is no checkpoint")
            )
        best = max(behind, key=lambda one: one[0].next_offset, default=None)
        if best is not None and (before < 0 or best[0].next_offset >= places[before]):
            self._learners.remove(best)
        else:
            learner, model, _ = self._restored(self._snapshots[before][1])
            best = (learner, model)
        self._learners.append(best)  # in the order of their last use
        del self._learners[:-_MOST_LEARNERS]
        return best

    def _restored(self, blob: bytes | None) -> tuple[LearningCore, Estimator, int]:
        settings, objective = self._settings, self.objective
        model = settings.new_model(objective, start=self._start)
        learner = LearningCore(
            objective.name,
            lineage=settings.lineage(objective),
            estimator=model,
            distributor=_Nowhere(),
            publish_examples=1 << 62,
            judging=False,
            variant=self._variant,
            own_features=settings.has_own_features(objective),
            calibrator=objective.new_calibrator(),
            former_lineage=settings.former_lineage(objective),
            start=self._start,
            former_start=self._start,
        )
        if blob is not None and not learner.restore(blob):
            raise VersionLost(
                f"The checkpoint of {objective.name} is of another declaration of its features or its model; "
                "take the configuration that was live"
            )
        return learner, model, learner.next_offset


class PastReplica(OwnReplica):
    """The model of an objective at a version that is chosen from outside."""

    def __init__(self, history: ModelHistory, settings: Settings) -> None:
        objective = history.objective
        super().__init__(settings.new_model(objective), prior=objective.prior)
        self._history = history
        self._untaught = self.model

    def go_to(self, version: int) -> None:
        """Become the model of a version; raises VersionLost."""
        self.model = self._history.model_at(version) if version else self._untaught
        self.calibrator = self._history.calibrator
        self.version = version
