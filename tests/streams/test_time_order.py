"""What is said of the order of events does not depend on how they are cut."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from streams.replay.time_order import TimeOrder

MINUTE, START = 60_000, 1_700_000_000_000


@given(
    times=st.lists(st.integers(0, 400), min_size=1, max_size=40),
    cuts=st.lists(st.integers(0, 40), max_size=5),
)
def test_chunks_change_nothing(times: list[int], cuts: list[int]) -> None:
    dated = [START + one * MINUTE for one in times]
    whole, cut = TimeOrder(), TimeOrder()
    whole.see(dated)
    places = [0, *sorted(cuts), len(dated)]
    for first, last in itertools.pairwise(places):
        cut.see(dated[first:last])
        cut = TimeOrder(*cut.state())

    assert cut.notes() == whole.notes()


def test_a_step_at_the_begin_of_a_chunk_is_seen() -> None:
    order = TimeOrder()
    order.see([START, START + MINUTE])
    order.see([START + 300 * MINUTE, START + 301 * MINUTE])
    order.see([START + 2 * MINUTE] * 3)

    [note] = order.notes()
    assert note.startswith(
        "3 of 7 events lie more than an hour behind an earlier one (event 3 is dated 2023-11-15 03:13"
    )
