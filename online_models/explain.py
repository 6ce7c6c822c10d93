"""Why a model that is no sum of shares predicted what it did: each feature left out in turn."""

from __future__ import annotations

from math import log

from online_models.estimators.base import Estimator

# Each costs a prediction; an example of ours has a few dozen features.
MAX_EXPLAINED = 50
_EDGE = 1e-9


def logit(p: float) -> float:
    """Return the log odds of p, kept finite at the edges.

    >>> logit(0.5)
    0.0
    """
    p = min(max(p, _EDGE), 1.0 - _EDGE)
    return log(p / (1.0 - p))


def leave_one_out(model: Estimator, x: dict[str, float], n_reasons: int) -> tuple[float, list[tuple[str, float]]]:
    """Predict, and tell by how much each feature's absence would have moved the log odds.

    Features that only act together are each shown with the whole effect, so the shares need not add
    up. Only the first 50 features are tried.

    Returns
    -------
    (float, list of (str, float))
        Probability, and the largest effects, largest first.
    """
    p = model.predict_proba_one(x)[True]
    if n_reasons == 0:
        return p, []
    with_all = logit(p)
    effects = []
    for name in list(x)[:MAX_EXPLAINED]:
        rest = {other: value for other, value in x.items() if other != name}
        effect = with_all - logit(model.predict_proba_one(rest)[True])
        if effect:
            effects.append((abs(effect), name, effect))
    effects.sort(reverse=True)
    return p, [(name, effect) for _, name, effect in effects[:n_reasons]]
