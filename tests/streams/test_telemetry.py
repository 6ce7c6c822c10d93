"""Latencies: percentiles of any span, and the buckets that Prometheus reads; batches that are counted together."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from random import Random
from typing import Any

import numpy as np
import pytest
from summaries import summary_of

from online_models.learning import Size
from online_models.step import StepResult
from schemas.bids import Bid
from schemas.dead_letters import dead_letter
from schemas.metrics import Accounting, Progress
from schemas.scores import Score
from schemas.user_state import UserState
from streams.telemetry import Latencies, Telemetry

SHARES = (0.5, 0.95, 0.99)


def test_percentiles_of_a_span_lie_within_an_eighth_of_a_bucket() -> None:
    random = Random(1)
    latencies = Latencies()
    latencies.observe_many([50_000.0] * 500)
    before = latencies.counts()
    values = [random.lognormvariate(4.0, 1.0) for _ in range(20_000)]
    for first in range(0, len(values), 300):
        latencies.observe_many(values[first : first + 300])

    found = latencies.percentiles(latencies.counts() - before, SHARES)

    assert found == pytest.approx(np.percentile(values, [50, 95, 99]).tolist(), rel=0.1)


def shown(telemetry: Telemetry) -> dict[str, float]:
    """Return what a scrape finds, by name and labels."""
    lines = [line for line in telemetry.exposition().decode().splitlines() if not line.startswith("#")]
    return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines)}


def test_what_is_alarmed_of_is_there_before_it_happens() -> None:
    """A counter that begins with 1 shows no increase."""
    telemetry = Telemetry()
    telemetry.begin_at_zero(["click"], ["click", "click~fast"], ["events"])
    found = shown(telemetry)

    for name in (
        'streamscore_drifts_total{direction="worse",objective="click"}',
        'streamscore_dead_letters_total{reason="not_json"}',
        'streamscore_bid_notices_total{kind="paid_above_bid"}',
        'streamscore_outages_total{step="save"}',
        'streamscore_refused_examples_total{objective="click"}',
        'streamscore_refused_examples_total{objective="click~fast"}',
        'streamscore_assigned_partitions{topic="events"}',
    ):
        assert found[name] == 0
    assert [name for name in found if name.startswith("streamscore_build_info")]


def test_where_nothing_is_bid_no_ledger_is_missed() -> None:
    assert "streamscore_ledger_open" in shown(Telemetry())
    assert "streamscore_ledger_open" not in shown(Telemetry(bidding=False))


def test_what_was_given_up_is_not_shown_any_more() -> None:
    """Beside the new owner's figures, sums over all workers would be too high."""
    telemetry = Telemetry()
    for partition in ("0", "1"):
        telemetry.lag.labels("events", partition).set(7)
        telemetry.open.labels(partition).set(400)
        telemetry.stream_time.labels(partition).set(1e9)
    telemetry.lag.labels("examples", "0").set(3)
    for name in ("click", "sale"):
        progress = Progress(
            objective=name, version=9, n=5, positives=2, learned=5, refused=0, log_loss=0.4, base_log_loss=None,
            auc=None, mean_score=None,
        )  # fmt: skip
        telemetry.learned_done(name, progress, learned=5, refused=0)
        telemetry.model_sized(name, Size(900, 1000))

    telemetry.forget_events("events", 0)
    telemetry.forget_events("events", 5)
    telemetry.forget_examples("examples", 0, ["click", "click~slow"])

    found = shown(telemetry)
    left = [name for name in found if "open_attr" in name or "stream_time" in name or "lag_records" in name]
    assert sorted(left) == [
        'streamscore_lag_records{partition="1",topic="events"}',
        'streamscore_open_attributions{partition="1"}',
        'streamscore_stream_time_seconds{partition="1"}',
    ]
    assert [name for name in found if "progressive" in name] == [
        'streamscore_progressive{metric="log_loss",objective="sale"}'
    ]
    assert list(telemetry.progress) == list(telemetry.snapshot()["model_sizes"]) == ["sale"]
    assert [name for name in found if "model_features" in name] == [
        'streamscore_model_features{objective="sale"}',
        'streamscore_model_features_limit{objective="sale"}',
    ]


def test_nothing_has_no_percentiles_and_clocks_that_disagree_count_as_no_time() -> None:
    latencies = Latencies()
    assert latencies.percentiles(latencies.counts(), SHARES) is None

    latencies.observe_many([-5.0])

    assert latencies.percentiles(latencies.counts(), [1.0]) == [pytest.approx(0.25)]


def test_the_buckets_are_cumulative_and_end_with_all() -> None:
    latencies = Latencies()
    latencies.observe_many([1.0, 2.0, 2.1, 400.0, 59_000.0, 61_000.0, 1e9])

    [family] = latencies.collect()

    buckets = {one.labels["le"]: one.value for one in family.samples if one.name.endswith("_bucket")}
    assert (buckets["0.002"], buckets["0.005"], buckets["0.5"], buckets["60.0"], buckets["+Inf"]) == (2, 3, 4, 5, 7)


def a_result(at_ms: int, scores: int, *, events: int = 0) -> StepResult:
    made = [
        Score(
            score_id=f"e-0-{at_ms}:{n}",
            event_id="e",
            user_id="u",
            ts=at_ms,
            objective="click",
            score=0.1,
            model="ftrl",
            model_version=1,
            reasons=[],
            topic="e",
            partition=0,
            offset=n,
            source_ts=at_ms,
        )
        for n in range(scores)
    ]
    accounting = Accounting(
        topic="e",
        partition=0,
        first_offset=0,
        next_offset=scores,
        events=scores + events,
        scored=scores,
        dead=events,
        ignored={},
        scores=scores,
        examples=0,
        stream_time_ms=at_ms,
    )
    return StepResult(made, [], accounting, {}, {}, Counter())


def a_bid(n: int) -> Bid:
    place: dict[str, Any] = {"topic": "e", "partition": 0, "offset": n}
    return Bid(reason="paced", bid_id=f"b-{n}", event_id=f"e-{n}", user_id="u", ts=0, source_ts=1, **place)


def a_state() -> UserState:
    return UserState(layout=0, last_ts=0, recent_ids=b"", slots=[], outcome_ts=[], open=[])


@pytest.mark.parametrize(("batches", "scores"), [(1, 3), (31, 3), (33, 3), (3, 700)])
def test_whoever_looks_sees_every_batch_that_is_done(batches: int, scores: int) -> None:
    telemetry = Telemetry()
    for n in range(batches):
        telemetry.batch_done(summary_of(a_result(n, scores)), seconds=0.01, open_count=n)

    def value(name: str, **labels: str) -> float | None:
        return telemetry.registry.get_sample_value(f"streamscore_{name}", labels)

    assert value("scores_total", objective="click") == batches * scores
    assert value("events_total", outcome="scored") == batches * scores
    assert value("score_latency_seconds_count") == batches * scores
    assert value("chunk_seconds_count") == batches
    assert value("open_attributions", partition="0") == batches - 1


def test_every_way_to_look_catches_up() -> None:
    looks: list[Callable[[Telemetry], int]] = [
        lambda one: one.totals["scores"],
        lambda one: len(one.recent_scores),
        lambda one: int(one.latency.counts().sum()),
        lambda one: one.snapshot()["totals"]["scores"],
        lambda one: one.bids_by_reason["paced"],
        lambda one: one.notices_by_kind["win"],
        lambda one: int(b'streamscore_scores_total{objective="click"} 3.0' in one.exposition()) * 3,
    ]
    for look in looks:
        telemetry = Telemetry()
        result = a_result(0, 3)._replace(notes=Counter({"win": 3}), bids=[a_bid(n) for n in range(3)])
        telemetry.batch_done(summary_of(result), seconds=0.01, open_count=0)
        assert look(telemetry) == 3


def test_what_waits_to_be_counted_is_bounded_by_events_and_holds_no_states() -> None:
    telemetry = Telemetry()
    dead = dead_letter(key=b"u", value=b"x", reason="invalid", detail="", source="e-0-1", source_ts_ms=1)
    for n in range(20):
        result = a_result(n, 0, events=500)._replace(changed_users={"u": a_state()}, dead_letters=[dead])
        telemetry.batch_done(summary_of(result), seconds=0.01, open_count=0)
        assert sum(one.summary.accounting.events for one in telemetry._waiting) < 1000
        held = [value for one in telemetry._waiting for value in vars(one.summary).values()]
        assert not any(state in repr(held) for state in ("UserState(", "DeadLetter("))
    assert telemetry.totals["events"] == 20 * 500


def test_a_latency_is_of_the_moment_when_the_batch_was_done_not_of_the_look(monkeypatch: pytest.MonkeyPatch) -> None:
    telemetry = Telemetry()
    monkeypatch.setattr(time, "time", lambda: 1.05)
    telemetry.batch_done(summary_of(a_result(1000, 3)), seconds=0.01, open_count=0)
    monkeypatch.setattr(time, "time", lambda: 99.0)

    found = telemetry.latency.percentiles(telemetry.latency.counts(), [1.0])

    assert found == [pytest.approx(50.0, rel=0.1)]


def test_a_step_that_waits_is_exposed_with_the_seconds_and_counted_once() -> None:
    telemetry = Telemetry()
    outage = object()

    telemetry.waits.began(outage, "reach the store", time.monotonic() - 90)
    during = telemetry.registry.get_sample_value("streamscore_waiting", {"step": "reach the store"})
    telemetry.waits.ended(outage)

    assert during == pytest.approx(90, abs=5)
    assert telemetry.registry.get_sample_value("streamscore_waiting", {"step": "reach the store"}) == 0
    assert telemetry.registry.get_sample_value("streamscore_outages_total", {"step": "reach the store"}) == 1
