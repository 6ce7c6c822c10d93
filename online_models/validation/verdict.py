"""Whether a model beats the rules: a sentence that says so, or says that it does not."""

from __future__ import annotations

from collections.abc import Mapping

from schemas.report import Metrics

# How the rules are called in sentences.
TITLES = {
    "base_rate": "the base rate",
    "popularity": "popularity",
    "last_click": "the last-click rule",
    "rule": "the hand-written rule",
}


def verdict(objective: str, model: Metrics, baselines: Mapping[str, Metrics]) -> str:
    """Compare a model with the simple rules, by log loss first and by AUC.

    Examples
    --------
    >>> def of(log_loss, auc):
    ...     return Metrics(n=9, positives=3, log_loss=log_loss, base_log_loss=0.7, auc=auc, average_precision=None,
    ...         calibration_error=None, accuracy=None, precision=None, recall=None, lift=None)
    >>> verdict("click", of(0.60, 0.70), {"base_rate": of(0.69, 0.5), "rule": of(0.65, 0.6)})
    'click: the model beats every simple rule: log loss 0.6000 (the hand-written rule: 0.6500), AUC 0.700 (0.600).'
    >>> verdict("click", of(0.66, 0.70), {"rule": of(0.65, 0.6)})
    'click: the model does NOT beat the hand-written rule: log loss 0.6600 (rule: 0.6500), AUC 0.700 (0.600).'
    """
    if model.log_loss is None:
        return f"{objective}: no label has come, nothing can be said."
    judged = {name: one for name, one in baselines.items() if one.log_loss is not None}
    best = min(judged, key=lambda name: (judged[name].log_loss or 0.0, name))
    best_auc = max((one.auc or 0.5 for one in judged.values()), default=0.5)
    loss = judged[best].log_loss or 0.0
    if model.log_loss >= loss:
        return (
            f"{objective}: the model does NOT beat {TITLES.get(best, best)}: log loss {model.log_loss:.4f} "
            f"(rule: {loss:.4f}), AUC {_number(model.auc)} ({_number(judged[best].auc)})."
        )
    start = f"{objective}: the model beats every simple rule"
    if (model.auc or 0.5) <= best_auc:
        start = f"{objective}: the model beats every simple rule by log loss, but NOT by AUC"
    return (
        f"{start}: log loss {model.log_loss:.4f} ({TITLES.get(best, best)}: {loss:.4f}), "
        f"AUC {_number(model.auc)} ({best_auc:.3f})."
    )


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
