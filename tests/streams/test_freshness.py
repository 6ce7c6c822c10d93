from __future__ import annotations

import asyncio

from streams.freshness import FAR_BEHIND, Freshness

MOST_BEHIND = 10


class Model:
    """A replica whose version is set by hand."""

    name = "model"

    def __init__(self, version: int = 0) -> None:
        self.version = version
        self.begun_at = 0

    def score_one(self, x: dict[str, float], n_reasons: int) -> tuple[float, list[tuple[str, float]]]:
        return 0.5, []


def a_freshness(model: Model, *, patience_s: float = 30.0) -> Freshness:
    return Freshness({"click": model}, most_behind=MOST_BEHIND, patience_s=patience_s)


async def test_scoring_goes_on_at_once_while_the_model_is_close_behind() -> None:
    freshness = a_freshness(Model(version=90))
    freshness.examples_published("click", 100)

    await asyncio.wait_for(freshness.wait(), 1)

    assert freshness.behind("click") == MOST_BEHIND


async def test_scoring_waits_for_a_model_that_is_far_behind_until_it_has_caught_up() -> None:
    model = Model()
    freshness = a_freshness(model)
    freshness.examples_published("click", 100)
    waiting = asyncio.create_task(freshness.wait())

    await asyncio.sleep(0.02)
    model.version = 80
    await asyncio.sleep(0.02)
    still_waiting = not waiting.done()
    model.version = 90
    await asyncio.wait_for(waiting, 1)

    assert still_waiting


async def test_a_learner_that_is_away_holds_scoring_up_once_and_not_again() -> None:
    model = Model()
    freshness = a_freshness(model, patience_s=0.05)
    freshness.examples_published("click", 100)
    loop = asyncio.get_running_loop()

    await freshness.wait()
    began = loop.time()
    await freshness.wait()
    second_wait_s = loop.time() - began
    model.version = 50  # the learner is back, and still behind
    waiting = asyncio.create_task(freshness.wait())
    await asyncio.sleep(0.01)

    assert second_wait_s < 0.05
    assert not waiting.done()
    waiting.cancel()


async def test_examples_of_other_workers_do_not_move_the_mark_back() -> None:
    freshness = a_freshness(Model())
    freshness.examples_published("click", 100)
    freshness.examples_published("click", 60)

    assert freshness.behind("click") == 100


async def test_a_model_that_has_come_to_another_log_is_behind_by_what_is_there() -> None:
    model = Model(version=5_000)
    freshness = a_freshness(model)
    freshness.examples_published("click", 5_100)

    model.version, model.begun_at = 5_030, 5_000  # of the log that has taken the place, 30 were learned
    behind_at_first = freshness.behind("click")
    freshness.examples_published("click", 70)

    assert (behind_at_first, freshness.behind("click")) == (0, 40)


async def test_a_model_that_catches_up_beside_the_others_is_not_waited_for() -> None:
    model = Model(version=5)
    freshness = a_freshness(model)
    freshness.examples_published("click", FAR_BEHIND + 6)
    await asyncio.wait_for(freshness.wait(), 1)

    model.version = 6
    waiting = asyncio.create_task(freshness.wait())
    await asyncio.sleep(0.02)
    assert not waiting.done()
    model.version = FAR_BEHIND
    await asyncio.wait_for(waiting, 1)
