"""What a pacer keeps, and when one that steps does so."""

from __future__ import annotations

import msgspec
import pytest

from online_models.bidding.pacing import KINDS, Pacer, build_pacer
from online_models.bidding.pacing.progress import Progress
from online_models.bidding.pacing.saving import FORMAT
from online_models.bidding.pacing.stepped import Interval
from schemas.codec import BadRecord

every_kind = pytest.mark.parametrize("kind", KINDS)


def refused(pacer: Pacer, blob: bytes, message: str) -> None:
    before = pacer.state()
    with pytest.raises(BadRecord, match=message):
        pacer.restore(blob)
    assert pacer.state() == before


@every_kind
@pytest.mark.parametrize("other", KINDS)
def test_a_state_of_another_kind_is_refused_even_where_it_looks_the_same(kind: str, other: str) -> None:
    pacer, blob = build_pacer({"kind": kind}), build_pacer({"kind": other}).state()

    if kind == other:
        pacer.restore(blob)
    else:
        refused(pacer, blob, f"pacing: expected {kind} {FORMAT}, got {other} {FORMAT}")


@every_kind
def test_a_format_to_come_is_refused(kind: str) -> None:
    pacer = build_pacer({"kind": kind})
    name, format_, state = msgspec.msgpack.decode(pacer.state())

    refused(
        pacer,
        msgspec.msgpack.encode([name, format_ + 1, state]),
        f"pacing: expected {kind} {FORMAT}, got {kind} {FORMAT + 1}",
    )


@pytest.mark.parametrize("of", ["wanted", "spent"])
@pytest.mark.parametrize(("much", "tells"), [(4.99, False), (5.0, True)])
def test_an_interval_tells_something_from_the_cost_of_five_wins_on(of: str, much: float, tells: bool) -> None:
    interval = Interval(Progress(spent=much if of == "spent" else 0.0), cost_of_win=1.0)
    interval.wanted = much if of == "wanted" else 0.0

    assert interval.look(1_000) is tells


def test_an_interval_in_which_little_happens_tells_something_at_the_thirtieth_look() -> None:
    interval = Interval(Progress(), wanted=4.0, cost_of_win=1.0)

    assert [interval.look(1_000) for _ in range(31)] == [False] * 29 + [True] * 2
