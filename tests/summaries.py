"""The summary of a batch that was processed whole."""

from __future__ import annotations

from online_models.step import Part, StepResult
from streams.summary import Summary


def summary_of(result: StepResult) -> Summary:
    """Note all of a batch at once."""
    summary = Summary()
    summary.take(Part(result.scores, result.examples, result.rule_said, result.bids))
    summary.end(result)
    return summary
