"""Whether a model beats the rules: a sentence that says so, or says that it does not."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from schemas.report import Metrics

# How the rules are called in sentences.
TITLES = {
    "base_rate": "the base rate",
    "popularity": "popularity",
    "last_click": "the last-click rule",
    "rule": "the hand-written rule",
}


class Other(NamedTuple):
    """How another candidate did.

    Attributes
    ----------
    overall
        Its metrics.
    baselines
        Those of the simple rules at its own triggers, by name.
    comparable
        It was asked the same: the same triggers were judged by the same labels.
    """

    overall: Metrics
    baselines: Mapping[str, Metrics]
    comparable: bool = True


def verdict(
    objective: str, model: Metrics, baselines: Mapping[str, Metrics], others: Mapping[str, Other] | None = None
) -> str:
    """Compare a model with the simple rules, by log loss first and by AUC; and say which candidate is best.

    Parameters
    ----------
    others
        The other candidates, by label. Each has to beat the rules at its own triggers; only those that are comparable
        are held against `model`.

    Examples
    --------
    >>> def of(log_loss, auc):
    ...     return Metrics(n=9, positives=3, log_loss=log_loss, base_log_loss=0.7, auc=auc, average_precision=None,
    ...         calibration_error=None, accuracy=None, precision=None, recall=None, lift=None)
    >>> verdict("click", of(0.60, 0.70), {"base_rate": of(0.69, 0.5), "rule": of(0.65, 0.6)})[:63]
    'click: the model beats every simple rule: log loss 0.6000 (the '
    >>> verdict("click", of(0.66, 0.70), {"base_rate": of(0.69, 0.5), "rule": of(0.65, 0.6)})[:54]
    'click: the model does NOT beat the hand-written rule: '
    """
    if model.log_loss is None:
        return f"{objective}: no label has come, nothing can be said."
    losses = {name: one.log_loss for name, one in baselines.items() if one.log_loss is not None}
    orders = {name: one.auc for name, one in baselines.items() if one.auc is not None}
    best = min(losses, key=lambda name: (losses[name], name))
    if model.log_loss >= losses[best]:
        says = f"does NOT beat {_title(best)}"
    elif model.auc is not None and orders and model.auc <= max(orders.values()):
        says = "beats every simple rule by log loss, but NOT by AUC"
    else:
        says = "beats every simple rule"
    sentence = f"{objective}: the model {says}: log loss {model.log_loss:.4f} ({_title(best)}: {losses[best]:.4f})"
    if model.auc is None or not orders:  # labels of one class only
        return sentence + "." + _of_others(model.log_loss, losses[best], others or {})
    first = max(orders, key=lambda name: (orders[name], name))
    sentence = f"{sentence}, AUC {model.auc:.3f} ({_title(first)}: {orders[first]:.3f})."
    return sentence + _of_others(model.log_loss, losses[best], others or {})


# Shares of the base rate's log loss: below the first a model is as good as none, beyond the second it is another model.
_NOTHING = 0.002
_CHANGED = 0.1


def fit(second_half: Metrics, last: Metrics) -> str:
    """Tell from progressive validation whether a model still learns, or fits what is past.

    A model's skill is the share of the base rate's log loss that it saves, so that a harder or easier time
    does not count as its own doing. In the last quarter of the time, against the second half, a tenth more skill
    means that it has still been learning (underfitting so far), a tenth less that it fits what is past: the
    world drifts, or it overfits. The first half is left out: until the first windows have closed the base rate is a
    mere prior, so skill from that time is no yardstick for what comes later.

    Examples
    --------
    >>> def of(log_loss, base):
    ...     return Metrics(n=9, positives=3, log_loss=log_loss, base_log_loss=base, auc=None, average_precision=None,
    ...         calibration_error=None, accuracy=None, precision=None, recall=None, lift=None)
    >>> fit(of(0.60, 0.69), of(0.55, 0.69)), fit(of(0.60, 0.69), of(0.60, 0.69))
    ('still learning', 'settled')
    >>> fit(of(0.60, 0.69), of(0.65, 0.69)), fit(of(0.60, 0.69), of(0.70, 0.69))
    ('drifting or overfitting', 'no better than the base rate')
    """
    skill, skill_now = _skill(second_half), _skill(last)
    if skill is None or skill_now is None:
        return "too few labels"
    if skill_now < _NOTHING:
        return "no better than the base rate"
    if skill_now > skill + _CHANGED * abs(skill):
        return "still learning"
    return "settled" if skill_now >= skill - _CHANGED * abs(skill) else "drifting or overfitting"


def _skill(one: Metrics) -> float | None:
    return 1.0 - one.log_loss / one.base_log_loss if one.log_loss is not None and one.base_log_loss else None


def _of_others(own: float, rule: float, others: Mapping[str, Other]) -> str:
    """Name the best of the other candidates, those that were asked something else, and those that a rule beats."""
    judged = {label: (one.overall.log_loss, one) for label, one in others.items() if one.overall.log_loss is not None}
    losses = {label: loss for label, (loss, one) in judged.items() if one.comparable}
    found = ""
    if losses:
        best = min(losses, key=lambda label: (losses[label], label))
        better = "better" if losses[best] < own else "no better"
        found = f" Of the other candidates {best} is best by log loss ({losses[best]:.4f}), {better} than this one."
    unlike = [f"{label} ({_saved(one.overall)})" for label, (_, one) in judged.items() if not one.comparable]
    if unlike:
        found += f" Not comparable, since other triggers or labels were judged: {', '.join(unlike)}."
    beaten = [label for label, (loss, one) in judged.items() if loss >= _best_rule(one, rule)]
    return found + (f" They do NOT all beat the rules: {', '.join(beaten)}." if beaten else "")


def _best_rule(other: Other, rule: float) -> float:
    """Return the log loss that a candidate has to beat; of the same triggers, also what is said beside the first."""
    losses = [one.log_loss for one in other.baselines.values() if one.log_loss is not None]
    return min([*losses, rule] if other.comparable or not losses else losses)


def _saved(one: Metrics) -> str:
    """Say what share of the base rate's log loss a model saves, at its own triggers."""
    skill = _skill(one)
    positives = f"{one.positives:,} of {one.n:,} positive"
    return positives if skill is None else f"{positives}, {100 * skill:+.1f} % log loss saved against the base rate"


def _title(name: str) -> str:
    return TITLES.get(name, name)
