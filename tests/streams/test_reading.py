"""Where reading begins, and reading to the end beside a broker that takes its time."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka import TopicPartition

from streams import reading
from streams.header_names import replace_unreadable_names
from streams.reading import TopicMissing, end_offsets, read_to_end, reader
from streams.sections import KafkaSettings
from streams.stores import Unavailable

P0, P1 = TopicPartition("models", 0), TopicPartition("models", 1)


class SlowConsumer:
    """Answers polls as it is told: each is, by partition, the records that come and the position behind them."""

    def __init__(
        self, ends: dict[TopicPartition, int], polls: list[dict[TopicPartition, tuple[list[str], int]]]
    ) -> None:
        self._ends = ends
        self._polls = polls
        self._positions = dict.fromkeys(ends, 0)

    def assignment(self) -> set[TopicPartition]:
        return set(self._ends)

    async def end_offsets(self, partitions: list[TopicPartition]) -> dict[TopicPartition, int]:
        return self._ends

    async def position(self, partition: TopicPartition) -> int:
        return self._positions[partition]

    async def getmany(self, *, timeout_ms: int) -> dict[TopicPartition, list[str]]:
        answer = self._polls.pop(0) if self._polls else {}
        self._positions |= {one: position for one, (_, position) in answer.items()}
        return {one: records for one, (records, _) in answer.items() if records}


async def read(consumer: SlowConsumer, **options: Any) -> list[str]:
    slow: Any = consumer
    return [record async for records in read_to_end(slow, **options) for record in records]


async def test_polls_without_an_answer_do_not_end_it_before_the_end() -> None:
    polls = [{}, {P0: (["a"], 1)}, {}, {}, {P1: (["b"], 4)}, {P0: ([], 3)}, {P0: (["late"], 4)}]
    consumer = SlowConsumer({P0: 3, P1: 4}, polls)

    assert await read(consumer) == ["a", "b", "late"]


async def test_what_is_empty_is_looked_at_once() -> None:
    assert await read(SlowConsumer({P0: 0}, [{P0: (["just now"], 1)}, {P0: (["later"], 2)}])) == ["just now"]


async def test_a_part_is_never_taken_for_all_of_it() -> None:
    consumer = SlowConsumer({P0: 1, P1: 4}, [{P0: (["a"], 1)}, {P1: (["b"], 2)}])

    with pytest.raises(Unavailable, match=r"nothing came from models\[1\] for 0 s"):
        await read(consumer, patience_s=0.0)


# ---------------------------------------------------------------- where it begins

METRICS = TopicPartition("metrics", 0)


class ScriptedConsumer:
    """A client of a broker that has these topics; some of them it was not told of yet. It notes what it is asked."""

    def __init__(self, topics: dict[str, int], *, untold: tuple[str, ...] = ()) -> None:
        self._topics = topics
        self._told = {*topics} - {*untold}
        self._fetcher = SimpleNamespace(_client=self)
        self._client = self
        self.options: dict[str, Any] = {}
        self.calls: list[str] = []
        self.positions: dict[TopicPartition, int | str] = {}

    async def start(self) -> None:
        self.calls.append("start")

    async def stop(self) -> None:
        self.calls.append("stop")

    def partitions_for_topic(self, topic: str) -> set[int] | None:
        return {*range(self._topics[topic])} if topic in self._told else None

    async def fetch_all_metadata(self) -> Any:
        there = {topic: {*range(count)} for topic, count in self._topics.items()}
        return SimpleNamespace(partitions_for_topic=there.get)

    async def add_topic(self, topic: str) -> None:
        self.calls.append(f"ask for {topic}")

    async def force_metadata_update(self) -> None:
        self._told = {*self._topics}

    def assign(self, partitions: list[TopicPartition]) -> None:
        self.positions = dict.fromkeys(partitions, self.options["auto_offset_reset"])

    def assignment(self) -> set[TopicPartition]:
        return {*self.positions}

    def seek(self, partition: TopicPartition, offset: int) -> None:
        assert partition in self.positions
        self.positions[partition] = offset

    async def end_offsets(self, partitions: list[TopicPartition]) -> dict[TopicPartition, int]:
        return {one: 100 + one.partition for one in partitions}


Scripted = Callable[[ScriptedConsumer], ScriptedConsumer]


@pytest.fixture
def scripted(monkeypatch: pytest.MonkeyPatch) -> Scripted:
    """Have the reader take a scripted client for the next one."""

    def take(consumer: ScriptedConsumer) -> ScriptedConsumer:
        def made(**options: Any) -> ScriptedConsumer:
            consumer.options = options
            return consumer

        monkeypatch.setattr(reading, "AIOKafkaConsumer", made)
        return consumer

    return take


async def test_reading_begins_where_it_is_told_to_and_elsewhere_at_the_beginning(scripted: Scripted) -> None:
    scripted(ScriptedConsumer({"models": 2, "metrics": 1}))

    async with reader(KafkaSettings(), ["models", "metrics"], start={P1: 7, METRICS: 0}) as consumer:
        assert consumer.positions == {P0: "earliest", P1: 7, METRICS: 0}
        assert not replace_unreadable_names(consumer._fetcher), "done already"
        assert consumer.calls == ["start"]
    assert consumer.calls == ["start", "stop"]


async def test_reading_begins_at_the_beginning_or_with_what_comes_from_now_on(scripted: Scripted) -> None:
    scripted(ScriptedConsumer({"models": 2}))

    async with reader(KafkaSettings(), ["models"]) as consumer:
        assert consumer.positions == {P0: "earliest", P1: "earliest"}
    async with reader(KafkaSettings(), ["models"], from_end=True) as consumer:
        assert consumer.positions == {P0: 100, P1: 101}


async def test_it_is_of_no_group_commits_nothing_and_sees_nothing_that_was_aborted(scripted: Scripted) -> None:
    scripted(ScriptedConsumer({"models": 1}))

    async with reader(KafkaSettings(), ["models"]) as consumer:
        names = ("group_id", "enable_auto_commit", "isolation_level")
        assert [consumer.options[name] for name in names] == [None, False, "read_committed"]


async def test_a_topic_that_is_there_and_of_which_the_client_was_not_told_is_asked_for(scripted: Scripted) -> None:
    scripted(ScriptedConsumer({"models": 2, "metrics": 1}, untold=("metrics",)))

    async with reader(KafkaSettings(), ["models", "metrics"]) as consumer:
        assert [*consumer.positions] == [P0, P1, METRICS]
        assert consumer.calls == ["start", "ask for metrics"]


async def test_a_topic_that_is_missing_is_named_and_not_asked_for_and_the_client_is_stopped(scripted: Scripted) -> None:
    consumer = scripted(ScriptedConsumer({"models": 2}))

    with pytest.raises(TopicMissing, match="no topic 'scores'; create it with `streamscore topics create`"):
        async with reader(KafkaSettings(), ["models", "scores"]):
            pytest.fail("it has nothing to read")

    assert consumer.calls == ["start", "stop"], "asked for by name, many brokers would make it"


async def test_ends_are_those_of_all_partitions(scripted: Scripted) -> None:
    scripted(ScriptedConsumer({"models": 2, "metrics": 1}))

    assert await end_offsets(KafkaSettings(), ["models", "metrics"]) == {P0: 100, P1: 101, METRICS: 100}
