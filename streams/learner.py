"""The learner of a partition of `examples`: all objectives whose examples live there.

A checkpoint holds the offset to read on from, so acknowledgements on this topic only serve lag tools.
Without a checkpoint the learner starts at the oldest example that is kept. What is done when the log is not
the one that a checkpoint was read from stands in `streams.learner_place`.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial

from online_models.learning import LearningCore, Publication
from online_models.objectives import Objective
from online_models.records import Record
from online_models.serving import Served
from schemas.codec import BadRecord, decode_example
from schemas.examples import Example
from schemas.metrics import Contest as ContestMetric
from schemas.metrics import Progress
from streams.catch_up import CatchUp
from streams.example_log import ExampleLog
from streams.failpoints import failpoint
from streams.freshness import FAR_BEHIND
from streams.learner_place import Place
from streams.logs import log_event
from streams.model_sizes import ModelSizes
from streams.new_models import new_cores
from streams.output import partition_for_key
from streams.publish import Publisher
from streams.runner import Attempt
from streams.settings import Settings
from streams.stores import StateStore
from streams.telemetry import Telemetry

logger = logging.getLogger("streamscore.learner")

# Examples that are decoded before they are learned: few enough for the processor's cache, in which their memory is used
# again and again. With 500 at once an example costs an eighth more.
_AT_ONCE = 25
# The checkpoint of a model without examples is written when it is so many records behind what was read: reading them
# again takes half a second.
_READ_AGAIN = 50_000
# A model that is further behind the others catches up by itself, see `streams.catch_up`; the others wait for what is
# nearer, which costs them some seconds, and is where crashes leave models.
_FAR_BEHIND = FAR_BEHIND


def objectives_of(partition: int, partitions: int, objectives: Sequence[Objective]) -> list[Objective]:
    """Return the objectives whose examples are keyed to this partition of `examples`."""
    return [one for one in objectives if partition_for_key(one.name.encode(), partitions) == partition]


def checkpoint_name(settings: Settings, objective: str) -> str:
    """Name the checkpoint in the store of an objective's model, or of a challenger's."""
    return f"learner:{settings.topics.examples.name}:{objective}"


class LearnerSession:
    """Learns the examples of one partition while this process owns it.

    Parameters
    ----------
    served, knows_served
        What is served of each objective, and whether all of `models` was read that tells it.
    """

    def __init__(
        self,
        cores: Mapping[str, LearningCore],
        tokens: Mapping[str, str | None],
        *,
        settings: Settings,
        store: StateStore,
        publisher: Publisher,
        telemetry: Telemetry,
        attempt: Attempt,
        served: Mapping[str, Served],
        knows_served: Callable[[], bool],
    ) -> None:
        self._cores = dict(cores)
        self._served = served
        self._knows_served = knows_served
        self._learners_of: dict[str, list[str]] = {
            one.name: [variant.name for variant in one.variants.values()]
            for one in settings.learned
            if one.name in cores
        }
        self._tokens = dict(tokens)
        self._settings = settings
        self._store = store
        self._publisher = publisher
        self._telemetry = telemetry
        self._attempt = attempt
        self._busy = asyncio.Lock()
        # The first checkpoint is written at once: it tells on which partition examples are that nobody has read.
        # So is another name: a model without examples would keep the former one, and be lost with the next `prior`.
        self._unsaved = {name for name, token in tokens.items() if token is None or cores[name].renamed}
        self._saved_to = {name: core.read_to for name, core in self._cores.items()}
        self._position: int | None = None
        self._behind: frozenset[str] = frozenset()
        self._behind_offset = 0
        self._catch_up: CatchUp | None = None
        self._half_told = False
        self._sizes = ModelSizes(telemetry)
        for core in self._cores.values():
            self._sizes.show(core)
        self.unreadable = 0

    @property
    def names(self) -> Collection[str]:
        """What it learns."""
        return self._cores.keys()

    @property
    def next_offset(self) -> int:
        """Where to read on from: the earliest place to which the log was read for one of the models not `behind`."""
        return min((core.read_to for name, core in self._cores.items() if name not in self._behind), default=0)

    @property
    def _reached(self) -> int:
        return self.next_offset if self._position is None else self._position

    async def run_batch(self, records: Sequence[Record]) -> None:
        """Judge and learn a chunk, and publish the versions that fall due within it."""
        async with self._busy:
            if records[0].offset < self._reached:
                self._begin_anew(records[0].offset, self._reached, self._cores)
            self._position = records[-1].offset + 1
            readers = self._cores.keys() - self._behind
            await self._learn(records, self._only(readers) if self._behind else self._learners_of, readers)

    async def learn_rest(self, names: Collection[str], records: Sequence[Record]) -> None:
        """Learn records of another partition, for those models that were on it until now."""
        async with self._busy:
            await self._learn(records, self._only(names), names)

    def _only(self, names: Collection[str]) -> dict[str, list[str]]:
        return {one: [name for name in learners if name in names] for one, learners in self._learners_of.items()}

    # ---------------------------------------------------------------- models far behind, see `streams.catch_up`

    @property
    def behind(self) -> Collection[str]:
        """The models for which `run_batch` learns nothing, since they have not come to its place in the log."""
        return self._behind

    @property
    def behind_offset(self) -> int:
        """Where to read on from for them."""
        return self._behind_offset

    def part(self, partition: int, log: ExampleLog) -> None:
        """Set those models apart that are far behind; called before anything is read of the partition."""
        front = max((core.read_to for core in self._cores.values()), default=0)
        self._behind = frozenset(name for name, core in self._cores.items() if front - core.read_to > _FAR_BEHIND)
        self._behind_offset = min((self._cores[name].read_to for name in self._behind), default=0)
        if self._behind:
            self._catch_up = CatchUp(self, partition, log=log, attempt=self._attempt, busy=self._busy)

    def catch_up(self, *, on_fenced: Callable[[], None], on_failure: Callable[[BaseException], None]) -> None:
        """Begin to read for those that are behind, until they have caught up or `close` is called; see `CatchUp`."""
        if self._catch_up is not None:
            self._catch_up.start(on_fenced=on_fenced, on_failure=on_failure)

    async def close(self) -> None:
        """Let nothing be learned any more that is not handed over; what was learned is kept by `save`."""
        if self._catch_up is not None:
            await self._catch_up.stop()

    async def learn_behind(self, position: int, records: Sequence[Record]) -> bool:
        """Have them learn what was read from a position on, see `catch_up.Learning`; the lock is the caller's."""
        if position != self._behind_offset:  # the log was exchanged meanwhile
            return False
        if records[0].offset < position:
            self._begin_anew(records[0].offset, position, self._behind)
        learners_of = self._only(self._behind)
        keys = {one.encode() for one, learners in learners_of.items() if learners}
        for name in self._behind:
            self._cores[name].has_read(records[-1].offset + 1, records[-1].timestamp)
        theirs = [one for one in records if one.key is None or one.key in keys]
        if theirs:
            await self._learn(theirs, learners_of, self._behind)
        self._behind_offset = records[-1].offset + 1
        if self._behind_offset >= self._reached:
            self._behind = frozenset()
        return bool(self._behind)

    async def _learn(
        self, records: Sequence[Record], learners_of: Mapping[str, Sequence[str]], readers: Collection[str]
    ) -> None:
        before = {name: (core.learned, core.refused) for name, core in self._cores.items()}
        self._half_told = True
        for name, publications in self._learned_from(records, learners_of, readers).items():
            core = self._cores[name]
            learned, refused = before[name]
            progress = core.progress()
            self._telemetry.learned_done(name, progress, learned=core.learned - learned, refused=core.refused - refused)
            self._sizes.show(core)
            await self._publish(core, publications, progress)
            await self._decide(core)
        self._half_told = False

    def _begin_anew(self, offset: int, position: int, names: Collection[str]) -> None:
        """Have models go on in a log that begins, under our eyes, below what was read of it."""
        log_event(
            logger,
            logging.WARNING,
            "the log of examples was truncated or created anew; it is read from its beginning, and the models keep "
            "what they have learned",
            read_to=position,
            goes_on_at=offset,
        )
        for core in map(self._cores.__getitem__, names):
            if core.read_to > offset:
                self.exchange(core.objective, offset, topic=core.reading.topic, partition=core.reading.partition)
        self._behind_offset = min((self._cores[name].read_to for name in self._behind), default=0)

    def exchange(self, name: str, offset: int, *, topic: str, partition: int) -> None:
        """Have a model go on in another log, see `LearningCore.go_on`."""
        self._cores[name].go_on(offset, topic=topic, partition=partition)
        self._unsaved.add(name)

    def _learned_from(
        self, records: Sequence[Record], learners_of: Mapping[str, Sequence[str]], readers: Collection[str]
    ) -> dict[str, list[Publication]]:
        """Learn a chunk; return what fell due, by the names of those that it had examples for."""
        due: dict[str, list[Publication]] = {}
        for first in range(0, len(records), _AT_ONCE):
            for name, examples in self._by_objective(records[first : first + _AT_ONCE], learners_of).items():
                core = self._cores[name]
                if name not in due:
                    due[name] = []
                    self._unsaved.add(name)
                    if core.contest is not None and self._knows_served():
                        core.contest.follow(self._served[name].record(name))
                due[name] += core.step(examples)
        for name in readers:
            self._cores[name].has_read(records[-1].offset + 1, records[-1].timestamp)
        return due

    def _by_objective(
        self, records: Sequence[Record], learners_of: Mapping[str, Sequence[str]]
    ) -> dict[str, list[tuple[int, Example]]]:
        found: dict[str, list[tuple[int, Example]]] = {}
        for record in records:
            try:
                example = decode_example(record.value or b"")
            except BadRecord as bad:
                # Only our own scorers write here: say it, and go on; the source of truth is `events`.
                self.unreadable += 1
                log_event(logger, logging.ERROR, "unreadable example", offset=record.offset, why=bad.detail)
                continue
            for name in learners_of.get(example.objective, ()):
                found.setdefault(name, []).append((record.offset, example))
        return found

    async def publish_pending(self) -> None:
        """Publish what was learned since the last version; called every publish interval."""
        async with self._busy:
            for core in self._cores.values():
                publication = core.publish_pending()
                if publication is not None:
                    await self._publish(core, [publication], core.progress())

    async def _publish(self, core: LearningCore, publications: list[Publication], progress: Progress | None) -> None:
        if publications:
            told: list[Progress | ContestMetric] = [progress] if progress is not None else []
            if core.contest is not None:
                told.append(core.contest.metric(core.version))
            await self._attempt(lambda: self._publisher.publish_models(publications, told), "publish model")
            failpoint("model_published")

    async def _decide(self, core: LearningCore) -> None:
        """Let a challenger take over, if the test says so.

        A crash before the record is written repeats the decision from the checkpoint: its evidence is there.
        """
        made = core.contest.decide(core.version) if core.contest is not None and self._knows_served() else None
        if made is not None:
            await self._attempt(lambda: self._publisher.publish_decision(made), "publish promotion")
            self._served[core.objective].follow(made.serving)
            log_event(
                logger,
                logging.WARNING,
                "another model is served",
                objective=core.objective,
                variant=made.serving.variant or "the declared model",
                before=made.serving.before or "the declared model",
                evidence=round(made.promotion.standing.evidence, 1) if made.promotion.standing else None,
            )

    async def save(self) -> None:
        """Write the checkpoints of what has learned since the last time, or read far without; raises Fenced.

        Nothing is written where publishing was cut off: whoever comes next learns that again, and publishes it.
        """
        async with self._busy:
            if self._half_told:
                return
            read_on = {name for name, core in self._cores.items() if core.read_to - self._saved_to[name] >= _READ_AGAIN}
            for name in sorted(self._unsaved | read_on):
                started = time.perf_counter()
                blob = self._cores[name].checkpoint()
                self._tokens[name] = await self._attempt(
                    partial(
                        self._store.save_blob,
                        checkpoint_name(self._settings, name),
                        blob,
                        expected_token=self._tokens[name],
                    ),
                    "save checkpoint",
                )
                self._saved_to[name] = self._cores[name].read_to
                failpoint("checkpointed")
                log_event(
                    logger,
                    logging.DEBUG,
                    "checkpoint saved",
                    objective=name,
                    bytes=len(blob),
                    seconds=round(time.perf_counter() - started, 3),
                )
            self._unsaved.clear()


async def open_learner(
    partition: int,
    partitions: int,
    *,
    settings: Settings,
    store: StateStore,
    publisher: Publisher,
    telemetry: Telemetry,
    attempt: Attempt,
    served: Mapping[str, Served],
    knows_served: Callable[[], bool],
    log: ExampleLog,
) -> LearnerSession:
    """Take up the learning of a partition of `examples` where its checkpoints say.

    Raises
    ------
    PartitionsChanged
        The topic does not have that many partitions.
    Fenced
    """
    cores: dict[str, LearningCore] = {}
    tokens: dict[str, str | None] = {}
    for core in new_cores(objectives_of(partition, partitions, settings.learned), settings):
        name = core.objective
        found = await attempt(partial(store.load_blob, checkpoint_name(settings, name)), "load checkpoint")
        if found is not None:
            blob, tokens[name] = found
            if not _restored(core, blob, settings):
                log_event(
                    logger,
                    logging.WARNING,
                    "features or model were changed; the objective learns anew from here",
                    objective=name,
                )
        else:
            tokens[name] = None
        cores[name] = core
    session = LearnerSession(
        cores,
        tokens,
        settings=settings,
        store=store,
        publisher=publisher,
        telemetry=telemetry,
        attempt=attempt,
        served=served,
        knows_served=knows_served,
    )
    if cores:
        place = Place(settings.topics.examples.name, partition, partitions, log=log, attempt=attempt)
        await place.take_up(list(cores.values()), session)
        session.part(partition, log)
    return session


def _restored(core: LearningCore, blob: bytes, settings: Settings) -> bool:
    try:
        return core.restore(blob)
    except BadRecord as bad:
        key = f"{settings.app}:blob:{checkpoint_name(settings, core.objective)}"
        raise RuntimeError(
            f"The checkpoint of objective {core.objective!r} cannot be read ({bad.detail}). Set the "
            "STREAMSCORE_MODEL_KEY and the River version that it was written with, or delete the key "
            f"{key} to learn anew from the examples that are kept"
        ) from None
