"""A batch that is processed in parts leads to what it leads to as a whole."""

from __future__ import annotations

from typing import Any
from unittest import mock

import pytest
from bidding_bench import BiddingBench, a_campaign, a_grant, a_request, begun
from builders import DAY, HOUR, MINUTE, EventLog, a_page_view, an_impression
from core_bench import ALL, CLICK, Bench, cut
from hypothesis import given
from hypothesis import strategies as st
from visits import log_of, visits

from online_models import parts
from online_models.parts import in_parts, result_of
from online_models.records import decode_batch
from online_models.step import Collected, StepResult

# Released with the event itself, behind what was closed before it.
OBJECTIVES = {**ALL, "quick": {**CLICK, "labels": "immediate"}}


def run_in_parts(bench: Any, log: EventLog, chunk: int) -> tuple[Any, int]:
    """Run a log as the shell does; return how many parts there were, too."""
    count = 0
    for records in cut(log.records, chunk):
        batch, out = decode_batch(records, topic="events", partition=0), Collected(bench.users)
        taken = list(in_parts(bench.core, batch, out))
        result = result_of(bench.core, batch, out)
        assert (result.scores, result.examples, result.rule_said, batch.events) == ([], [], [], [])
        count += len(taken)
        bench.results.append(
            result._replace(
                scores=[one for part in taken for one in part.scores],
                examples=[one for part in taken for one in part.examples],
                rule_said=[one for part in taken for one in part.rule_said],
                bids=[one for part in taken for one in part.bids],
            )
        )
    return bench, count


def rest_of(result: StepResult) -> Any:
    return result.accounting, result.changed_timers, result.notes, result.rule_said, [*result.changed_users]


@given(visits, st.integers(1, 40), st.integers(1, 5), st.integers(1, 3))
def test_parts_together_are_what_the_batch_leads_to(drawn: list[Any], chunk: int, events: int, visitors: int) -> None:
    log = log_of(drawn).tick(50 * DAY)
    whole = Bench(OBJECTIVES, asking_rules=True).run(log, chunk=chunk)

    with mock.patch.multiple(parts, _EVENTS=events, _VISITORS=visitors):
        found, _ = run_in_parts(Bench(OBJECTIVES, asking_rules=True), log, chunk)

    assert found.fingerprint() == whole.fingerprint()
    assert [rest_of(one) for one in found.results] == [rest_of(one) for one in whole.results]
    for one in (*found.results, *whole.results):
        scored = {score.score_id for score in one.scores}
        assert one.labels_its_own == any(example.score_id in scored for example in one.examples)


def test_windows_of_many_close_some_at_a_time() -> None:
    log = EventLog()
    for number in range(2_000):
        log.add(an_impression(f"i{number}", number, user_id=f"u{number}"))
    bench = Bench().run(log)
    gap = EventLog()
    gap.add_raw(None).add(a_page_view(2 * HOUR), a_page_view(2 * HOUR + 1))

    _, count = run_in_parts(bench, gap, 500)

    result = bench.results[-1]
    assert count == 2_000 // 500 + 1
    assert [(one.offset, one.seq) for one in result.examples] == [(1, seq) for seq in range(2_000)]
    assert result.accounting.examples == 2_000
    assert {one.released_ts for one in result.examples} == {result.accounting.stream_time_ms - 1}


@pytest.mark.parametrize(("gap_ms", "expected"), [(5_000, [601]), (5_001, [500, 101])])
def test_only_behind_a_longer_gap_are_windows_closed_ahead_of_the_event(gap_ms: int, expected: list[int]) -> None:
    # 601 impressions   their windows end
    # 0 .. 600          30 min + 0 .. 600
    log = EventLog().add(*(an_impression("i1", number, user_id=f"u{number}") for number in range(601)))
    bench = Bench().run(log.tick(30 * MINUTE - 4_000))
    behind = EventLog().add(a_page_view(30 * MINUTE - 4_000 + gap_ms))

    batch, out = decode_batch(behind.records, topic="events", partition=0), Collected(bench.users)
    taken = [len(part.examples) for part in in_parts(bench.core, batch, out)]

    assert taken == expected


@pytest.mark.parametrize("bids", [499, 500, 700])
def test_money_of_bids_that_expire_together_is_free_for_the_event_that_shows_it(bids: int) -> None:
    log = EventLog().add(begun(), a_grant(10_000 * bids))
    for number in range(bids):
        log.add(a_request(number, user_id=f"u{number}"))
    log.add(a_request(20 * MINUTE, user_id="last"), a_request(20 * MINUTE + 1, user_id="behind"))
    whole = BiddingBench(a_campaign(max_bid_cpm=10.0), granted=True).run(log, chunk=10_000)

    found, _ = run_in_parts(BiddingBench(a_campaign(max_bid_cpm=10.0), granted=True), log, 10_000)

    assert [one.reason for one in whole.bids[-2:]] == ["bid", "bid"]
    assert found.fingerprint() == whole.fingerprint()
