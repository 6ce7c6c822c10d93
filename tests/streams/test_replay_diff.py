"""Comparing two sets of scores: nothing that differs is passed over, and nothing that does not is told."""

from __future__ import annotations

import gzip
import json
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from online_models.bidding.market import MARKET
from schemas.bids import Bid, Considered
from schemas.codec import encode_json
from schemas.examples import Example
from schemas.samples import BIDS, EXAMPLES, SCORES
from schemas.scores import Score
from streams.cli.main import app
from streams.replay.diff import MISSING_LEFT, MISSING_RIGHT, Comparison, Differ, Unreadable

RUNNER = CliRunner()


def a_score(offset: int, **changes: Any) -> Score:
    return msgspec.structs.replace(
        SCORES[0], score_id=f"events-0-{offset}:click", offset=offset, **{"score": 0.25, **changes}
    )


def an_example(offset: int, **changes: Any) -> Example:
    return msgspec.structs.replace(EXAMPLES[0], score_id=f"events-0-{offset}:click", offset=offset, **changes)


def a_bid(offset: int, **changes: Any) -> Bid:
    return msgspec.structs.replace(BIDS[0], bid_id=f"events-0-{offset}", offset=offset, **changes)


def compared(a: Sequence[Any], b: Sequence[Any], tolerance: float = 0.0, cut: int = 3) -> Comparison:
    differ = Differ("scores", tolerance=tolerance)
    sides = [[encode_json(one) for one in a], [encode_json(one) for one in b]]
    for first in range(0, max(map(len, sides)), cut):
        for side in (0, 1):
            differ.put(side, sides[side][first : first + cut])
    found = differ.result()
    differ.close()
    return found


@given(order=st.permutations(range(20)), cut=st.integers(1, 25))
def test_the_order_and_the_pace_of_the_sides_do_not_matter(order: list[int], cut: int) -> None:
    scores = [a_score(offset) for offset in range(20)]

    found = compared(scores, [scores[at] for at in order], cut=cut)

    assert (found.left, found.right, found.same, found.different) == (20, 20, 20, False)


@given(seed=st.integers(0, 10_000))
def test_every_difference_is_found_and_counted(seed: int) -> None:
    draw = random.Random(seed)
    kinds = draw.choices(["same", "score", "reasons", "model_version", "left", "right", "repeat"], k=25)
    left, right = [], []
    for offset, kind in enumerate(kinds):
        one = a_score(offset)
        changes = {
            "score": {"score": 0.5},
            "reasons": {"reasons": [("x", 1.0)]},
            "model_version": {"model_version": 99},
        }
        if kind != "right":
            left += [one] * (2 if kind == "repeat" else 1)
        if kind != "left":
            right.append(msgspec.structs.replace(one, **changes.get(kind, {})))
    draw.shuffle(right)

    found = compared(left, right)

    expected = {kind: kinds.count(kind) for kind in ("score", "reasons", "model_version") if kind in kinds}
    expected |= {
        what: kinds.count(kind) for kind, what in (("left", MISSING_RIGHT), ("right", MISSING_LEFT)) if kind in kinds
    }
    assert found.fields == expected
    assert found.same == kinds.count("same") + kinds.count("repeat")
    assert found.repeated == kinds.count("repeat")
    offsets = [(one.left or one.right or {})["offset"] for one in found.first]
    assert offsets == [offset for offset, kind in enumerate(kinds) if kind not in ("same", "repeat")][:5]


def test_a_tolerance_covers_numbers_and_nothing_else() -> None:
    left = a_score(1, score=0.25, reasons=[("a", 1.0), ("b", -0.5)])
    near = a_score(1, score=0.2501, reasons=[("a", 1.0001), ("b", -0.5)])
    other_reason = a_score(1, score=0.25, reasons=[("a", 1.0), ("c", -0.5)])

    assert not compared([left], [near], tolerance=0.001).different
    assert compared([left], [near], tolerance=0.00001).fields == {"score": 1, "reasons": 1}
    assert compared([left], [other_reason], tolerance=0.5).fields == {"reasons": 1}
    assert compared([left], [a_score(1, model_version=left.model_version + 1, reasons=left.reasons)], 9.0).fields == {
        "model_version": 1
    }


def test_the_distribution_of_the_differences_is_told() -> None:
    found = compared([a_score(n) for n in range(4)], [a_score(n, score=0.25 + n * 0.01) for n in range(4)])

    assert found.largest == pytest.approx(0.03)
    assert found.mean == pytest.approx(0.015)
    assert found.histogram == [(0.0, 1), (0.1, 3)]  # in doubles, 0.26 - 0.25 is above 0.01
    assert sum(count for _, count in found.histogram) == 4
    assert compared([a_score(1, score=0.0)], [a_score(1, score=0.01)]).histogram == [(0.01, 1)]


def test_examples_are_compared_by_features_and_label_and_fake_negatives_are_no_repeats() -> None:
    left = [an_example(1, label=False, use="learn"), an_example(1, label=True), an_example(2, features={"x": 1.0})]
    right = [left[0], left[1], an_example(2, features={"x": 1.0, "y": 0.0})]

    found = compared(left, right)

    assert (found.same, found.repeated, found.fields) == (2, 0, {"features": 1})


def test_scores_of_before_did_not_tell_what_their_crowd_values_mean() -> None:
    told, of_before, other = a_score(1, crowd_hash="0a1b2c3d"), a_score(1), a_score(1, crowd_hash="ffffffff")

    assert not compared([told], [of_before]).different
    assert not compared([of_before], [told]).different
    assert compared([told], [other]).fields == {"crowd_hash": 1}


def test_bids_are_compared_in_every_field_and_by_their_price() -> None:
    # The name of a campaign is whatever an advertiser likes; it makes no example of a bid.
    left = [a_bid(n, price=1.5, considered={"label": Considered("bid", 3.0, 1.5)}) for n in range(3)]
    right = [left[0], a_bid(1, price=1.75, considered=left[1].considered), a_bid(3)]

    found = compared(left, right)

    assert (found.same, found.largest, found.fields) == (1, 0.25, {"price": 1, MISSING_RIGHT: 1, MISSING_LEFT: 1})
    assert not compared(left[1:2], right[1:2], tolerance=0.25).different


def test_what_one_event_tells_of_the_market_are_examples_of_their_own() -> None:
    def told(seq: int, bid: float) -> Example:
        one = an_example(1, objective=MARKET, label=False, use="learn", seq=seq, features={"bid:": bid})
        return msgspec.structs.replace(one, score_id=f"events-0-1:{MARKET}")

    found = compared([told(0, 1.0), told(1, 2.0)], [told(0, 1.0), told(1, 3.0)])

    assert (found.same, found.repeated, found.fields) == (1, 0, {"features": 1})


@pytest.mark.parametrize("line", [b"{", b'{"a": 1}', b"[]", b'{"score_id": "x"}', b'{"score_id": "caf\xe9"}'])
def test_what_is_neither_a_score_nor_an_example_is_an_error_even_on_both_sides(line: bytes) -> None:
    differ = Differ("scores")

    def compare() -> None:
        for side in (0, 1):
            differ.put(side, [line])
        differ.result()

    with pytest.raises(Unreadable):
        compare()
    differ.close()


def write(folder: Path, name: str, messages: Sequence[Any]) -> Path:
    content = b"".join(encode_json(one) + b"\n" for one in messages)
    path = folder / name
    path.parent.mkdir(exist_ok=True, parents=True)
    path.write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
    return path


def test_the_command_tells_by_its_status(tmp_path: Path) -> None:
    scores = [a_score(offset) for offset in range(9)]
    a, zipped = write(tmp_path, "a.jsonl", scores), write(tmp_path, "b.jsonl.gz", scores[::-1])
    other = write(tmp_path, "c.jsonl", [*scores[:8], a_score(8, score=0.2500001)])
    empty, broken = write(tmp_path, "empty.jsonl", []), tmp_path / "broken.gz"
    broken.write_bytes(zipped.read_bytes()[:-20])

    def status(*words: object) -> int:
        return RUNNER.invoke(app, ["diff", *map(str, words)]).exit_code

    assert status(a, zipped) == 0
    assert status(a, other) == 1
    assert status(a, other, "--tolerance", "0.001") == 0
    assert status(a, empty) == status(empty, a) == status(a, broken) == status(a, tmp_path / "gone.jsonl") == 2
    assert status(a, tmp_path) == 2, "a folder without scores"


def test_folders_are_compared_by_scores_and_examples(tmp_path: Path) -> None:
    for name, label in (("x", True), ("y", False)):
        write(tmp_path, f"{name}/scores.jsonl", [a_score(1)])
        write(tmp_path, f"{name}/examples.jsonl", [an_example(1, label=True, released_ts=5 if label else 6)])

    done = RUNNER.invoke(app, ["diff", str(tmp_path / "x"), str(tmp_path / "y"), "--json"])

    found = json.loads(done.stdout)
    assert done.exit_code == 1
    assert [(one["kind"], one["same"], one["fields"]) for one in found] == [
        ("scores", 1, {}),
        ("examples", 0, {"released_ts": 1}),
    ]


def test_folders_without_a_bid_are_compared_by_what_else_they_hold(tmp_path: Path) -> None:
    def status() -> tuple[int, list[str]]:
        done = RUNNER.invoke(app, ["diff", str(tmp_path / "x"), str(tmp_path / "y"), "--json"])
        return done.exit_code, [one["kind"] for one in json.loads(done.stdout or "[]")]

    for name in "xy":
        write(tmp_path, f"{name}/scores.jsonl", [a_score(1)])
        write(tmp_path, f"{name}/bids.jsonl", [])
    without = status()
    write(tmp_path, "x/bids.jsonl", [a_bid(1)])
    one_sided = status()
    write(tmp_path, "y/bids.jsonl", [a_bid(1)])

    assert (without, one_sided, status()) == ((0, ["scores"]), (2, []), (0, ["scores", "bids"]))
