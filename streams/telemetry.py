"""What a worker tells about itself: Prometheus metrics, and a snapshot for `/status` and the demo."""

from __future__ import annotations

import contextlib
import time
from collections import Counter as Counts
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from importlib.metadata import version
from itertools import pairwise
from math import inf
from typing import Any, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from online_models.bidding.desk import NOTICES
from online_models.learning import Size
from schemas.dead_letters import REASONS
from schemas.metrics import Progress
from schemas.scores import Score
from streams.retry import Outages
from streams.summary import RECENT_SCORES, Summary

# From a batch that waits for nothing to a backlog of a minute.
_LATENCY_BUCKETS = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60, inf)
# Each bucket is counted in so many parts, so that percentiles of any span of time can be told.
_PARTS = 8
# Counted at once: for the few of a batch numpy's calls cost more than for so many.
_COUNTED_AT_ONCE = 4096
# Where little is to do, batches are small and many; counting them together costs half.
_BATCHES_AT_ONCE, _EVENTS_AT_ONCE = 32, 1000
_RECENT_LATENCIES = 4096
_NOTICES = frozenset(NOTICES)
# What is repeated while a dependency is away, by the names that `Worker.attempt` is given.
STEPS = (
    "reach the store",
    "reach Kafka",
    "find the topics",
    "load",
    "publish",
    "save",
    "load checkpoint",
    "save checkpoint",
    "publish model",
)


_QUALITY = ("log_loss", "base_log_loss", "auc")


class Latencies(Collector):
    """A histogram that counts many at once; the client library's own costs 2 us for each value."""

    def __init__(self, what: str = "score", of: str = "an event") -> None:
        self._name = f"streamscore_{what}_latency_seconds"
        self._text = f"Time from the Kafka timestamp of {of} until its {what} is published and its state is stored."
        finite = (0.0, *_LATENCY_BUCKETS[:-1])
        parts = [np.linspace(low, high, _PARTS + 1)[1:] for low, high in pairwise(finite)]
        self._edges = np.append(np.concatenate(parts), inf)
        self._counts = np.zeros(len(self._edges), dtype=np.int64)
        self._sum_s = 0.0
        self._uncounted_ms: list[float] = []

    def counts(self) -> NDArray[np.int64]:
        """Return how many there were so far, by part of a bucket; for `percentiles`."""
        self._count()
        return self._counts.copy()

    def percentiles(self, counts: NDArray[np.int64], shares: Sequence[float]) -> list[float] | None:
        """Return percentiles in ms of counts, such as the difference of two; None of nothing. Shares are above 0.

        They lie within the right part of a bucket, an eighth of the bucket's width; beyond 60 s they are 60 s.
        """
        reached = np.cumsum(counts)
        if not reached[-1]:
            return None
        edges = np.concatenate(([0.0], self._edges[:-1], self._edges[-2:-1]))
        wanted = np.array(shares) * reached[-1]
        place = np.searchsorted(reached, wanted)
        within = 1.0 - (reached[place] - wanted) / counts[place]
        found = edges[place] + within * (edges[place + 1] - edges[place])
        return [float(1000.0 * one) for one in found]

    def observe_many(self, latencies_ms: list[float]) -> None:
        """Count latencies, in milliseconds; clocks that disagree can make them negative."""
        self._uncounted_ms += latencies_ms
        if len(self._uncounted_ms) >= _COUNTED_AT_ONCE:
            self._count()

    def _count(self) -> None:
        seconds = np.maximum(np.array(self._uncounted_ms) / 1000, 0.0)
        self._uncounted_ms = []
        self._counts += np.bincount(np.searchsorted(self._edges, seconds), minlength=len(self._edges))
        self._sum_s += float(seconds.sum())

    def collect(self) -> Iterator[HistogramMetricFamily]:
        """Return the histogram for an exposition."""
        self._count()
        family = HistogramMetricFamily(self._name, self._text)
        # The last part of each bucket, and what lies beyond all of them.
        reached = np.cumsum(self._counts)[[*range(_PARTS - 1, len(self._counts) - 1, _PARTS), -1]]
        names = ["+Inf" if edge == inf else str(float(edge)) for edge in _LATENCY_BUCKETS]
        buckets = [(name, float(count)) for name, count in zip(names, reached, strict=True)]
        family.add_metric([], buckets=buckets, sum_value=self._sum_s)
        yield family


class _Done(NamedTuple):
    """A batch whose results are published and stored; of them what is to be counted."""

    summary: Summary
    seconds: float
    open_count: int
    at_ms: float


class _CatchUp(Collector):
    """Has nothing of its own; registered first, it brings all others up to date."""

    def __init__(self, catch_up: Callable[[], None]) -> None:
        self._catch_up = catch_up

    def collect(self) -> Iterator[Metric]:
        self._catch_up()
        return iter(())


class _Waiting(Collector):
    """For how long steps have been repeated, at the moment of the question: nobody's clock has to run for it."""

    def __init__(self, outages: Outages) -> None:
        self._outages = outages

    def collect(self) -> Iterator[GaugeMetricFamily]:
        text = "Seconds for which a step has been repeated because what it needs is away; 0: it is not."
        family = GaugeMetricFamily("streamscore_waiting", text, labels=["step"])
        for step, seconds in self._outages.waiting_s(time.monotonic()).items():
            family.add_metric([step], seconds)
        yield family


class Telemetry:
    """Counters and gauges of one worker, in a registry of their own.

    Batches are counted several at once, and whenever somebody looks.

    Attributes
    ----------
    waits
        The steps that wait at the moment; whoever repeats one tells it.
    """

    def __init__(self, *, bidding: bool = True) -> None:
        self._waiting: deque[_Done] = deque()
        self._waiting_events = 0
        self.registry = CollectorRegistry()
        self.registry.register(_CatchUp(self.catch_up))
        self.events = self._counter("events", "Records of the events topic, by where they went.", "outcome")
        self.ignored = self._counter("ignored", "Valid records that were passed over, by rule.", "rule")
        self.notes = self._counter("attribution_notes", "Triggers that get no label, by cause.", "cause")
        self.scores = self._counter("scores", "Scores published.", "objective")
        self.examples = self._counter("examples", "Labelled examples released.", "objective", "label")
        self.learned = self._counter("learned_examples", "Examples that a model has learned.", "objective")
        self.refused = self._counter("refused_examples", "Examples that the guard kept from the model.", "objective")
        self.dead = self._counter("dead_letters", "Records refused, by reason.", "reason")
        self.drifts = self._counter(
            "drifts", "Times that the log loss of the scores changed for good.", "objective", "direction"
        )
        self.recent = self._gauge(
            "recent", "How good the last 20,000 judged scores were, and the simple rules.", "objective", "metric"
        )
        self.outages = self._counter("outages", "Times that a dependency was away.", "step")
        self.waits = Outages(lambda step: self.outages.labels(step).inc())
        self.registry.register(_Waiting(self.waits))
        self.chunks = Histogram(
            "streamscore_chunk_seconds",
            "Time from a chunk's hand-over until its state is stored.",
            registry=self.registry,
            buckets=_LATENCY_BUCKETS,
        )
        self._latency = Latencies()
        self.registry.register(self._latency)
        self._bid_latency = Latencies("bid", "a bid request")
        self.registry.register(self._bid_latency)
        self.lag = self._gauge("lag_records", "Records that wait on a partition.", "topic", "partition")
        self.unstable = self._gauge(
            "unstable_records", "Records that cannot be read before a transaction is over.", "topic", "partition"
        )
        self.open = self._gauge("open_attributions", "Triggers that wait for their label.", "partition")
        self.stream_time = self._gauge("stream_time_seconds", "Highest event time seen.", "partition")
        self.version = self._gauge("model_version", "Version of the scorer's model.", "objective")
        self.behind = self._gauge(
            "model_behind_examples", "Examples published here that it has not learned.", "objective"
        )
        self.features = self._gauge(
            "model_features", "Features that the learner's model knows, where their number is bounded.", "objective"
        )
        self.most_features = self._gauge(
            "model_features_limit", "Features that it takes on at most; it never learns further ones.", "objective"
        )
        self.unreadable = self._gauge("unreadable_model_records", "Records of the models topic that are none.")
        self.foreign = self._gauge("foreign_model_records", "Records of models that are not declared here.")
        self.incomplete = self._gauge("incomplete_models", "Model versions passed over for missing parts.", "objective")
        self.quality = self._gauge("progressive", "Progressive validation of the learner.", "objective", "metric")
        self.bids = self._counter("bids", "Bid requests answered, by `bid` or the reason that none was made.", "reason")
        self.notices = self._counter("bid_notices", "What became of bids.", "kind")
        self.campaigns = self._gauge("campaigns", "Campaigns that run, are wrong, or do not bid.", "status")
        self.campaign_budget = self._gauge("campaign_budget", "Budget of the day, currency.", "campaign")
        self.campaign_spent = self._gauge("campaign_spent", "Spent today by all workers, currency.", "campaign")
        self.campaign_left = self._gauge(
            "campaign_left", "Of today's budget, neither spent nor handed out.", "campaign"
        )
        self.campaign_multiplier = self._gauge("campaign_multiplier", "By which pacing scales values.", "campaign")
        self.ledger_open = self._gauge("ledger_open", "1 while the ledger of budgets can be reached and grants.")
        self._bids_by_reason: Counts[str] = Counts()
        self._notices_by_kind: Counts[str] = Counts()
        self.assigned = self._gauge("assigned_partitions", "Partitions that this worker owns.", "topic")
        self._totals = {"events": 0, "scored": 0, "ignored": 0, "dead": 0, "scores": 0, "examples": 0, "learned": 0}
        self._latencies: deque[float] = deque(maxlen=_RECENT_LATENCIES)
        self._recent: deque[Score] = deque(maxlen=RECENT_SCORES)
        self._progress: dict[str, Progress] = {}
        self._sizes: dict[str, Size] = {}
        self.started = time.time()
        if not bidding:  # its alarms would ring for ever where nothing is bid
            self.registry.unregister(self.ledger_open)
        self._gauge("build_info", "1, with the version that runs.", "version").labels(version("streamscore")).set(1)

    def begin_at_zero(self, objectives: Iterable[str], models: Iterable[str], topics: Iterable[str]) -> None:
        """Show what may have to be alarmed of before it happens: of what begins with 1, no increase is seen."""
        for reason in REASONS:
            self.dead.labels(reason)
        for kind in NOTICES:
            self.notices.labels(kind)
        for step in STEPS:
            self.outages.labels(step)
        for topic in topics:
            self.assigned.labels(topic).set(0)
        for name in models:
            self.refused.labels(name)
        for name in objectives:
            for direction in ("worse", "better"):
                self.drifts.labels(name, direction)

    def forget_events(self, topic: str, partition: int) -> None:
        """Show nothing more of a partition that another worker may score now."""
        self.catch_up()
        _remove(self.lag, topic, str(partition))
        _remove(self.open, str(partition))
        _remove(self.stream_time, str(partition))

    def forget_examples(self, topic: str, partition: int, names: Iterable[str]) -> None:
        """Show nothing more of a partition that another worker may learn from now, nor how good these models are."""
        _remove(self.lag, topic, str(partition))
        for name in names:
            self._progress.pop(name, None)
            for metric in _QUALITY:
                _remove(self.quality, name, metric)
            self._sizes.pop(name, None)
            _remove(self.features, name)
            _remove(self.most_features, name)

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(f"streamscore_{name}", text, labels, registry=self.registry)

    def _gauge(self, name: str, text: str, *labels: str) -> Gauge:
        return Gauge(f"streamscore_{name}", text, labels, registry=self.registry)

    def batch_done(self, summary: Summary, *, seconds: float, open_count: int) -> None:
        """Note a batch whose results are published and stored just now, to be counted."""
        self._waiting.append(_Done(summary, seconds, open_count, time.time() * 1000))
        self._waiting_events += summary.accounting.events
        if self._waiting_events >= _EVENTS_AT_ONCE or len(self._waiting) >= _BATCHES_AT_ONCE:
            self.catch_up()

    def catch_up(self) -> None:
        """Count what was noted."""
        while self._waiting:
            done = self._waiting.popleft()
            self._waiting_events -= done.summary.accounting.events
            self._count(done)

    def _count(self, done: _Done) -> None:
        summary, at_ms = done.summary, done.at_ms
        accounting = summary.accounting
        ignored = sum(accounting.ignored.values())
        self.events.labels("scored").inc(accounting.scored)
        self.events.labels("ignored").inc(ignored)
        self.events.labels("dead").inc(accounting.dead)
        for rule, count in accounting.ignored.items():
            self.ignored.labels(rule).inc(count)
        for cause, count in summary.notes.items():
            if cause in _NOTICES:
                self.notices.labels(cause).inc(count)
                self._notices_by_kind[cause] += count
            else:
                self.notes.labels(cause).inc(count)
        for (objective, label), count in summary.examples.items():
            self.examples.labels(objective, str(label).lower()).inc(count)
        self.chunks.observe(done.seconds)
        self.open.labels(str(accounting.partition)).set(done.open_count)
        self.stream_time.labels(str(accounting.partition)).set(accounting.stream_time_ms / 1000)
        for objective, count in summary.scores.items():
            self.scores.labels(objective).inc(count)
        latencies_ms = [at_ms - ms for ms in summary.score_sources_ms]
        self._latency.observe_many(latencies_ms)
        self._latencies.extend(latencies_ms)
        self._recent.extend(summary.recent)
        if summary.bids:
            self._observe_bids(summary, at_ms)
        totals = self._totals
        totals["events"] += accounting.events
        totals["scored"] += accounting.scored
        totals["ignored"] += ignored
        totals["dead"] += accounting.dead
        totals["scores"] += accounting.scores
        totals["examples"] += accounting.examples

    def _observe_bids(self, summary: Summary, at_ms: float) -> None:
        self._bid_latency.observe_many([at_ms - ms for ms in summary.bid_sources_ms])
        self._bids_by_reason.update(summary.bids)
        for reason, count in summary.bids.items():
            self.bids.labels(reason).inc(count)

    def learned_done(self, name: str, progress: Progress | None, *, learned: int, refused: int) -> None:
        """Count what a learner has learned, and show how well its scores were, if it gives any."""
        self.learned.labels(name).inc(learned)
        self.refused.labels(name).inc(refused)
        if progress is None:  # what it learns are no labels
            return
        self._totals["learned"] += learned
        self._progress[name] = progress
        for metric in _QUALITY:
            value = getattr(progress, metric)
            if value is not None:
                self.quality.labels(name, metric).set(value)

    def model_sized(self, name: str, size: Size) -> None:
        """Show how large a model is that this worker learns, and how large it may become."""
        self._sizes[name] = size
        self.features.labels(name).set(size.features)
        self.most_features.labels(name).set(size.most)

    @property
    def latency(self) -> Latencies:
        """From the Kafka timestamps of events until their scores are published and their states stored."""
        self.catch_up()
        return self._latency

    @property
    def bids_by_reason(self) -> Mapping[str, int]:
        """Bid requests answered since the start, by `bid` or the reason that none was made."""
        self.catch_up()
        return self._bids_by_reason

    @property
    def notices_by_kind(self) -> Mapping[str, int]:
        """What became of bids since the start."""
        self.catch_up()
        return self._notices_by_kind

    @property
    def totals(self) -> Mapping[str, int]:
        """What was counted since the start."""
        self.catch_up()
        return self._totals

    @property
    def recent_scores(self) -> Sequence[Score]:
        """The last scores, the latest last."""
        self.catch_up()
        return tuple(self._recent)

    @property
    def progress(self) -> Mapping[str, Progress]:
        """How good scores were, by objective, where this worker learns."""
        return self._progress

    def exposition(self) -> bytes:
        """Return the metrics in the Prometheus text format."""
        return generate_latest(self.registry)

    def snapshot(self) -> dict[str, Any]:
        """Return what `/status` shows."""
        self.catch_up()
        latencies = np.array(self._latencies) if self._latencies else None
        return {
            "uptime_s": round(time.time() - self.started, 1),
            "totals": dict(self._totals),
            "latency_ms": None
            if latencies is None
            else {"p50": float(np.percentile(latencies, 50)), "p99": float(np.percentile(latencies, 99))},
            "objectives": {name: _plain(progress) for name, progress in self._progress.items()},
            "model_sizes": {name: size._asdict() for name, size in self._sizes.items()},
            "recent_scores": [_plain(score) for score in self._recent],
        }


def _remove(gauge: Gauge, *labels: str) -> None:
    with contextlib.suppress(KeyError):  # it was never shown
        gauge.remove(*labels)


def _plain(message: Any) -> dict[str, Any]:
    return {name: msgspec.to_builtins(getattr(message, name)) for name in message.__struct_fields__}
