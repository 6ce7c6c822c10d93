"""Learners that are opened and ended on a log of examples in memory, with a store that outlives them."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from typing import Any, NamedTuple, cast

from online_models.learning import LearningCore, Publication
from online_models.serving import Served
from schemas.codec import encode_json
from schemas.examples import Example
from streams.example_log import Extent
from streams.learner import LearnerSession, checkpoint_name, open_learner
from streams.new_models import new_cores
from streams.output import partition_for_key
from streams.publish import Publisher
from streams.settings import Settings, parse_settings
from streams.stores import DictStateStore
from streams.telemetry import Telemetry

SETTINGS = parse_settings(
    """
features:
  price: {field: price, transform: log1p}
learning: {publish_examples: 20}
objectives:
  click:
    trigger: impression
    outcome: click
    window: 30m
    match: user
    model: {name: ftrl}
    challengers:
      slow: {model: {name: ftrl, alpha: 0.01}}
  sale:
    trigger: click
    outcome: purchase
    window: 30m
    match: user
    model: {name: ftrl}
""",
    {},
)


class Record(NamedTuple):
    offset: int
    value: bytes
    timestamp: int
    key: bytes | None = None


def an_example(objective: str, released: int) -> Example:
    """Return the example that the source record of that number has released."""
    return Example(
        objective=objective,
        score_id=f"events-0-{released}:{objective}",
        ts=released,
        label=released % 4 == 0,
        features={"price": released % 7 / 2, f"item={released % 11}": 1.0},
        score=0.1 + released % 5 / 10,
        model_version=1,
        topic="events",
        partition=released % 2,
        offset=released,
        seq=0,
        released_ts=released,
        user_id="u",
        shadows={"slow": (0.2, 1)},
    )


class Topic:
    """The topic `examples`, as the broker has it: partitions that grow, lose their ends and are made anew."""

    def __init__(self, partitions: int = 1) -> None:
        self.now_ms = 1_000
        self.released = 0
        self.create(partitions)

    def create(self, partitions: int) -> None:
        """Begin anew, without a record."""
        self.partitions: list[list[Record]] = [[] for _ in range(partitions)]
        self.starts = [0] * partitions

    def grow(self, partitions: int) -> None:
        """Add partitions."""
        added = partitions - len(self.partitions)
        self.partitions += [[] for _ in range(added)]
        self.starts += [0] * added

    def produce(self, objective: str, count: int) -> list[Example]:
        """Append the next examples where a scorer would; return them."""
        examples = []
        for _ in range(count):
            example = an_example(objective, self.released)
            self.released += 1
            self.append(example)
            examples.append(example)
        return examples

    def append(self, example: Example) -> None:
        """Append one example, at a time of its own."""
        where = self.partitions[self.place(example.objective)]
        self.now_ms += 5
        key = example.objective.encode()
        where.append(Record(self.end(self.place(example.objective)), encode_json(example), self.now_ms, key))

    def place(self, objective: str) -> int:
        return partition_for_key(objective.encode(), len(self.partitions))

    def end(self, partition: int) -> int:
        return self.starts[partition] + len(self.partitions[partition])

    def retain(self, partition: int, start: int) -> None:
        """Let retention take what is before an offset."""
        del self.partitions[partition][: start - self.starts[partition]]
        self.starts[partition] = start

    def truncate(self, partition: int, end: int) -> None:
        """Lose the end, as after an unclean election."""
        del self.partitions[partition][end - self.starts[partition] :]

    def between(self, partition: int, start: int, end: int | None = None) -> list[Record]:
        return [one for one in self.partitions[partition] if one.offset >= start and (end is None or one.offset < end)]

    # What a learner asks of it, see `streams.example_log.ExampleLog`.

    async def extent(self, partition: int) -> Extent:
        return Extent(len(self.partitions), self.starts[partition])

    async def time_of(self, partition: int, offset: int) -> int | None:
        return next((one.timestamp for one in self.partitions[partition] if one.offset == offset), None)

    async def rest(self, partition: int, offset: int) -> AsyncGenerator[Sequence[Record], None]:
        rest = self.between(partition, offset)
        for first in range(0, len(rest), 7):
            yield rest[first : first + 7]


class Published:
    """Stands where the broker is; keeps versions by objective, and the last that was told of each."""

    def __init__(self) -> None:
        self.models: dict[str, list[Publication]] = {}
        self.told: dict[str, Any] = {}

    async def publish_models(self, publications: Sequence[Publication], told: Sequence[Any]) -> None:
        name = publications[0].records[0][0].split(b"/")[0].decode()
        self.models.setdefault(name, []).extend(publications)
        self.told |= {f"{name} {type(one).__name__}": one for one in told}

    def versions(self, name: str) -> list[int]:
        return [one.version for one in self.models.get(name, [])]


class CountingStore(DictStateStore):
    """Notes the names of the checkpoints that are written."""

    def __init__(self) -> None:
        super().__init__()
        self.written: list[str] = []

    async def save_blob(self, name: str, blob: bytes, *, expected_token: str | None) -> str:
        self.written.append(name.rpartition(":")[2])
        return await super().save_blob(name, blob, expected_token=expected_token)


async def at_once(action: Callable[[], Awaitable[Any]], what: str) -> Any:
    return await action()


class Deployment:
    """A store, a topic, and the learners that come and go on them."""

    def __init__(self, partitions: int = 1) -> None:
        self.topic = Topic(partitions)
        self.store = CountingStore()
        self.published = Published()

    async def open(
        self, objective: str = "click", *, partitions: int | None = None, settings: Settings | None = None
    ) -> LearnerSession:
        """Open the learner of an objective's partition; `partitions`: what its worker takes to be their number."""
        settings = settings or SETTINGS
        return await open_learner(
            self.topic.place(objective),
            len(self.topic.partitions) if partitions is None else partitions,
            settings=settings,
            store=self.store,
            publisher=cast(Publisher, self.published),
            telemetry=Telemetry(),
            attempt=at_once,
            served={one.name: Served(one.variants) for one in settings.objectives},
            knows_served=lambda: True,
            log=self.topic,
        )

    async def read(self, session: LearnerSession, objective: str = "click", *, chunk: int = 10) -> int:
        """Hand a session all that its partition has from where it stands; return the number of records."""
        partition = self.topic.place(objective)
        records = self.topic.between(partition, session.next_offset)
        for first in range(0, len(records), chunk):
            await session.run_batch(records[first : first + chunk])
        return len(records)

    async def saved(self, name: str) -> LearningCore:
        """Return a model as its checkpoint has it."""
        core = fresh()[name]
        found = await self.store.load_blob(checkpoint_name(SETTINGS, name))
        assert found is not None
        assert core.restore(found[0])
        return core


def fresh() -> Mapping[str, LearningCore]:
    return {one.objective: one for one in new_cores(SETTINGS.learned, SETTINGS)}


def model_of(core: LearningCore) -> tuple[bytes, int]:
    """Return what a model is, and how much it has learned."""
    return core._estimator.to_bytes(), core.learned


def undisturbed(name: str, examples: Sequence[Example]) -> tuple[bytes, int]:
    """Return the model that has learned these examples once each."""
    core = fresh()[name]
    core.step(list(enumerate(examples)))
    return model_of(core)
