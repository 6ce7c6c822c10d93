"""Any River classifier behind the same door: finite probabilities, and bytes that are signed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from river import compose, facto

from online_models.estimators import signed_pickle
from online_models.estimators.first_rate import rate_learned
from schemas.codec import BadRecord
from schemas.dead_letters import INVALID

# Trees and naive Bayes say 0 and 1 after a handful of examples. A bid or a log loss built on that is
# wrong without bound; a millionth is below any rate that is worth predicting.
_EDGE = 1e-6


class RiverModel:
    """A River classifier as an `Estimator`.

    Parameters
    ----------
    name
        How scores name the model.
    classifier
        Anything with River's ``learn_one`` and ``predict_proba_one``, for the classes True and False.
    key
        Signs the bytes in which the model is kept and sent; at least 16 bytes.
    prior
        The rate of positives that is expected; no part of what is kept.
    """

    def __init__(self, name: str, classifier: Any, *, key: bytes, prior: float = 0.5) -> None:
        self._name = name
        self._classifier = classifier
        self._learned_names = _names_with_latents(classifier)
        self._key = key
        self._prior = prior
        self._n = 0
        self._positives = 0

    @property
    def name(self) -> str:
        """The declared name."""
        return self._name

    @property
    def classifier(self) -> Any:
        """The River object."""
        return self._classifier

    def predict_proba_one(self, x: Mapping[str, float]) -> dict[bool, float]:
        """Return probabilities from 1e-6 to 1 - 1e-6.

        Where the classifier has no answer (nothing learned, one class seen, NaN, numbers too large for its sums), it
        is the rate of positives learned, see `rate_learned`.
        """
        known = self._learned_names
        seen = dict(x) if known is None else {name: value for name, value in x.items() if name in known}
        try:
            p = self._classifier.predict_proba_one(seen).get(True)
        except ArithmeticError:
            p = None
        if p is None or not 0.0 <= p <= 1.0:
            p = rate_learned(self._positives, self._n, self._prior)
        p = min(max(float(p), _EDGE), 1.0 - _EDGE)
        return {False: 1.0 - p, True: p}

    def learn_one(self, x: Mapping[str, float], y: bool) -> None:
        """Learn an example."""
        self._classifier.learn_one(dict(x), y)
        self._n += 1
        self._positives += y

    def to_bytes(self) -> bytes:
        """Return all of the model as a signed pickle."""
        return signed_pickle.dumps((self._classifier, self._n, self._positives), key=self._key, context=self._name)

    def restore(self, blob: bytes) -> None:
        """Take up what `to_bytes` gave; raises BadRecord, and is then unchanged."""
        saved = signed_pickle.loads(blob, key=self._key, context=self._name)
        match saved:
            case (classifier, int(n), int(positives)) if type(classifier) is type(self._classifier):
                self._classifier, self._n, self._positives = classifier, n, positives
                self._learned_names = _names_with_latents(classifier)
            case _:
                raise BadRecord(INVALID, f"model: expected a {type(self._classifier).__name__} with its counts")


def _names_with_latents(classifier: Any) -> Mapping[str, Any] | None:
    """Return what a factorization machine knows of features; None of other models.

    River draws random factors for a feature that it is asked about and has never learned: it would
    answer by chance, remember it, and be another model afterwards.
    """
    last = list(classifier.steps.values())[-1] if isinstance(classifier, compose.Pipeline) else classifier
    if isinstance(last, facto.FMClassifier | facto.FwFMClassifier):
        latents: Mapping[str, Any] = last.latents
        return latents
    return None
