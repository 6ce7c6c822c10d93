"""The only place where bytes become structs and structs become bytes.

msgspec decodes straight into validated structs; free-form JSON (declared by nobody) goes through
orjson. Both refuse NaN and infinity, which JSON does not have. The size is checked first, so that
the cost of a record is bounded before its first byte is read.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import date, datetime
from typing import Any

import msgspec

from schemas import dead_letters as why
from schemas import resting
from schemas.bids import Bid
from schemas.campaigns import Campaign
from schemas.events import BidRequest, Event, SystemEvent, VisitorEvent
from schemas.examples import Example
from schemas.metrics import Metric
from schemas.models import ModelRecord
from schemas.scores import Score
from schemas.user_state import DIGEST_BYTES, FORM, PartitionMeta, UserState

_DIGEST_BYTES_OF_FORM_0 = 6
# Begins no msgpack: layout and time of the last event follow in four and six bytes, then `UserState.resting`.
_AT_REST = b"\xc1"
_AT_REST_BEFORE_MS = 1 << 48  # versions before took any time for good that a producer's clock confirmed

MAX_EVENT_BYTES = 65_536
# An epoch in seconds reads as January 1970; clickstreams are younger than this.
MIN_TS_MS = 946_684_800_000  # 2000-01-01T00:00:00Z
# Microseconds read as milliseconds land some 50,000 years ahead.
MAX_TS_MS = 4_102_444_800_000  # 2100-01-01T00:00:00Z
# Clocks of browsers and collectors differ; a time further ahead would close everybody's windows.
MAX_AHEAD_MS = 5 * 60_000
# A campaign's clock is at most 14 hours off UTC, so its day is that of the event or one beside it.
MAX_DAYS_OFF = 2
_DAY_MS, _EPOCH_DAY = 86_400_000, date(1970, 1, 1).toordinal()


class BadRecord(ValueError):
    """The record is wrong; the stream goes on without it.

    Attributes
    ----------
    reason
        One of `schemas.dead_letters.REASONS`.
    detail
        What was expected and where; holds no value from the record.
    """

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail


_event: msgspec.json.Decoder[VisitorEvent | SystemEvent] = msgspec.json.Decoder(Event)
_score = msgspec.json.Decoder(Score)
_bid = msgspec.json.Decoder(Bid)
_campaign = msgspec.json.Decoder(Campaign)
_example = msgspec.json.Decoder(Example)
_metric: msgspec.json.Decoder[Metric] = msgspec.json.Decoder(Metric)
_model: msgspec.json.Decoder[ModelRecord] = msgspec.json.Decoder(ModelRecord)
_user = msgspec.msgpack.Decoder(UserState)
_meta = msgspec.msgpack.Decoder(PartitionMeta)
_values: msgspec.msgpack.Decoder[list[Any]] = msgspec.msgpack.Decoder(list)
_json = msgspec.json.Encoder()
_msgpack = msgspec.msgpack.Encoder()

# How msgspec shows a value that is none of those allowed.
_QUOTED = re.compile(r"^(Invalid (?:enum )?value) (['\"]).*\2", re.DOTALL)
# All that bytes can make a decoder raise. Text that is not UTF-8 is an error of Python's, and none of msgspec's.
UNDECODABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


def decode_event(value: bytes, *, record_ts_ms: int, max_bytes: int = MAX_EVENT_BYTES) -> VisitorEvent | SystemEvent:
    """Decode and validate one record of the `events` topic.

    Parameters
    ----------
    value
        The record's value. Tombstones (null) have no event in them and are the caller's to skip.
    record_ts_ms
        The record's Kafka timestamp, epoch ms; event times far ahead of it are refused. Below 0: it has none, and
        every event is refused.
    max_bytes
        Larger records are refused unread.

    Returns
    -------
    VisitorEvent or SystemEvent
        With ``ts`` as int epoch ms.

    Raises
    ------
    BadRecord
        The record belongs on `events.dead`.
    """
    if len(value) > max_bytes:
        raise BadRecord(why.TOO_LARGE, f"Expected at most {max_bytes} bytes, got {len(value)}")
    try:
        event = _event.decode(value)
    except msgspec.ValidationError as error:
        raise _invalid(error) from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BadRecord(why.NOT_JSON, undecodable(error)) from None
    except RecursionError:
        raise BadRecord(why.TOO_DEEP, "Expected a flat object, got deeply nested JSON") from None
    ts = event.ts if isinstance(event.ts, int) else epoch_ms(event.ts)
    event.ts = ts
    if ts < MIN_TS_MS:
        raise BadRecord(why.TIME_TOO_OLD, f"Expected epoch milliseconds >= {MIN_TS_MS} - at `$.ts`; are these seconds?")
    if ts > MAX_TS_MS or ts > record_ts_ms + MAX_AHEAD_MS:
        raise _ahead(ts, record_ts_ms)
    if type(event) is BidRequest and event.answered is not None and event.answered.day:
        _check_day(event.answered.day, ts)
    return event


def _check_day(day: str, ts: int) -> None:
    """Raise BadRecord unless a bid counts on a day about its request's: books of other days would not close."""
    try:
        days_off = date.fromisoformat(day).toordinal() - _EPOCH_DAY - ts // _DAY_MS
    except ValueError:
        raise BadRecord(why.INVALID, "Expected a date such as 2026-11-26 - at `$.answered.day`") from None
    if abs(days_off) > MAX_DAYS_OFF:
        raise BadRecord(why.INVALID, f"Expected at most {MAX_DAYS_OFF} days from `$.ts` - at `$.answered.day`")


def _ahead(ts: int, record_ts_ms: int) -> BadRecord:
    if ts > MAX_TS_MS:
        return BadRecord(
            why.TIME_AHEAD, f"Expected epoch milliseconds <= {MAX_TS_MS} - at `$.ts`; are these microseconds?"
        )
    if record_ts_ms < 0:  # nothing would keep this event from closing everybody's windows
        return BadRecord(
            why.TIME_UNKNOWN,
            "Expected a record with a Kafka timestamp, against which `$.ts` is held; set "
            "message.timestamp.type=LogAppendTime on the topic, and feed the record back",
        )
    return BadRecord(
        why.TIME_AHEAD, f"Expected at most {MAX_AHEAD_MS} ms after the record's Kafka timestamp - at `$.ts`"
    )


def undecodable(error: Exception) -> str:
    """Say what is wrong with bytes that made a decoder raise one of `UNDECODABLE`, without a value of theirs."""
    if isinstance(error, UnicodeDecodeError):  # whose own text shows the byte that it met
        return "Expected UTF-8, got text in another encoding"
    return _QUOTED.sub(r"\1", str(error))


def _invalid(error: msgspec.ValidationError) -> BadRecord:
    detail = str(error)
    if detail.startswith("Invalid value") and detail.endswith("at `$.type`"):
        return BadRecord(why.UNKNOWN_TYPE, "Expected a known event type - at `$.type`; use `custom` for your own")
    return BadRecord(why.INVALID, undecodable(error))


def epoch_ms(moment: datetime) -> int:
    """Convert an aware datetime to epoch milliseconds."""
    # timestamp() of an aware datetime is exact to the microsecond until the year 2255.
    return round(moment.timestamp() * 1000)


def encode_json(message: msgspec.Struct) -> bytes:
    """Encode any wire struct as JSON."""
    return _json.encode(message)


def decode_score(value: bytes) -> Score:
    """Decode a record of `scores`; raises BadRecord."""
    try:
        return _score.decode(value)
    except UNDECODABLE as error:
        raise BadRecord(why.INVALID, undecodable(error)) from None


def decode_bid(value: bytes) -> Bid:
    """Decode a record of `bids`; raises BadRecord."""
    try:
        return _bid.decode(value)
    except UNDECODABLE as error:
        raise BadRecord(why.INVALID, undecodable(error)) from None


def decode_campaign(value: bytes) -> Campaign:
    """Decode a record of `campaigns`; raises BadRecord."""
    try:
        return _campaign.decode(value)
    except UNDECODABLE as error:
        raise BadRecord(why.INVALID, undecodable(error)) from None


def decode_example(value: bytes) -> Example:
    """Decode a record of `examples`; raises BadRecord."""
    try:
        return _example.decode(value)
    except UNDECODABLE as error:
        raise BadRecord(why.INVALID, undecodable(error)) from None


def decode_metric(value: bytes) -> Metric:
    """Decode a record of `metrics`; raises BadRecord."""
    try:
        return _metric.decode(value)
    except UNDECODABLE as error:
        raise BadRecord(why.INVALID, undecodable(error)) from None


def decode_model_record(value: bytes) -> ModelRecord:
    """Decode a record of `models`; raises BadRecord."""
    try:
        return _model.decode(value)
    except UNDECODABLE as error:
        raise BadRecord(why.INVALID, undecodable(error)) from None


def encode_user_state(state: UserState) -> bytes:
    """Pack a user's state for the store; of one who has left and for whom nothing waits, without a byte for that."""
    is_awaited = state.open or state.recent_ids or state.bidding
    if state.resting is not None and not is_awaited and state.last_ts < _AT_REST_BEFORE_MS:
        return _AT_REST + state.layout.to_bytes(4, "big") + state.last_ts.to_bytes(6, "big") + state.resting
    return _msgpack.encode(state)


def decode_user_state(blob: bytes) -> UserState:
    """Unpack a user's state, of this version or of one before; raises BadRecord when the store holds something else."""
    if blob[:1] == _AT_REST:
        layout, last_ts = int.from_bytes(blob[1:5], "big"), int.from_bytes(blob[5:11], "big")
        return UserState(layout, last_ts, b"", [], [], [], form=FORM, resting=blob[11:])
    try:
        state = _user.decode(blob)
    except UNDECODABLE as error:
        raise BadRecord(why.INVALID, f"user state: {undecodable(error)}") from None
    if state.form != FORM:
        _upgrade(state)
    return state


def _upgrade(state: UserState) -> None:
    """Bring a state that was stored by a version before to the form of now, in place."""
    if state.form:
        raise BadRecord(why.INVALID, f"user state: expected form 0 to {FORM}, got {state.form}")
    ids = state.recent_ids
    if isinstance(ids, list):
        digests = [one.to_bytes(8, "big") for one in ids]
    else:
        digests = [ids[at : at + _DIGEST_BYTES_OF_FORM_0] for at in range(0, len(ids), _DIGEST_BYTES_OF_FORM_0)]
    state.recent_ids = b"".join(one[:DIGEST_BYTES] for one in digests)
    state.form = FORM


def pack_resting(state: UserState) -> None:
    """Pack the accumulators of a visitor who has left, in place; nothing of them is lost."""
    state.resting = resting.pack([state.slots, state.outcome_ts], state.last_ts)
    state.slots, state.outcome_ts = [], []


def unpack_resting(state: UserState) -> None:
    """Put the accumulators of a visitor back into their places; raises BadRecord when something else was stored."""
    if state.resting is None:
        return
    try:
        state.slots, state.outcome_ts = resting.unpack(state.resting, state.last_ts)
    except (ValueError, TypeError) as error:
        raise BadRecord(why.INVALID, f"user state: {error}") from None
    state.resting = None


def pack_values(values: Sequence[Any]) -> msgspec.Raw:
    """Pack the feature values of an open attribution."""
    return msgspec.Raw(_msgpack.encode(values))


def unpack_values(packed: msgspec.Raw) -> list[Any]:
    """Unpack the feature values of an open attribution."""
    return _values.decode(packed)


def encode_partition_meta(meta: PartitionMeta) -> bytes:
    """Pack a partition's meta data for the store."""
    return _msgpack.encode(meta)


def decode_partition_meta(blob: bytes) -> PartitionMeta:
    """Unpack a partition's meta data; raises BadRecord."""
    try:
        return _meta.decode(blob)
    except UNDECODABLE as error:
        raise BadRecord(why.INVALID, f"partition meta: {undecodable(error)}") from None
