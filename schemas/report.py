"""What `streamscore replay --json` writes: how good each candidate was, beside the simple rules."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct

from schemas.metrics import Standing

REPORT_VERSION = 1


class Metrics(Struct, kw_only=True):
    """Of the scores whose label came; None where nothing can be said.

    Attributes
    ----------
    n, positives
        Scores judged, and those whose outcome came.
    log_loss
        Mean, in nats.
    base_log_loss
        Of always predicting the rate known so far, at the same triggers.
    auc
        Area under the ROC curve; 0.5 is no order at all.
    average_precision
        Area under the precision-recall curve, by steps; the rate of positives is no order at all.
    calibration_error
        Mean distance of rate and mean score over 15 groups of equal size.
    accuracy, precision, recall, lift
        At the operating point; lift is precision over the rate of positives.
    """

    n: int
    positives: int
    log_loss: float | None
    base_log_loss: float | None
    auc: float | None
    average_precision: float | None
    calibration_error: float | None
    accuracy: float | None
    precision: float | None
    recall: float | None
    lift: float | None


class Window(Metrics, kw_only=True):
    """Metrics of the triggers of a span of event time.

    Attributes
    ----------
    from_ms, to_ms
        The span, epoch ms; `to_ms` not included.
    baselines, baselines_auc
        Log loss and AUC of the simple rules at the same triggers, by name.
    """

    from_ms: int
    to_ms: int
    baselines: dict[str, float | None]
    baselines_auc: dict[str, float | None]


class CalibrationPoint(Struct, kw_only=True):
    """A group of scores: what they promised, and what came."""

    mean_score: float
    rate: float
    n: int


class Point(Struct, kw_only=True):
    """Where precision and recall are measured: scores of at least ``threshold``, or the best ``budget`` share."""

    threshold: float | None
    budget: float


class ObjectiveReport(Struct, kw_only=True):
    """One objective of one candidate.

    Attributes
    ----------
    overall, second_half, last_quarter
        Of all triggers, and of those of the second half and the last quarter of the time.
    unknown_labels
        Labels that were not judged, because their trigger was not seen or had been given up.
    weights
        The largest of a linear model at the end, (feature, weight).
    """

    overall: Metrics
    second_half: Metrics
    last_quarter: Metrics
    windows: list[Window]
    calibration_curve: list[CalibrationPoint]
    operating_point: Point
    weights: list[tuple[str, float]]
    unknown_labels: int = 0


class PromotionReport(Struct, kw_only=True):
    """Another variant of an objective's model was served from an event time on.

    Attributes
    ----------
    ts_ms
        Event time, epoch ms.
    variant, before
        Challenger that was served, and what was served before; empty: the declared model.
    standing
        What the test decided by.
    """

    objective: str
    ts_ms: int
    variant: str
    before: str
    standing: Standing


class CandidateReport(Struct, kw_only=True):
    """One candidate.

    Attributes
    ----------
    models
        Name of the model, by objective.
    baselines
        Metrics of each simple rule at this candidate's triggers, by objective and name.
    not_comparable
        Objectives in which other triggers or labels were judged than those of the first candidate.
    us_per_event
        Wall time in this candidate's scoring, learning, judging and writing, in microseconds for each event.
    policies
        Estimates by objective, policy and estimator, where scores carry propensities.
    promotions, standings
        Changes of what was served, and how the challengers of each objective stood at the end.
    """

    objectives: dict[str, ObjectiveReport]
    models: dict[str, str]
    us_per_event: float
    policies: dict[str, dict[str, dict[str, Estimate]]] = {}
    promotions: list[PromotionReport] = []
    standings: dict[str, dict[str, Standing]] = {}
    baselines: dict[str, dict[str, Metrics]] = {}
    not_comparable: list[str] = []


class Estimate(Struct, frozen=True, kw_only=True):
    """What one estimator says of a policy that did not run, and how far to trust it.

    Attributes
    ----------
    value
        Expected reward per decision.
    standard_error, low, high
        Of the value, and its 95 % interval.
    interval
        How the interval was made: "weighted events" or "normal, without the model's error".
    n
        Decisions that were used.
    positives, effective_positives
        Decisions with a reward and a weight above 0, and how many of equal weight they are worth.
    effective_sample_size
        (Σ w)² / Σ w² (Kish 1965): as many decisions of the target policy's own would say as much.
    mean_weight, max_weight
        The mean must be near 1, or the propensities do not belong to these decisions.
    logged_value
        Mean reward of the logging policy on the same decisions.
    warning
        Why nothing should be concluded from it; None if there is no reason.
    """

    value: float | None
    standard_error: float | None
    low: float | None
    high: float | None
    interval: str
    n: int
    positives: int
    effective_positives: float
    effective_sample_size: float
    mean_weight: float | None
    max_weight: float
    logged_value: float | None
    warning: str | None


class AlgorithmRow(Struct, kw_only=True):
    """A line of the table of algorithms: quality, time and memory, and whether it still learns."""

    algorithm: str
    objective: str
    log_loss: float | None
    auc: float | None
    last_quarter_log_loss: float | None
    last_quarter_auc: float | None
    predict_us: float | None
    learn_us: float | None
    memory_bytes: int | None
    verdict: str
    note: str


class BadRow(Struct, frozen=True, kw_only=True):
    """A row of a file that became no event; the message holds no value of it."""

    file: str
    line: int
    message: str


class Report(Struct, kw_only=True):
    """A replay, as it ended.

    Attributes
    ----------
    verdict
        Whether the learned models beat the simple rules; the report's first line.
    source
        What was read.
    events
        Records read; ``events == scored + dead + sum(ignored)``.
    from_ms, to_ms
        Event times of the first and the last event, epoch ms.
    events_per_s
        Records for each second of wall time, reading and writing included, for all candidates together.
    version
        Of streamscore.
    objectives, baselines, policies
        Of the first candidate. ``baselines`` holds the metrics of each simple rule, by objective and name.
    candidates
        All of them, by label.
    bad_rows, first_bad_rows
        How many rows of files became no event because something was wrong with them, and the first of them.
    notes
        What must be known before the figures are believed.
    """

    verdict: str
    version: str
    source: list[str]
    events: int
    scored: int
    dead: int
    ignored: dict[str, int]
    from_ms: int
    to_ms: int
    duration_s: float
    events_per_s: float
    objectives: dict[str, ObjectiveReport]
    baselines: dict[str, dict[str, Metrics]]
    candidates: dict[str, CandidateReport]
    policies: dict[str, dict[str, dict[str, Estimate]]] = {}
    algorithms: list[AlgorithmRow] = []
    bad_rows: int = 0
    first_bad_rows: list[BadRow] = []
    notes: list[str] = []
    schema_version: Annotated[int, Meta(ge=1, le=REPORT_VERSION)] = REPORT_VERSION
