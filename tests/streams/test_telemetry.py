"""Latencies: percentiles of any span, and the buckets that Prometheus reads."""

from __future__ import annotations

from random import Random

import numpy as np
import pytest

from streams.telemetry import Latencies

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
