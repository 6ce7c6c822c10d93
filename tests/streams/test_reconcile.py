from __future__ import annotations

from typing import Any

import msgspec
import pytest
from msgspec import structs
from sklearn.metrics import log_loss, roc_auc_score

from schemas.bids import BID, Bid
from schemas.examples import Example
from schemas.metrics import Accounting
from schemas.scores import Ranked, Score
from streams.cli.feeding import show
from streams.reconcile import Reconciliation


def a_score(offset: int, score: float = 0.5, *, partition: int = 0) -> Score:
    return Score(
        score_id=f"events-{partition}-{offset}:click",
        event_id=f"e{offset}",
        user_id="u1",
        ts=0,
        objective="click",
        score=score,
        model="ftrl",
        model_version=1,
        reasons=[],
        topic="events",
        partition=partition,
        offset=offset,
        source_ts=1000,
    )


def a_bid(offset: int, reason: str = BID, *, partition: int = 0) -> Bid:
    return Bid(
        reason=reason,
        bid_id=f"events-{partition}-{offset}",
        event_id=f"e{offset}",
        user_id="u1",
        ts=0,
        topic="events",
        partition=partition,
        offset=offset,
        source_ts=1000,
    )


def an_example(offset: int, label: bool, *, use: Any = "both", seq: int = 0) -> Example:
    return Example(
        objective="click",
        score_id=f"events-0-{offset}:click",
        ts=0,
        label=label,
        features={},
        score=0.9,
        model_version=1,
        topic="events",
        partition=0,
        offset=9,
        seq=seq,
        released_ts=0,
        use=use,
    )


def a_chunk(first: int, behind: int, *, scored: int = 0, dead: int = 0, bids: int = 0, **ignored: int) -> Accounting:
    return Accounting(
        topic="events",
        partition=0,
        first_offset=first,
        next_offset=behind,
        events=behind - first,
        scored=scored,
        dead=dead,
        ignored=ignored,
        scores=scored - bids,
        examples=0,
        stream_time_ms=0,
        bids=bids,
    )


def test_every_event_is_found_where_it_went() -> None:
    found = Reconciliation("events", {0: (5, 10)})
    found.accounting.add(a_chunk(5, 10, scored=2, dead=1, tick=2))
    found.add_score(a_score(5), 1010)
    found.add_score(a_score(6), 1030)
    found.add_dead(0, 7, "not_json")

    report = found.report(events=5, seconds=2.0)

    assert (report["scored"], report["ignored"], report["dead"], report["unaccounted"]) == (2, 2, 1, 0)
    assert report["events_per_s"] == 2.5
    assert report["latency_ms"]["p50"] == 20.0
    assert found.accounting.covered == found.accounting.total == 5


@pytest.mark.parametrize("lost", ["score", "dead letter", "accounting"])
def test_what_is_lost_shows(lost: str) -> None:
    found = Reconciliation("events", {0: (0, 3)})
    if lost != "accounting":
        found.accounting.add(a_chunk(0, 3, scored=1, dead=1, tick=1))
    if lost != "score":
        found.add_score(a_score(0), 1000)
    if lost != "dead letter":
        found.add_dead(0, 1, "not_json")

    assert found.report(events=3, seconds=1.0)["unaccounted"] == 1


def test_what_a_crash_has_repeated_counts_once() -> None:
    found = Reconciliation("events", {0: (0, 6)})
    found.accounting.add(a_chunk(0, 2, scored=2))
    found.accounting.add(a_chunk(2, 4, scored=2))  # published, and its state never stored
    found.accounting.add(a_chunk(2, 6, scored=4))
    for offset in (0, 1, 2, 3, 2, 3, 4, 5):
        found.add_score(a_score(offset), 1000)

    report = found.report(events=6, seconds=1.0)

    assert (report["scored"], report["duplicate_scores"], report["unaccounted"]) == (6, 2, 0)
    assert found.accounting.sums()[0]["scored"] == 6


def test_answered_bid_requests_are_found_where_their_bids_stand() -> None:
    found = Reconciliation("events", {0: (5, 10)})
    found.accounting.add(a_chunk(5, 10, scored=4, bids=3, tick=1))
    found.add_score(a_score(5), 1010)
    for offset, reason in ((6, BID), (7, "paced"), (8, BID), (7, "paced"), (4, BID), (10, BID)):
        found.add_bid(a_bid(offset, reason))
    found.add_bid(a_bid(8, partition=1))

    report = found.report(events=5, seconds=2.0)

    assert (report["scored"], report["scores"], report["bids"], report["duplicate_bids"]) == (4, 1, 3, 1)
    assert report["unaccounted"] == 0
    assert found.bids_found == found.accounting.sums()[0]["bids"] == 3


def test_a_bid_that_is_lost_shows() -> None:
    found = Reconciliation("events", {0: (0, 2)})
    found.accounting.add(a_chunk(0, 2, scored=2, bids=2))
    found.add_bid(a_bid(0))

    assert found.report(events=2, seconds=1.0)["unaccounted"] == 1
    assert found.bids_found < found.accounting.sums()[0]["bids"]


def test_others_events_are_left_out() -> None:
    found = Reconciliation("events", {0: (5, 10)})
    found.add_score(a_score(4), 1000)
    found.add_score(a_score(10), 1000)
    found.add_score(a_score(6, partition=1), 1000)
    found.accounting.add(a_chunk(0, 5, scored=5))

    assert found.scores_found == 0
    assert found.accounting.covered == 0


def test_quality_is_that_of_the_published_scores() -> None:
    found = Reconciliation("events", {0: (0, 10)})
    scores, labels = [0.1, 0.4, 0.35, 0.8, 0.8], [False, False, True, True, False]
    for offset, score in enumerate(scores):
        found.add_score(a_score(offset, score), 1000)
    for offset, label in enumerate(labels):
        found.add_example(an_example(offset, label, seq=offset))
    found.add_example(an_example(0, True, seq=0))  # repeated by a crash
    found.add_example(an_example(1, False, use="learn", seq=7))  # a fake negative is not judged
    found.add_example(an_example(8, True, seq=8))  # of a score that was never found

    quality = found.report(events=5, seconds=1.0)["objectives"]["click"]

    assert (quality["n"], quality["positives"]) == (5, 2)
    assert quality["auc"] == pytest.approx(roc_auc_score(labels, scores))
    assert quality["log_loss"] == pytest.approx(log_loss(labels, scores))
    assert found.unknown_scores == 1
    assert found.report(events=5, seconds=1.0)["unknown_scores"] == 1


def an_answer(offset: int, *scores: float) -> Score:
    """The answer to a rank request: one message for all of its places."""
    ranked = [Ranked(item_id=f"i{place}", score=one, propensity=1.0, reasons=[]) for place, one in enumerate(scores, 1)]
    return structs.replace(
        a_score(offset, scores[0]), score_id=f"events-0-{offset}:home", ranking="home", ranked=ranked
    )


def of_place(message: Any, place: int, objective: str = "click", **fields: Any) -> Any:
    """The score or the example of one place, which names it."""
    score_id = f"{message.score_id.rpartition(':')[0]}:{objective}#{place}"
    return structs.replace(message, score_id=score_id, objective=objective, **fields)


def test_each_place_of_a_ranking_is_judged_by_its_own_score() -> None:
    found = Reconciliation("events", {0: (0, 2)})
    found.add_score(an_answer(0, 0.9, 0.5, 0.2), 1000)
    found.add_score(an_answer(1, 0.8, 0.4), 1000)
    labels = {(0, 1): True, (0, 2): True, (0, 3): False, (1, 1): False, (1, 2): True}
    for seq, ((offset, place), label) in enumerate(labels.items()):
        found.add_example(of_place(an_example(offset, label, seq=seq), place))
    found.add_example(of_place(an_example(1, True, seq=8), 3))  # of a place that was not published

    report = found.report(events=2, seconds=1.0)

    quality, scores = report["objectives"]["click"], [0.9, 0.5, 0.2, 0.8, 0.4]
    assert (quality["n"], found.unknown_scores) == (5, 1)
    assert quality["auc"] == pytest.approx(roc_auc_score(list(labels.values()), scores))
    assert quality["log_loss"] == pytest.approx(log_loss(list(labels.values()), scores))
    assert (report["scored"], report["scores"], report["duplicate_scores"]) == (2, 2, 0)


def test_scores_of_the_places_for_another_objective_are_no_duplicates() -> None:
    found = Reconciliation("events", {0: (0, 1)})
    found.add_score(an_answer(0, 0.9, 0.5), 1000)
    of_cart = [of_place(a_score(0, score), place, "cart") for place, score in enumerate((0.3, 0.1), 1)]
    for score in (*of_cart, of_cart[1], an_answer(0, 0.9, 0.5)):  # the last two: repeated by a crash
        found.add_score(score, 1000)
    for place, label in enumerate((False, True), 1):
        found.add_example(of_place(an_example(0, label, seq=place), place, "cart"))

    report = found.report(events=1, seconds=1.0)

    assert (report["scored"], report["scores"], report["duplicate_scores"]) == (1, 3, 2)
    assert report["objectives"]["cart"]["log_loss"] == pytest.approx(log_loss([False, True], [0.3, 0.1]))


def test_examples_of_others_are_neither_counted_nor_missed() -> None:
    found = Reconciliation("events", {0: (5, 10)})  # an example is released at offset 9 unless said otherwise
    other = {"topic": "others", "partition": 1, "offset": 10}

    found.add_score(a_score(6), 1000)
    found.add_example(an_example(6, True))
    for seq, (name, value) in enumerate(other.items(), 1):
        found.add_example(msgspec.structs.replace(an_example(4, True, seq=seq), **{name: value}))
    found.add_example(an_example(4, True, seq=8))  # of a trigger before ours, released among ours
    found.add_example(an_example(10, True, seq=9))

    assert found.examples_found == 1 + 2
    assert found.report(events=5, seconds=1.0)["objectives"]["click"]["n"] == 1
    assert found.unknown_scores == 0


@pytest.mark.parametrize(("bad", "passed_over"), [(0, 0), (3, 0), (0, 4), (3, 4)])
def test_rows_that_became_no_events_are_told_with_the_report(
    bad: int, passed_over: int, capsys: pytest.CaptureFixture[str]
) -> None:
    report = Reconciliation("events", {0: (5, 10)}).report(events=5, seconds=1.0)

    show({**report, "bad_rows": bad, "rows_without_event": passed_over})

    said = capsys.readouterr().out
    assert ("rows that could not be used, and are no events: 3" in said) is bool(bad)
    assert ("rows to which no rule of the mapping applied: 4" in said) is bool(passed_over)
