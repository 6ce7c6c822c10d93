"""What the reader takes out of aiokafka: for whom, and when."""

from __future__ import annotations

import asyncio
from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka.errors import TopicAuthorizationFailedError
from transport_bench import P0, settled

from streams.cancelling import cancel_until_done
from streams.transport.reader import RecordReader, UnreadableRecord


class _Arriving:
    """A reader with a poll that waits, and a fetcher whose fetches bring what is given."""

    def __init__(self, *taken: Any) -> None:
        self.waiter = asyncio.get_running_loop().create_future()
        self._outcomes = list(taken)
        self.reader: Any = SimpleNamespace(_waiter=self.waiter, _waited_for=[(P0, 1)], _taken=[], _take=self._take)
        self.fetcher: Any = SimpleNamespace(_proc_fetch_request=self._arrive)
        RecordReader._take_on_arrival(self.reader, self.fetcher)

    async def _arrive(self, request: object) -> bool:
        return True

    async def _take(self, fetcher: object, wanted: object) -> Any:
        outcome = self._outcomes.pop(0)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    async def fetch(self) -> bool:
        return bool(await self.fetcher._proc_fetch_request("a request"))


async def test_what_is_wrong_with_what_arrives_is_raised_by_the_poll_that_waits_and_ends_no_fetching() -> None:
    arriving = _Arriving(TopicAuthorizationFailedError())

    assert await arriving.fetch()
    with pytest.raises(TopicAuthorizationFailedError):
        arriving.waiter.result()
    assert await arriving.fetch()  # with nobody waiting


async def test_what_arrives_from_another_node_before_the_poll_goes_on_is_left_for_it() -> None:
    arriving = _Arriving(["the first"], ["the second"])

    assert await arriving.fetch()
    assert await arriving.fetch()

    assert arriving.waiter.done()
    assert arriving.reader._taken == ["the first"]


async def test_nothing_is_taken_for_a_poll_that_was_given_up() -> None:
    arriving = _Arriving(["of nobody"])
    arriving.waiter.cancel()

    assert await arriving.fetch()

    assert arriving.reader._taken == []


async def test_a_poll_that_is_cancelled_waits_for_nothing_any_more() -> None:
    waiter = asyncio.get_running_loop().create_future()
    fetcher = SimpleNamespace(_closed=False, _create_fetch_waiter=lambda: waiter)
    consumer = SimpleNamespace(
        _closed=False,
        _fetcher=fetcher,
        _subscription=SimpleNamespace(fetch_context=nullcontext),
        _coordinator=SimpleNamespace(check_errors=lambda: None),
    )

    async def nothing(fetcher: object, wanted: object) -> list[Any]:
        return []

    reader: Any = SimpleNamespace(
        _reading=lambda: consumer, _fetcher=fetcher, _taken=[], _take=nothing, _woken=False, _waiter=None
    )
    poll = asyncio.create_task(RecordReader.poll(reader, [(P0, 1)], timeout_s=30.0))
    await settled()
    assert reader._waiter is waiter

    await cancel_until_done([poll])

    assert waiter.cancelled()


def test_what_was_taken_before_a_rebalance_is_not_handed_out_behind_it() -> None:
    reader: Any = SimpleNamespace(_readable={P0: (1, None)}, _taken=["a chunk"])

    RecordReader.forget_positions(reader)

    assert (reader._readable, reader._taken) == ({}, [])


async def test_a_header_name_that_is_not_utf8_is_fetched_once_more_and_then_told_of(
    caplog: pytest.LogCaptureFixture,
) -> None:
    broken = SimpleNamespace(_partition_records=SimpleNamespace(next_fetch_offset=7))
    woken: list[object] = []
    fetcher: Any = SimpleNamespace(_records={}, _client="a client", _notify=woken.append, _wait_consume_future="due")
    not_utf8 = UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte")

    def fetch_again(error: Exception) -> None:
        fetcher._records[P0] = broken
        RecordReader._fetch_again(SimpleNamespace(), fetcher, P0, error)  # type: ignore[arg-type]

    fetch_again(not_utf8)
    assert (fetcher._records, woken) == ({}, ["due"])
    assert "events[0]@7 has a header whose name is not UTF-8" in caplog.text
    with pytest.raises(UnreadableRecord, match=r"^events\[0\]@7 has a header .* cannot be mended; see docs/production"):
        fetch_again(not_utf8)
    with pytest.raises(TopicAuthorizationFailedError):
        fetch_again(TopicAuthorizationFailedError())
