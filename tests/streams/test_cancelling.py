from __future__ import annotations

import asyncio

from streams.cancelling import cancel_until_done


async def misses(cancellations: int) -> None:
    while True:
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            if cancellations == 0:
                raise
            cancellations -= 1


async def fails_when_cancelled() -> None:
    try:
        await asyncio.sleep(3600)
    finally:
        raise RuntimeError("of no interest any more")


async def test_a_task_that_misses_its_cancellation_is_cancelled_again() -> None:
    tasks = [asyncio.create_task(one) for one in (misses(0), misses(2), fails_when_cancelled(), asyncio.sleep(0))]
    await asyncio.sleep(0.01)

    await cancel_until_done(tasks)

    assert [task.done() for task in tasks] == [True] * 4
    assert [task.cancelled() for task in tasks] == [True, True, False, False]
    assert isinstance(tasks[2].exception(), RuntimeError)


async def test_a_task_that_cannot_be_cancelled_is_left_when_the_time_is_over() -> None:
    task = asyncio.create_task(misses(3))
    await asyncio.sleep(0.01)

    await cancel_until_done([task], within_s=0.15)
    left = task.done()
    await cancel_until_done([task])

    assert (left, task.cancelled()) == (False, True)
