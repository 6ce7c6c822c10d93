"""When an estimate says too little, or cannot be right, and how to say so."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from schemas.report import Estimate

# The interval of ten events of equal weight reaches from half the value to nearly twice, a factor of 3.8.
FEW_EVENTS = 10.0
WIDE = 4.0
# What comes of fewer decisions than this is moved by a handful of visitors.
FEW_DECISIONS = 50.0
# A mean weight this many standard errors from 1 is no accident.
_OFF = 4.0


def warning_of(estimator: str, estimate: Estimate, *, rare_events: float, weight_error: float) -> str | None:
    """Return why nothing should be concluded from an estimate, as sentences; None if nothing is wrong.

    Parameters
    ----------
    rare_events
        Kish's effective number of events of the rarer class.
    weight_error
        Standard error of the mean weight.
    """
    if not estimate.n:
        return "No decision with a propensity and a label."
    said = []
    if estimator == "dm":
        said.append("The interval does not hold the error of the model, which may be larger.")
    else:
        said += _too_little(estimate, rare_events)
    mean = estimate.mean_weight
    if mean is not None and abs(mean - 1.0) > _OFF * weight_error + 1e-9:
        said.append(
            f"The mean weight is {mean:.3g} and should be 1: the propensities are not those of these decisions, "
            "or the policy wants what was never shown."
        )
    return " ".join(said) or None


def _too_little(estimate: Estimate, rare_events: float) -> list[str]:
    if estimate.value is None:
        return ["The policy would have done nothing of what was logged."]
    if rare_events < FEW_EVENTS:
        return [
            f"Too little to conclude: what decides it is worth {rare_events:.1f} events of equal weight; "
            f"{FEW_EVENTS:.0f} would be the least."
        ]
    if estimate.effective_sample_size < FEW_DECISIONS:
        return [
            f"Too little to conclude: it is worth {estimate.effective_sample_size:.1f} decisions of the policy's own; "
            f"{FEW_DECISIONS:.0f} would be the least."
        ]
    low, high, logged = estimate.low, estimate.high, estimate.logged_value
    if low is None or high is None or logged is None:
        return ["Too little to conclude: a single decision."]
    if high > WIDE * low:
        return [
            f"Too little to conclude: anything from {max(low, 0.0):.2g} to {high:.2g} is possible, "
            f"more than a factor of {WIDE:.0f}."
        ]
    if estimate.mean_weight == estimate.max_weight:  # the logging policy itself
        return []
    if low <= logged <= high:
        return [f"The interval holds what the logging policy earned, {logged:.4g}: no difference is shown."]
    return []
