"""LearningCore: the one place that says judge first, then learn.

One core learns one objective from the `examples` topic. It is a state machine like the scoring core:
examples go in, publications of the model come out. Its version is the offset of the next example,
so a version names exactly the examples behind a model and can be rebuilt from them. Where the log is
exchanged for another, offsets begin anew and versions do not: they go on from where they were.

How far the log was *read* is kept beside it and is no part of a version: of an objective without
examples the model stays what it is, while the log is read on.

A crash of a scorer repeats examples; they carry the source record that released them, and those at or
below the one already learned from that partition are dropped. A crash of the learner itself starts
again at its checkpoint, which holds all of its state and the offset to read on from.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec
from msgspec import Struct

from online_models.calibration import Calibrator, raw_said_by
from online_models.contest import Contest, said_by
from online_models.distribution import Distributor
from online_models.estimators import Estimator
from online_models.evaluation import ProgressiveMetrics
from online_models.guard import refusal
from schemas.codec import UNDECODABLE, BadRecord, undecodable
from schemas.dead_letters import INVALID
from schemas.examples import Example
from schemas.metrics import Progress

# A worker that does not know the name of a lineage keeps the place in the log, but not the model. Versions up to 0.5
# would do that where the name was another one then, so they are not to read such a checkpoint: they end, and say so.
CHECKPOINT_FORMAT = 2
_FORMER_FORMAT = 1


class Publication(NamedTuple):
    """A version of the model on its way to the scorers."""

    version: int
    records: list[tuple[bytes, bytes]]


class Size(NamedTuple):
    """How many features a model knows, and how many it takes on at most: a full one never learns a name that is new."""

    features: int
    most: int


class Reading(Struct, array_like=True):
    """Which log of examples is read, and how far.

    Attributes
    ----------
    topic, partition
        The log; an empty topic: not told, as in the checkpoints of before.
    next_offset
        Everything below this offset was read, whichever objectives it was of.
    last_ms
        Kafka's timestamp (epoch ms) of the record before it, by which this log is known again; -1: not known.
    begun_at
        By how much a version is above its offset; 0 but in a log that has taken the place of another.
    """

    topic: str = ""
    partition: int = 0
    next_offset: int = 0
    last_ms: int = -1
    begun_at: int = 0


class Checkpoint(Struct, array_like=True):
    """All of a learner's state, in one blob."""

    format: int
    objective: str
    lineage: str
    next_offset: int
    since_publication: int
    learned: int
    refused: int
    sources: dict[str, tuple[int, int]]
    estimator: bytes
    distributor: int
    metrics: Any
    contest: Any = None
    calibration: Any = None
    reading: Reading | None = None
    start: float | None = None


_pack = msgspec.msgpack.Encoder().encode
_unpack = msgspec.msgpack.Decoder(Checkpoint).decode

# The offset and the counter of what was released last, where nothing was.
_NOTHING = (-1, -1)


def versions_begin_at(blob: bytes) -> int:
    """Return by how much versions are above offsets in the log that a checkpoint was read from; raises BadRecord."""
    reading = _read(blob).reading
    return reading.begun_at if reading else 0


def start_of(blob: bytes) -> float | None:
    """Return the rate of positives at which a checkpoint's model began; None: as up to 0.5; raises BadRecord."""
    return _read(blob).start


def _read(blob: bytes) -> Checkpoint:
    try:
        return _unpack(blob)
    except UNDECODABLE as error:
        raise BadRecord(INVALID, f"checkpoint: {undecodable(error)}") from None


def _source(name: str) -> tuple[str, int]:
    topic, _, partition = name.rpartition("-")
    return topic, int(partition)


class LearningCore:
    """Learns one objective, one example at a time.

    Parameters
    ----------
    objective
        Its name; of a challenger, the variant's.
    lineage
        Hash of the declarations of the features and of the model. A checkpoint of another lineage
        keeps its place in the log, but not its model.
    former_lineage
        Another name of it, under which an earlier version may have written the checkpoint; empty: none.
    start
        The rate of positives at which the estimator begins, to be kept with what it learns; None: not told.
    former_start
        Where the model of a checkpoint has begun that does not say it, as those of earlier versions.
    publish_examples
        A version is published after this many learned examples; the shell may ask for more.
    judging
        Keep `progress`; a replay, whose judges find out more, does without.
    variant
        Challenger that this model is; empty: the declared model.
    own_features
        It sees other features than the declared model, so examples from before it was there teach it nothing.
    contest
        Of the objective's challengers; kept by the learner of the declared model.
    calibrator
        Learns how often what this model says comes true; shared with the distributor, which publishes its curves.

    Attributes
    ----------
    next_offset
        Behind the last example of this objective that was taken in.
    reading
        The log, and how far it was read; the shell's to tell, by `has_read` and `go_on`.
    renamed
        What was restored has stood under another name, so a checkpoint is due although nothing was learned.
    """

    def __init__(
        self,
        objective: str,
        *,
        lineage: str,
        estimator: Estimator,
        distributor: Distributor,
        publish_examples: int,
        judging: bool = True,
        variant: str = "",
        own_features: bool = False,
        contest: Contest | None = None,
        calibrator: Calibrator | None = None,
        former_lineage: str = "",
        start: float | None = None,
        former_start: float | None = None,
    ) -> None:
        self.objective = objective
        self.variant = variant
        self.own_features = own_features
        self.contest = contest
        self.calibrator = calibrator
        self.lineage = lineage
        self._former_lineage = former_lineage
        self._start = start
        self._former_start = former_start
        self.next_offset = 0
        self.reading = Reading()
        self.learned = 0
        self.refused = 0
        self.repeated = 0
        self.renamed = False
        self._estimator = estimator
        # What learns from numbers that are no features knows best which of them it takes.
        self._refusal: Callable[[Mapping[str, float]], str | None] = getattr(estimator, "refusal", refusal)
        self._distributor = distributor
        self._metrics = ProgressiveMetrics()
        self._publish_examples = publish_examples
        self._judging = judging
        self._since_publication = 0
        self._sources: dict[tuple[str, int], tuple[int, int]] = {}

    @property
    def version(self) -> int:
        """The model's version, which never goes back: `next_offset`, and what was learned of logs before this one."""
        return self.reading.begun_at + self.next_offset

    @property
    def read_to(self) -> int:
        """Where to read on from: the offset below which nothing is of use any more."""
        return max(self.next_offset, self.reading.next_offset)

    @property
    def size(self) -> Size | None:
        """The model's size and its bound; None: it has no such bound."""
        model: Any = self._estimator
        most = getattr(model, "most_features", None)
        return None if most is None else Size(len(model), most)

    def has_read(self, next_offset: int, last_ms: int) -> None:
        """Note that the log was read up to an offset, and the timestamp of the record before it (epoch ms)."""
        if next_offset > self.reading.next_offset:
            self.reading.next_offset = next_offset
            self.reading.last_ms = last_ms

    def go_on(self, offset: int, *, topic: str, partition: int) -> None:
        """Read another log from an offset on, with all that was learned.

        Nothing is learned twice if it holds again what was there before: each source's last example is known.
        """
        begun_at = max(0, self.version - offset)
        self.next_offset = offset
        self.reading = Reading(topic, partition, offset, begun_at=begun_at)
        self._distributor.begun_at = begun_at

    def step(self, examples: Sequence[tuple[int, Example]]) -> list[Publication]:
        """Judge and learn examples in the order of the log.

        Parameters
        ----------
        examples
            (offset on `examples`, example) of this objective; those below `next_offset` are dropped.

        Returns
        -------
        list of Publication
            One for each time that `publish_examples` were learned; the places do not depend on how
            the examples were cut into chunks.
        """
        publications = []
        judged: list[tuple[bool, float]] = []
        contest, calibrator, variant = self.contest, self.calibrator, self.variant
        for example in self._fresh(examples):
            x = self._features_of(example)
            taught = x is not None
            if example.use != "learn":
                if contest is not None:
                    contest.update(example)
                # The declared model's figures are those of what was served, whoever that was.
                score = said_by(variant, example) if variant else example.score
                if score is not None:
                    judged.append((example.label, score))
                if calibrator is not None:
                    calibrator.update(example, self._raw_of(example, x, calibrator))
                    taught = True
            if x is not None:
                self._estimator.learn_one(x, example.label)
                self.learned += 1
            self._since_publication += taught
            if self._since_publication >= self._publish_examples:
                publications.append(self._publish())
        if self._judging:
            self._metrics.update_many(judged)
        return publications

    def _fresh(self, examples: Iterable[tuple[int, Example]]) -> Iterator[Example]:
        """Go on in the log, and pass over what is known: offsets of before, and what a crash has repeated."""
        sources = self._sources
        for offset, example in examples:
            if offset < self.next_offset:
                continue
            self.next_offset = offset + 1
            source = example.topic, example.partition
            released = example.offset, example.seq
            if released <= sources.get(source, _NOTHING):
                self.repeated += 1
                continue
            sources[source] = released
            yield example

    def _features_of(self, example: Example) -> dict[str, float] | None:
        """Return what the model is to learn; None: nothing."""
        if example.use == "judge":
            return None
        x = example.features_of.get(self.variant) if self.own_features else example.features
        if x is not None and self._refusal(x) is not None:
            self.refused += 1
            return None
        return x

    def _raw_of(self, example: Example, x: dict[str, float] | None, calibrator: Calibrator) -> float | None:
        """Return what the model says of a trigger before it learns its label; None: nothing is known of that."""
        if x is None or calibrator.by_said:
            return raw_said_by(self.variant, example)
        return self._estimator.predict_proba_one(x)[True]

    def publish_pending(self) -> Publication | None:
        """Publish what was learned since the last publication; None if that is nothing."""
        return self._publish() if self._since_publication else None

    def _publish(self) -> Publication:
        self._since_publication = 0
        return Publication(self.version, self._distributor.publish(self.version))

    def progress(self) -> Progress | None:
        """Return the progressive validation of the scores as they were published; None if nothing is judged."""
        if not self._judging:
            return None
        metrics = self._metrics
        return Progress(
            objective=self.objective,
            version=self.version,
            n=metrics.n,
            positives=metrics.positives,
            learned=self.learned,
            refused=self.refused,
            log_loss=metrics.log_loss,
            base_log_loss=metrics.base_log_loss,
            auc=metrics.auc,
            mean_score=metrics.mean_score,
        )

    def checkpoint(self) -> bytes:
        """Return all of the state; a core restored from it goes on bit for bit the same."""
        return _pack(
            Checkpoint(
                CHECKPOINT_FORMAT if self._former_lineage not in ("", self.lineage) else _FORMER_FORMAT,
                self.objective,
                self.lineage,
                self.next_offset,
                self._since_publication,
                self.learned,
                self.refused,
                {f"{topic}-{partition}": released for (topic, partition), released in self._sources.items()},
                self._estimator.to_bytes(),
                self._distributor.state(),
                self._metrics.state(),
                self.contest.state() if self.contest else None,
                self.calibrator.state() if self.calibrator else None,
                self.reading,
                self._start,
            )
        )

    def restore(self, blob: bytes) -> bool:
        """Take up a checkpoint.

        Returns
        -------
        bool
            False if it is of another lineage: the place in the log is taken over, the model is new.

        Raises
        ------
        BadRecord
            The blob is no checkpoint of this objective.
        """
        saved = _read(blob)
        if saved.format not in (_FORMER_FORMAT, CHECKPOINT_FORMAT) or saved.objective != self.objective:
            raise BadRecord(
                INVALID,
                f"checkpoint: expected format {_FORMER_FORMAT} or {CHECKPOINT_FORMAT} of objective {self.objective}, "
                f"got {saved.format} of {saved.objective}",
            )
        self.next_offset = saved.next_offset
        self.reading = saved.reading or Reading()
        self._distributor.begun_at = self.reading.begun_at
        self._sources = {_source(name): released for name, released in saved.sources.items()}
        if self.contest is not None and saved.contest is not None:
            self.renamed = self.contest.restore(saved.contest)
        if saved.lineage not in (self.lineage, self._former_lineage):
            return False
        self._start = self._former_start if saved.start is None else saved.start
        self._since_publication = saved.since_publication
        self.learned = saved.learned
        self.refused = saved.refused
        self._estimator.restore(saved.estimator)
        self._distributor.restore(saved.distributor)
        self._metrics.restore(saved.metrics)
        if self.calibrator is not None and saved.calibration is not None:
            self.calibrator.restore(saved.calibration)
        if saved.lineage != self.lineage:
            self.renamed = True
            if saved.distributor:  # scorers that start later are to find it by this name, even if no example comes
                self._since_publication = max(1, self._since_publication)
        return True
