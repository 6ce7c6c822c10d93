"""What the reader takes out of aiokafka: for whom, and when."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka.errors import TopicAuthorizationFailedError
from faust.types import TP
from transport_bench import P0, a_record, settled

from streams.cancelling import cancel_until_done
from streams.transport import TransportOptions
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


class _Taking:
    """A reader that left P0 at offset 20, and what aiokafka holds of it."""

    def __init__(self, position: int | None, *offsets: int) -> None:
        self.records = {P0: "fetched"} if offsets else {}
        self.state = SimpleNamespace(position=position, has_valid_position=position is not None)
        self._offsets = offsets
        self.assignment = SimpleNamespace(state_value=lambda tp: self.state)
        self.reader: Any = SimpleNamespace(
            _assignment=lambda: self.assignment,
            _readable={P0: (1, self.assignment)},
            _positions={P0: 20},
            options=TransportOptions(),
            _turn=0,
        )

    async def take(self) -> list[tuple[list[int], int]]:
        fetcher: Any = SimpleNamespace(
            _subscriptions=SimpleNamespace(reassignment_in_progress=False),
            _records=self.records,
            fetched_records=self._fetched,
        )
        fetched = await RecordReader._take(self.reader, fetcher, [(P0, 1)])
        return [([record.offset for record in one.records], one.next_offset) for one in fetched]

    async def _fetched(self, tps: list[TP], timeout: int, max_records: int) -> dict[TP, list[Any]]:
        if self.records.pop(P0, None) is None:
            return {}
        self.state.position = self._offsets[-1] + 1
        return {P0: [a_record(P0, offset) for offset in self._offsets]}


async def test_a_log_that_ends_below_what_was_read_is_told_of_at_once_and_nothing_of_it_handed_out() -> None:
    assert await _Taking(0).take() == [([], 0)]
    assert await _Taking(0, 0, 1).take() == [([], 0)]
    assert await _Taking(0, 25, 26).take() == [([], 0)]  # with a hole up to beyond what was read


async def test_holes_in_a_log_are_none_of_its_ends(caplog: pytest.LogCaptureFixture) -> None:
    assert await _Taking(20, 23, 27).take() == [([23, 27], 28)]
    assert await _Taking(20).take() == []
    assert await _Taking(None).take() == []
    assert caplog.messages == []


async def test_how_much_was_missed_of_what_is_no_longer_kept_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    taking = _Taking(50)

    assert await taking.take() == [([], 50)]
    assert await taking.take() == []
    assert await _Taking(50, 50, 51).take() == [([50, 51], 52)]
    assert caplog.messages == ["events-0: 30 offsets from 20 on are no longer kept, and were not read"] * 2


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
