"""A learner's session: how the log is cut into chunks decides nothing that it publishes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import pairwise
from typing import cast

import pytest
from learner_bench import SETTINGS, Deployment, Published, Record, an_example, at_once, model_of, undisturbed

from online_models.serving import Served
from schemas.codec import encode_json
from schemas.models import Serving
from streams import learner
from streams.learner import LearnerSession
from streams.new_models import new_cores
from streams.publish import Publisher
from streams.stores import DictStateStore
from streams.telemetry import Telemetry


def a_session(
    served: Mapping[str, Served] | None = None, *, knows_served: Callable[[], bool] = lambda: True
) -> tuple[LearnerSession, Published]:
    settings, published = SETTINGS, Published()
    cores = {one.objective: one for one in new_cores(settings.learned, settings)}
    session = LearnerSession(
        cores,
        dict.fromkeys(cores),
        settings=settings,
        store=DictStateStore(),
        publisher=cast(Publisher, published),
        telemetry=Telemetry(),
        attempt=at_once,
        served=served or {one.name: Served(one.variants) for one in settings.objectives},
        knows_served=knows_served,
    )
    return session, published


def log(count: int) -> list[Record]:
    """Examples of both objectives in turns, some of them repeated, and one record that is none."""
    records = []
    for offset in range(count):
        released = offset - 1 if offset % 10 == 9 else offset
        example = an_example("sale" if released % 3 == 0 else "click", released)
        records.append(Record(offset, b"{}" if offset == 30 else encode_json(example), 0))
    return records


@pytest.mark.parametrize("cuts", [[0, 200], [0, 1, 2, 24, 25, 26, 51, 130, 200], [*range(201)]])
async def test_chunks_decide_nothing(cuts: list[int]) -> None:
    records = log(200)
    expected = a_session()
    for start in range(0, 200, 10):
        await expected[0].run_batch(records[start : start + 10])
    session, published = a_session()

    for start, end in pairwise(cuts):
        await session.run_batch(records[start:end])

    await session.publish_pending()
    await expected[0].publish_pending()
    assert {one: len(versions) for one, versions in published.models.items()} == {
        "click": 6,
        "click~slow": 6,
        "sale": 3,
    }
    assert published.models == expected[1].models
    assert published.told == expected[1].told
    assert session.unreadable == 1
    assert [core.checkpoint() for core in session._cores.values()] == [
        core.checkpoint() for core in expected[0]._cores.values()
    ]


async def test_while_models_is_being_read_nobody_takes_it_that_nothing_was_promoted() -> None:
    """Else each restart beside a large topic would throw away what was collected for the challengers."""
    records, served, known = log(60), {"click": Served(["", "slow"]), "sale": Served()}, [True]
    served["click"].follow(Serving(objective="click", variant="slow", before="", number=1))
    before, _ = a_session(served)
    await before.run_batch(records[:20])
    session, _ = a_session({"click": Served(["", "slow"]), "sale": Served()}, knows_served=lambda: known[0])
    contest = session._cores["click"].contest
    assert contest is not None
    assert session._cores["click"].restore(before._cores["click"].checkpoint())

    known[0] = False
    await session.run_batch(records[20:40])
    assert (contest.champion, contest.number) == ("slow", 1)

    known[0] = True
    await session.run_batch(records[40:])
    assert (contest.champion, contest.number) == ("", 0)


async def test_what_an_objective_without_examples_has_read_is_not_read_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(learner, "_READ_AGAIN", 100)
    deployment = Deployment()
    deployment.topic.produce("click", 250)
    session = await deployment.open()
    await deployment.read(session)
    await session.save()

    session = await deployment.open()

    assert session.next_offset == 250
    idle = await deployment.saved("sale")
    assert (idle.version, idle.next_offset, idle.learned, idle.read_to) == (0, 0, 0, 250)
    assert await session.publish_pending() is None
    assert deployment.published.versions("sale") == []


async def test_an_idle_objective_is_written_now_and_then_and_never_for_each_chunk(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(learner, "_READ_AGAIN", 100)
    deployment = Deployment()
    session = await deployment.open()
    reached, again = 0, []
    for number in range(50):
        deployment.topic.produce("click", 9)
        await deployment.read(session)
        await session.save()
        if number % 7 == 6:  # a crash, or a rebalance
            reached, session = session.next_offset, await deployment.open()
            again.append(reached - session.next_offset)

    assert deployment.store.written.count("click") == 51
    assert deployment.store.written.count("sale") <= 1 + 450 // 100
    assert max(again) < 100


async def test_an_example_after_a_long_silence_has_the_version_that_it_would_have_had(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(learner, "_READ_AGAIN", 100)
    straight, restarted = Deployment(), Deployment()
    for deployment in (straight, restarted):
        session = await deployment.open()
        examples = []
        for silence in (130, 20, 260, 5):
            deployment.topic.produce("click", silence)
            examples += deployment.topic.produce("sale", 3)
            deployment.topic.append(examples[-1])  # a scorer crashed and has published it again
            await deployment.read(session)
            await session.publish_pending()
            if deployment is restarted:
                await session.save()
                session = await deployment.open()
        await session.save()

    assert straight.published.versions("sale") == restarted.published.versions("sale") == [134, 158, 422, 431]
    sales = [await one.saved("sale") for one in (straight, restarted)]
    assert sales[0].next_offset == sales[1].next_offset == 431
    assert model_of(sales[0]) == model_of(sales[1]) == undisturbed("sale", examples)
