"""Reading to the end, beside a broker that takes its time."""

from __future__ import annotations

from typing import Any

import pytest
from aiokafka import TopicPartition

from streams.reading import read_to_end
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
