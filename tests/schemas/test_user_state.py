"""States of visitors in the store: read as they were written, also those that earlier versions wrote."""

from __future__ import annotations

from hashlib import blake2b
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.codec import BadRecord, decode_user_state, encode_user_state, pack_resting, pack_values, unpack_resting
from schemas.user_state import DIGEST_BYTES, FORM, OpenAttribution, OpenBid, UserBids, UserState

times = st.integers(946_684_800_000, 4_102_444_800_000)
floats = st.floats(allow_nan=False, allow_infinity=False)
probabilities = st.floats(0, 1)
names = st.text(max_size=20)
slots = st.lists(
    st.none() | times | floats | st.lists(st.integers(0, 2**32) | names) | st.dictionaries(names, floats), max_size=8
)
digests = st.lists(st.binary(min_size=8, max_size=8), max_size=32)
triggers = st.builds(
    OpenAttribution,
    objective=names,
    offset=st.integers(0, 2**62),
    key=names,
    ts=times,
    values=st.lists(floats | names | st.none(), max_size=5).map(pack_values),
    score=probabilities,
    model_version=st.integers(0, 2**62),
    hit=st.booleans(),
    variant=names,
    shadows=st.none() | st.dictionaries(names, st.tuples(probabilities, st.integers(0, 9)), max_size=2),
    place=st.integers(0, 9),
    raw=st.none() | probabilities,
    closes_after_ms=st.integers(-1, 2**40),
    grace_ms=st.none() | st.integers(0, 2**40),
)
bids = st.builds(
    OpenBid,
    offset=st.integers(0, 2**62),
    campaign=names,
    item_id=names,
    day=names,
    ts=times,
    reserved=st.integers(0, 2**62),
    key=names,
    first_price=st.booleans(),
    values=st.just(pack_values([1, None])),
)
states = st.builds(
    UserState,
    layout=st.integers(0, 2**32 - 1),
    last_ts=times,
    recent_ids=digests.map(lambda some: b"".join(one[:DIGEST_BYTES] for one in some)),
    slots=slots,
    outcome_ts=st.lists(st.just(0) | times, max_size=5),
    open=st.lists(triggers, max_size=3),
    bidding=st.none() | st.builds(UserBids, st.lists(bids, max_size=2), st.dictionaries(names, st.lists(times))),
    form=st.just(FORM),
)


def plain(state: UserState) -> Any:
    """Return a state as what can be compared, packed values included."""
    return msgspec.msgpack.decode(msgspec.msgpack.encode(state))


@given(states)
def test_a_state_is_read_as_it_was_written(state: UserState) -> None:
    assert plain(decode_user_state(encode_user_state(state))) == plain(state)


@given(states, st.booleans(), st.booleans())
def test_a_state_at_rest_is_the_state_that_it_was(state: UserState, is_open: bool, is_recent: bool) -> None:
    if not is_open:
        state.open, state.bidding = [], None
    if not is_recent:
        state.recent_ids = b""
    before = plain(state)

    pack_resting(state)
    again = decode_user_state(encode_user_state(state))
    twice = decode_user_state(encode_user_state(again))
    unpack_resting(twice)

    assert plain(again) == plain(state)
    assert plain(twice) == before


@given(states, digests, st.sampled_from(["numbers", "six bytes"]))
def test_states_of_before_are_read_to_the_same(state: UserState, ids: list[bytes], kind: str) -> None:
    before = plain(state)[:7]  # neither a form nor a visitor at rest was known
    before[2] = [int.from_bytes(one, "big") for one in ids] if kind == "numbers" else b"".join(one[:6] for one in ids)

    again = decode_user_state(msgspec.msgpack.encode(before))

    state.recent_ids = b"".join(one[:DIGEST_BYTES] for one in ids)
    assert plain(again) == plain(state)
    assert plain(decode_user_state(encode_user_state(again))) == plain(state)


def test_a_state_of_before_in_its_very_bytes() -> None:
    digest = blake2b(b"e1", digest_size=8).digest()
    head, tail = bytes.fromhex("97 ce 0000002a cf 0000019b6d0a4c00 c4 06"), bytes.fromhex("92 c0 01 91 00 90 c0")
    before = head + digest[:6] + tail

    state = decode_user_state(before)

    assert state == UserState(42, 0x19B6D0A4C00, digest[:5], [None, 1], [0], [], form=FORM)


@pytest.mark.parametrize("last_ts", [4_102_444_800_000, 2**48 - 1, 2**48, 2**63 - 1])
def test_a_state_at_rest_is_kept_whatever_time_a_version_before_took_for_good(last_ts: int) -> None:
    state = UserState(1, last_ts, b"", [last_ts, 1], [last_ts], [], form=FORM)
    before = plain(state)

    pack_resting(state)
    again = decode_user_state(encode_user_state(state))
    unpack_resting(again)

    assert plain(again) == before


def test_a_form_to_come_is_refused() -> None:
    state = UserState(1, 2, b"", [], [], [], form=FORM + 1)

    with pytest.raises(BadRecord, match=r"expected form 0 to 1, got 2"):
        decode_user_state(encode_user_state(state))


@pytest.mark.parametrize("resting", [b"", b"\x02", b"\x01", b"\x01\xa2\x01", b"\x01\x05", b"\x01\xa1\x05"])
def test_damaged_accumulators_are_refused(resting: bytes) -> None:
    state = UserState(1, 2, b"", [], [], [], form=FORM, resting=resting)

    with pytest.raises(BadRecord, match="user state: "):
        unpack_resting(decode_user_state(encode_user_state(state)))
