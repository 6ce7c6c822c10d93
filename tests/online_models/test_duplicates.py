"""The ring of recent event ids, held against a plain list of the last 32."""

from __future__ import annotations

from hashlib import blake2b

from hypothesis import given
from hypothesis import strategies as st

from online_models.duplicates import DIGEST_BYTES, REMEMBERED_IDS, remember
from schemas.codec import decode_user_state, encode_user_state
from schemas.user_state import UserState


@given(st.lists(st.integers(0, 60).map("event-{}".format), max_size=200))
def test_a_repeat_is_an_id_among_the_last_32_that_were_kept(ids: list[str]) -> None:
    ring, kept = b"", list[str]()

    for event_id in ids:
        grown = remember(ring, event_id)

        assert (grown is None) == (event_id in kept[-REMEMBERED_IDS:])
        if grown is not None:
            kept.append(event_id)
            ring = grown
    assert len(ring) <= REMEMBERED_IDS * DIGEST_BYTES


def test_bytes_that_lie_across_two_digests_are_no_repeat() -> None:
    digest = blake2b(b"e1", digest_size=8).digest()[:DIGEST_BYTES]
    across = b"abc" + digest + b"xy"

    ring = remember(across, "e1")

    assert ring == across + digest
    assert remember(ring, "e1") is None


def test_a_state_of_before_knows_its_ids_still() -> None:
    ids = [f"event-{number}" for number in range(40)]
    numbers = [int.from_bytes(blake2b(one.encode(), digest_size=8).digest(), "big") for one in ids[-REMEMBERED_IDS:]]
    before = UserState(layout=1, last_ts=2, recent_ids=numbers, slots=[], outcome_ts=[], open=[])

    state = decode_user_state(encode_user_state(before))

    assert isinstance(state.recent_ids, bytes)
    assert [remember(state.recent_ids, one) is None for one in ids] == [False] * 8 + [True] * 32
