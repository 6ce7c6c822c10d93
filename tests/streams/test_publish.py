from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from aiokafka.errors import MessageSizeTooLargeError
from builders import EventLog, a_click, an_event, an_impression
from core_bench import FEATURES, PURCHASE, Bench, a_replica, cut

from online_models.crowd import CROWD, Nobody
from online_models.parts import in_parts, result_of
from online_models.rankings import Ranking, parse_rankings
from online_models.records import decode_batch
from online_models.step import Collected
from schemas.dead_letters import OMITTED_HEADER, REASON_HEADER
from schemas.events import RankRequest
from streams.freshness import Freshness
from streams.messages import Messages
from streams.out_records import OutRecord
from streams.publish import Publisher
from streams.sections import Topics
from streams.stores import PartitionId

PARTITIONS = {"events": 4, "scores": 4, "examples": 1, "models": 1, "metrics": 1, "events.dead": 1}


class FakeOutput:
    """Keeps what is published; refuses values above a size."""

    def __init__(self, limit: int = 10**9) -> None:
        self.limit = limit
        self.published: list[dict[tuple[str, int], Sequence[OutRecord]]] = []
        self.first: list[tuple[str, int] | None] = []

    async def publish(
        self,
        batches: Mapping[tuple[str, int], Sequence[OutRecord]],
        *,
        consumed: Any = None,
        first: tuple[str, int] | None = None,
    ) -> dict[tuple[str, int], int]:
        if any(len(one.value or b"") > self.limit for records in batches.values() for one in records):
            raise MessageSizeTooLargeError("too large")
        self.published.append(dict(batches))
        self.first.append(first)
        return {where: len(records) for where, records in batches.items()}


async def published(
    output: FakeOutput,
    log: EventLog,
    *,
    chunk: int = 500,
    rankings: Sequence[Ranking] = (),
    bench: Bench | None = None,
) -> dict[tuple[str, int], Sequence[OutRecord]]:
    bench = bench or Bench(rankings=rankings)
    freshness = Freshness(bench.replicas, most_behind=10, patience_s=1)
    publisher: Any = Publisher(output, Topics(), PARTITIONS, freshness)  # type: ignore[arg-type]
    for records in cut(log.records, chunk):
        batch = decode_batch(records, topic="events", partition=2)
        out, messages = Collected(bench.users), Messages()
        for part in in_parts(bench.core, batch, out):
            messages.take(part)
        messages.end(result_of(bench.core, batch, out))
        await publisher.publish(batch, messages, partition=PartitionId("events", 2))
    return output.published[-1]


async def test_everything_a_batch_leads_to_goes_to_its_topic_and_to_the_events_partition() -> None:
    log = EventLog().add(an_impression("i1")).add_raw(b"no json", key=b"k").tick(3_600_000)

    found = await published(FakeOutput(), log)

    assert set(found) == {("scores", 2), ("examples", 0), ("events.dead", 0), ("metrics", 0)}
    assert [one.key for one in found["scores", 2]] == [b"u1"]
    assert [one.key for one in found["examples", 0]] == [b"click"]
    assert [(one.key, one.value) for one in found["events.dead", 0]] == [(b"k", b"no json")]


async def test_scores_come_before_examples_of_the_same_triggers_and_do_not_hold_up_others() -> None:
    log = EventLog().add(an_impression("i1")).tick(3_600_000)
    together, apart = FakeOutput(), FakeOutput()

    await published(together, log)
    await published(apart, log, chunk=1)

    assert together.first == [("scores", 2)]
    assert apart.first == [None, None]
    assert ("examples", 0) in apart.published[1]


async def test_what_is_told_of_the_crowd_waits_for_no_score() -> None:
    features = {**FEATURES, "hot": {"popularity": "item_id"}}
    replicas = {"purchase": a_replica("purchase"), CROWD: Nobody()}
    output = FakeOutput()

    log = EventLog().add(a_click("i1"))
    found = await published(output, log, bench=Bench({"purchase": PURCHASE}, features=features, replicas=replicas))

    assert [one.key for one in found["examples", 0]] == [b"crowd"]
    assert len(found["scores", 2]) == 1
    assert output.first == [None]


async def test_so_do_answers_before_examples_of_their_places() -> None:
    log = EventLog().add(an_event(RankRequest, candidates=["i1", "i2"])).tick(3_600_000)
    rankings = parse_rankings({"home": {"objective": "click"}}, objectives=Bench().objectives)
    together, apart = FakeOutput(), FakeOutput()

    await published(together, log, rankings=rankings)
    await published(apart, log, chunk=1, rankings=rankings)

    assert together.first == [("scores", 2)]
    assert apart.first == [None, None]
    assert len(apart.published[1]["examples", 0]) == 2


async def test_a_dead_letter_that_its_topic_does_not_take_is_kept_without_its_value() -> None:
    log = EventLog().add_raw(b"x" * 2_000_000, key=b"k").add_raw(b"short")

    found = await published(FakeOutput(limit=1_000_000), log)

    large, short = found["events.dead", 0]
    assert (large.key, large.value, short.value) == (b"k", b"", b"short")
    assert dict(large.headers)[OMITTED_HEADER] == b"2000000"
    assert dict(large.headers)[REASON_HEADER] == b"too_large"


async def test_what_is_too_large_elsewhere_is_our_own_fault() -> None:
    with pytest.raises(MessageSizeTooLargeError):
        await published(FakeOutput(limit=10), EventLog().add(an_impression("i1")))
