"""Whatever bytes stand on a topic or in the store: a message of ours, or BadRecord and nothing else."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from schemas import samples
from schemas.codec import (
    BadRecord,
    decode_bid,
    decode_campaign,
    decode_event,
    decode_example,
    decode_metric,
    decode_model_record,
    decode_partition_meta,
    decode_score,
    decode_user_state,
    encode_json,
    encode_partition_meta,
    encode_user_state,
)
from schemas.user_state import FORM, Layout, PartitionMeta, UserState

_SENT_MS = 1_790_000_000_000


def _decode_event(value: bytes) -> Any:
    return decode_event(value, record_ts_ms=_SENT_MS)


_MESSAGES: list[tuple[Callable[[bytes], Any], bytes]] = [
    (decode, encode_json(message))
    for decode, kind in (
        (_decode_event, samples.EVENTS),
        (decode_score, samples.SCORES),
        (decode_bid, samples.BIDS),
        (decode_campaign, samples.CAMPAIGNS),
        (decode_example, samples.EXAMPLES),
        (decode_model_record, samples.MODELS),
        (decode_metric, samples.METRICS),
    )
    for message in kind
]
_STORED: list[tuple[Callable[[bytes], Any], bytes]] = [
    (decode_user_state, encode_user_state(UserState(1, _SENT_MS, b"12345", [{"shoes": 1.0}], [0], [], form=FORM))),
    (decode_partition_meta, encode_partition_meta(PartitionMeta([Layout(1, ("clicks",), ("click",))], _SENT_MS, 0))),
]
_NAMES = [f"{decode.__name__.strip('_')}-{number}" for number, (decode, _) in enumerate(_MESSAGES)]
# What may stand where a value is expected.
_VALUES = [
    *(b"1e999", b"-1e999", b"1e-999", b"1e99999999999999999999", b"-0", b"NaN", b"null", b"true", b"[]", b"{}", b"1.5"),
    *(b"18446744073709551616", b"-9223372036854775809", b"9" * 400, b"-" + b"9" * 5000, b"0." + b"1" * 1000),
    *(b'"\\ud800"', b'"\\udc00"', b'"\\ud800\\ud800"', b'{"\\ud800": 1}', b'"\\u0000"'),
    *(b'"caf\xe9"', b'"\xff"', b'"\xed\xa0\x80"', b'"\xc0\x80"', b'"\xf4\x90\x80\x80"', b'{"caf\xe9": 1}', b'["\xff"]'),
    *(b'"0000-01-01T00:00:00Z"', b'"0001-01-01T00:00:00+23:59"', b'"9999-12-31T23:59:59-23:59"'),
    *(b'"9999-12-31T23:59:59.9999999999Z"', b'"2016-12-31T23:59:60Z"', b'"2023-01-01T00:00:00+99:99"'),
    *(b"[" * 20_000, b'{"a":' * 9_000, b"[" * 900 + b"]" * 900),
]


@st.composite
def mangled(draw: st.DrawFn, messages: list[tuple[Callable[[bytes], Any], bytes]]) -> tuple[Any, bytes]:
    """Draw how a message is decoded, and the message: cut off, with other bytes in it, or with other values."""
    decode, message = draw(st.sampled_from(messages))
    value = bytearray(message)
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, max(0, len(value) - 1)))
        match draw(st.integers(0, 4)):
            case 0:
                value[at : at + 1] = bytes([draw(st.integers(0x80, 0xFF))])
            case 1:
                value[at:at] = draw(st.binary(min_size=1, max_size=4))
            case 2:
                del value[at : at + draw(st.integers(1, 8))]
            case 3:
                del value[at:]
            case _:
                colon = value.find(b":", at)
                ends = [end for end in (value.find(b",", colon), value.find(b"}", colon)) if end > colon >= 0]
                if ends:
                    value[colon + 1 : min(ends)] = draw(st.sampled_from(_VALUES))
    return decode, bytes(value)


@given(mangled(_MESSAGES))
def test_a_mangled_message_of_any_kind_is_read_or_refused(given: tuple[Callable[[bytes], Any], bytes]) -> None:
    decode, value = given

    _read_or_refused(decode, value)


@given(mangled(_STORED))
@example((decode_user_state, b"\xc1"))
@example((decode_user_state, b"\x98\x01\x02\xc4\x00\x91\x81\xa1\xff\x01\x90\x90\xc0\x01"))
def test_a_mangled_blob_of_the_store_is_read_or_refused(given: tuple[Callable[[bytes], Any], bytes]) -> None:
    decode, value = given

    _read_or_refused(decode, value)


def _read_or_refused(decode: Callable[[bytes], Any], value: bytes) -> None:
    with contextlib.suppress(BadRecord):
        decode(value)


@pytest.mark.parametrize(
    "value",
    [
        b'{"type": "secret\xe9"}',
        b'{"type": "campaign_set", "ts": 1790000000000, "campaign": "c", "version": 1, "declaration": '
        b'{"campaign": "c", "budget_per_day": 1, "auction": "secret \'one\' - at"}}',
    ],
)
def test_no_value_of_a_record_is_in_the_detail(value: bytes) -> None:
    with pytest.raises(BadRecord) as caught:
        _decode_event(value)

    assert "secret" not in caught.value.detail


@pytest.mark.parametrize(("decode", "message"), _MESSAGES, ids=_NAMES)
@pytest.mark.parametrize("text", [b"caf\xe9", b"\xff", b"\xed\xa0\x80", b"\xc0\x80", b"caf\xe9\\n", b"\xf0\x9f\x98"])
def test_text_in_another_encoding_is_refused_in_every_field_that_is_read(
    decode: Callable[[bytes], Any], message: bytes, text: bytes
) -> None:
    # The value of the field that tells the kind, or of the first one: read in any case.
    begin = message.index(b':"') + 2
    value = message[:begin] + text + message[message.index(b'"', begin) :]

    with pytest.raises(BadRecord) as caught:
        decode(value)

    assert caught.value.detail == "Expected UTF-8, got text in another encoding"
    assert caught.value.__suppress_context__


@pytest.mark.parametrize(("decode", "message"), _MESSAGES, ids=_NAMES)
def test_every_sample_is_read_and_a_deeply_nested_one_is_refused(
    decode: Callable[[bytes], Any], message: bytes
) -> None:
    decode(message)

    with pytest.raises(BadRecord):
        decode(message[:-1] + b',"unknown":' + b"[" * 20_000 + b"]" * 20_000 + b"}")
