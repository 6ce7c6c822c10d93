"""What the HTTP API answers, on a store and a log in memory."""

from __future__ import annotations

from typing import Any

import pytest
from builders import T0, EventLog, a_click, an_event, an_impression
from msgspec import structs

from online_models.records import decode_batch
from online_models.scoring import ScoringCore
from schemas.codec import BadRecord, decode_event, encode_user_state
from schemas.dead_letters import TOO_LARGE
from schemas.events import Candidate, RankRequest
from streams.configs import shipped_config
from streams.new_models import new_replicas
from streams.output import ListOutput, OutputRefused, partition_for_key
from streams.settings import Settings, load_settings, parse_settings
from streams.stores import PartitionId
from streams.stores.memory import DictStateStore
from streams.web.answers import Answers, NoSuchRanking

PARTITIONS = 4


class Deployment:
    """A store, a log of events and what answers from them."""

    def __init__(self, log: ListOutput | None = None, **variables: str) -> None:
        self.settings: Settings = load_settings(shipped_config("shop"), variables)
        self.store = DictStateStore()
        self.log = log or ListOutput()
        self.replicas = new_replicas(self.settings)
        self.answers = Answers(self.settings, self.store, self.replicas, self.log, partitions=PARTITIONS)

    async def knows(self, user_id: str, events: list[Any], *, settings: Settings | None = None) -> None:
        """Store the state that these events leave, as a worker of these settings does."""
        settings = settings or self.settings
        place = PartitionId("events", partition_for_key(user_id.encode(), PARTITIONS))
        core = ScoringCore(
            topic=place.topic,
            partition=place.partition,
            features=settings.features,
            objectives=settings.objectives,
            replicas=new_replicas(settings),
        )
        users: dict[str, Any] = {}
        core.step(decode_batch(EventLog().add(*events).records, topic=place.topic, partition=place.partition), users)
        await self.store.save(
            place,
            expected_offset=None,
            next_offset=len(events),
            meta=b"",
            users={user_id: encode_user_state(users[user_id])},
            timers={},
        )


def a_request(candidates: list[Any], **fields: Any) -> RankRequest:
    return an_event(RankRequest, 10, candidates=candidates, **fields)  # type: ignore[no-any-return]


async def test_request_and_answer_are_one_record_of_the_visitor_s_partition() -> None:
    deployment = Deployment()
    candidates = [Candidate(item_id=f"i{number}", category="shoes") for number in range(8)]

    answer = await deployment.answers.rank(a_request([*candidates, "i9"]))

    [(where, [record])] = deployment.log.records.items()
    assert where == ("events", partition_for_key(b"u1", PARTITIONS))
    assert record.key == b"u1"
    logged = decode_event(record.value or b"", record_ts_ms=T0 + 10)
    assert isinstance(logged, RankRequest)
    assert logged.answered is not None
    assert [one.item_id for one in logged.answered.ranked] == [one.item_id for one in answer.ranked]
    assert len(answer.ranked) == 5
    shown = {one.item_id if isinstance(one, Candidate) else one for one in logged.candidates}
    assert shown == {one.item_id for one in answer.ranked}, "what is known of the others is of no use any more"
    assert answer.score_id == f"events-{where[1]}-0:home"


async def test_an_answer_at_once_is_the_same_and_is_in_the_log_soon_after() -> None:
    waiting, at_once = Deployment(), Deployment()

    logged = await waiting.answers.rank(a_request(["i1", "i2", "i3"]))
    answer = await at_once.answers.rank(a_request(["i1", "i2", "i3"]), at_once=True)

    assert at_once.log.records == {}
    assert logged.score_id.endswith(":home")
    assert answer == structs.replace(logged, score_id="")
    await at_once.answers.stop()
    assert at_once.log.records == waiting.log.records


async def test_while_the_log_refuses_what_it_is_given_answers_wait_for_it() -> None:
    class Refusing(ListOutput):
        refuses = True

        async def publish(self, *args: Any, **options: Any) -> Any:
            if self.refuses:
                raise OutputRefused("no")
            return await super().publish(*args, **options)

    deployment = Deployment(log=Refusing())
    await deployment.answers.rank(a_request(["i1"]), at_once=True)
    await deployment.answers.stop()

    with pytest.raises(OutputRefused):
        await deployment.answers.rank(a_request(["i1"]), at_once=True)
    deployment.log.refuses = False  # type: ignore[attr-defined]
    waited = await deployment.answers.rank(a_request(["i1"]), at_once=True)
    again = await deployment.answers.rank(a_request(["i1"]), at_once=True)

    assert waited.score_id
    assert not again.score_id
    await deployment.answers.stop()
    assert sum(map(len, deployment.log.records.values())) == 2


async def test_the_visitor_s_state_is_read_and_not_changed() -> None:
    deployment = Deployment()
    await deployment.knows("u1", [a_click("i1", category="shoes"), a_click("i2", 1, category="shoes")])
    place = PartitionId("events", partition_for_key(b"u1", PARTITIONS))
    before = await deployment.store.load_users(place, ["u1"])

    found = await deployment.answers.features("u1", an_impression("i3", 5, category="shoes"))
    await deployment.answers.score(an_impression("i3", 5, category="shoes"))
    await deployment.answers.rank(a_request(["i1"]))

    assert found is not None
    assert found.last_ts == T0 + 1
    assert found.features["favourite"] == "shoes"
    assert await deployment.store.load_users(place, ["u1"]) == before


async def test_a_state_of_other_features_than_now_is_as_good_as_none() -> None:
    deployment = Deployment()
    text = shipped_config("shop").read_text().replace("half_life: 1d", "half_life: 2d")
    await deployment.knows("u1", [a_click("i1", category="shoes")], settings=parse_settings(text, {}))

    assert await deployment.answers.features("u1", an_impression("i3", 5)) is None
    assert len((await deployment.answers.rank(a_request(["i1"]))).ranked) == 1


async def test_what_would_be_a_dead_letter_is_not_written() -> None:
    deployment = Deployment(STREAMSCORE_WORKER_MAX_EVENT_BYTES="1000")
    large = [Candidate(item_id=f"i{number}", properties={"text": "x" * 100}) for number in range(5)]

    with pytest.raises(BadRecord) as caught:
        await deployment.answers.rank(a_request(large))

    assert caught.value.reason == TOO_LARGE
    assert deployment.log.records == {}


async def test_without_a_declared_ranking_nothing_is_ranked() -> None:
    with pytest.raises(NoSuchRanking, match="one of: home"):
        await Deployment().answers.rank(a_request(["i1"], ranking="side"))
