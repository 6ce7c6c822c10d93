"""Poison: whatever comes, a record is an event, a dead letter with a reason, or passed over by a stated rule."""

from __future__ import annotations

import json
from typing import Any

import pytest
from builders import DAY, T0, EventLog, a_page_view
from hypothesis import given
from hypothesis import strategies as st

from online_models.records import decode_batch
from schemas import dead_letters as why
from schemas.bids import AnsweredBid
from schemas.codec import MAX_TS_MS, BadRecord, decode_event, encode_json
from schemas.events import BidRequest

FINE: dict[str, Any] = {"type": "page_view", "event_id": "e", "user_id": "secret-user", "ts": T0}


def an_event(**changes: Any) -> bytes:
    return json.dumps({**FINE, **changes}).encode()


POISON = [
    (b"", why.NOT_JSON),
    (b"\x00\xff\xfe", why.NOT_JSON),
    (b'{"type": "page_view"', why.NOT_JSON),
    (b"null", why.INVALID),
    (b"[]", why.INVALID),
    (b"{}", why.INVALID),
    (b'"text"', why.INVALID),
    (b"[" * 60_000, why.INVALID),
    (b'{"type":"page_view","x":' + b"[" * 30_000, why.TOO_DEEP),
    (an_event(query="x" * 10_000_000), why.TOO_LARGE),
    (an_event(type="video_play"), why.UNKNOWN_TYPE),
    (an_event(type=7), why.INVALID),
    (an_event(user_id=""), why.INVALID),
    (an_event(user_id="u" * 129), why.INVALID),
    (an_event(user_id=5), why.INVALID),
    (an_event(event_id=None), why.INVALID),
    (an_event(price="12"), why.INVALID),
    (an_event(price=-1), why.INVALID),
    (an_event(price=1e12), why.INVALID),
    (an_event(price=float("nan")), why.NOT_JSON),
    (an_event(price=float("inf")), why.NOT_JSON),
    (an_event().replace(b"}", b', "price": 1e999}'), why.INVALID),
    (an_event(depth=1.01), why.INVALID),
    (an_event(properties={"a": {"b": 1}}), why.INVALID),
    (an_event(properties={str(n): n for n in range(65)}), why.INVALID),
    (an_event(url="x" * 3000), why.INVALID),
    (an_event(schema_version=2), why.INVALID),
    (an_event(ts="yesterday"), why.INVALID),
    (an_event(ts="2023-11-14T22:13:20"), why.INVALID),
    (an_event(ts=0), why.TIME_TOO_OLD),
    (an_event(ts=T0 // 1000), why.TIME_TOO_OLD),
    (an_event(ts="1970-01-01T00:00:00Z"), why.TIME_TOO_OLD),
    (an_event(ts=-1), why.TIME_TOO_OLD),
    (an_event(ts=4_102_444_800_000), why.TIME_AHEAD),
    (an_event(ts="2100-01-01T00:00:00Z"), why.TIME_AHEAD),
    (an_event(ts=10**25), why.TIME_AHEAD),
    (an_event().replace(b"secret-user", b"caf\xe9"), why.NOT_JSON),
    (an_event().replace(b"secret-user", b"\xed\xa0\x80"), why.NOT_JSON),
    (an_event().replace(b"secret-user", b"\\ud800"), why.NOT_JSON),
    (an_event(url="/caf\u00e9").replace(b"\\u00e9", b"\xe9"), why.NOT_JSON),
    (an_event(properties={"a": "x"}).replace(b'"x"', b'"caf\xe9\\n"'), why.NOT_JSON),
    (an_event(properties={"a": "x"}).replace(b'"a"', b'"caf\xe9"'), why.NOT_JSON),
    (an_event().replace(b"page_view", b"caf\xe9"), why.NOT_JSON),
    (an_event().replace(b'"type"', b'"caf\xe9"'), why.INVALID),
    (an_event(ts="0000-01-01T00:00:00Z"), why.INVALID),
    (an_event(ts="0001-01-01T00:00:00+23:59"), why.TIME_TOO_OLD),
    (an_event(ts="9999-12-31T23:59:59.999-23:59"), why.TIME_AHEAD),
    (an_event(properties={"a": 0}).replace(b": 0}", b": " + b"9" * 5000 + b"}"), why.INVALID),
    (an_event(price=0).replace(b": 0}", b": " + b"9" * 400 + b"}"), why.INVALID),
]


@pytest.mark.parametrize(("value", "reason"), POISON)
def test_poison_is_refused_with_its_reason_and_without_its_content(value: bytes, reason: str) -> None:
    with pytest.raises(BadRecord) as caught:
        decode_event(value, record_ts_ms=T0)

    assert caught.value.reason == reason in why.REASONS
    assert "secret-user" not in caught.value.detail
    assert "video_play" not in caught.value.detail


def test_poison_becomes_dead_letters_byte_for_byte_and_the_rest_goes_on() -> None:
    log = EventLog()
    for value, _ in POISON:
        log.add_raw(value, key=b"the key", timestamp=T0)
        log.add(a_page_view(len(log.records)))
    log.add_raw(None)

    batch = decode_batch(log.records, topic="clicks", partition=3)

    assert [dead.value for dead in batch.dead_letters] == [value for value, _ in POISON]
    assert {dead.key for dead in batch.dead_letters} == {b"the key"}
    assert [dict(dead.headers)[why.REASON_HEADER].decode() for dead in batch.dead_letters] == [r for _, r in POISON]
    assert dict(batch.dead_letters[1].headers)[why.SOURCE_HEADER] == b"clicks[3]@2"
    assert len(batch.events) == len(POISON)
    assert batch.tombstones == 1
    assert batch.records == len(log.records)


@given(st.binary(max_size=300))
def test_any_bytes_are_an_event_or_a_dead_letter(value: bytes) -> None:
    log = EventLog().add_raw(value)

    batch = decode_batch(log.records, topic="events", partition=0)

    assert len(batch.events) + len(batch.dead_letters) == 1


@pytest.mark.parametrize("ts", [T0, float(T0), "2023-11-14T22:13:20Z", "2023-11-14T23:13:20.000+01:00"])
def test_times_are_epoch_milliseconds_however_they_are_written(ts: Any) -> None:
    if isinstance(ts, float):
        with pytest.raises(BadRecord, match="Expected"):
            decode_event(an_event(ts=ts), record_ts_ms=T0)
        return
    assert decode_event(an_event(ts=ts), record_ts_ms=T0).ts == T0


def test_a_clock_that_is_a_little_ahead_is_no_fault() -> None:
    assert decode_event(an_event(ts=T0 + 5 * 60_000), record_ts_ms=T0).ts == T0 + 5 * 60_000
    with pytest.raises(BadRecord, match="after the record's Kafka timestamp"):
        decode_event(an_event(ts=T0 + 5 * 60_000 + 1), record_ts_ms=T0)


@pytest.mark.parametrize("ts", [MAX_TS_MS + 1, T0 * 1000, "9999-12-31T23:59:59.999-23:59", 2**63 - 1])
def test_no_clock_of_a_producer_makes_a_time_of_centuries_ahead_good(ts: Any) -> None:
    for record_ts_ms in (T0, T0 * 1000, 2**63 - 1):
        with pytest.raises(BadRecord, match="are these microseconds") as caught:
            decode_event(an_event(ts=ts), record_ts_ms=record_ts_ms)
        assert caught.value.reason == why.TIME_AHEAD

    assert decode_event(an_event(ts=MAX_TS_MS), record_ts_ms=T0 * 1000).ts == MAX_TS_MS


@pytest.mark.parametrize("ts", [T0 - 3000 * DAY, T0, T0 + 3000 * DAY])
def test_a_record_without_a_kafka_timestamp_has_nothing_to_hold_its_time_against(ts: int) -> None:
    with pytest.raises(BadRecord, match=r"message\.timestamp\.type=LogAppendTime") as caught:
        decode_event(an_event(ts=ts), record_ts_ms=-1)

    assert caught.value.reason == why.TIME_UNKNOWN in why.REASONS


def test_recordings_of_years_ago_are_no_fault() -> None:
    assert decode_event(an_event(ts=T0 - 3000 * DAY), record_ts_ms=T0).ts == T0 - 3000 * DAY


def test_an_event_survives_its_own_encoding() -> None:
    event = a_page_view(price=1.5, properties={"a": 1, "b": "x", "c": None, "d": True})

    assert decode_event(encode_json(event), record_ts_ms=T0) == event


def answered_on(day: str, ts: Any = T0) -> bytes:
    """Return a request of 2023-11-14, 22:13 UTC, that was answered over HTTP."""
    said = {"reason": "bid", "campaign": "shoes", "price": 1.0, "day": day}
    return an_event(type="bid_request", ts=ts, answered=said)


@pytest.mark.parametrize("day", ["2026-99-99", "0000-01-01", "2023-02-29", "2023-11-31"])
def test_an_answered_bid_on_a_day_that_is_none_is_refused(day: str) -> None:
    with pytest.raises(BadRecord, match=r"^invalid: Expected a date such as 2026-11-26 - at `\$\.answered\.day`$"):
        decode_event(answered_on(day), record_ts_ms=T0)


@pytest.mark.parametrize("day", ["9999-12-31", "2023-11-17", "2023-11-11", "0001-01-01"])
def test_an_answered_bid_on_a_day_far_from_its_request_is_refused(day: str) -> None:
    with pytest.raises(BadRecord, match=r"^invalid: Expected at most 2 days from `\$\.ts` - at `\$\.answered\.day`$"):
        decode_event(answered_on(day), record_ts_ms=T0)


@pytest.mark.parametrize("day", ["2023-11-12", "2023-11-14", "2023-11-16", ""])
@pytest.mark.parametrize("ts", [T0, "2023-11-14T00:00:00Z", "2023-11-14T23:59:59.999+02:00"])
def test_an_answered_bid_on_a_day_about_its_request_is_taken_however_the_time_is_written(day: str, ts: Any) -> None:
    event = decode_event(answered_on(day, ts), record_ts_ms=T0 + DAY)

    assert isinstance(event, BidRequest)
    assert event.answered == AnsweredBid(reason="bid", campaign="shoes", price=1.0, day=day)
