"""Any River classifier behind the same door: finite probabilities, and bytes that are signed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from online_models.estimators import signed_pickle

_EDGE = 1e-6


class RiverModel:
    """A River classifier as an `Estimator`.

    Parameters
    ----------
    name
        How scores name the model.
    classifier
        Anything with River's ``learn_one`` and ``predict_proba_one``.
    key
        Signs the bytes in which the model is kept and sent.
    """

    def __init__(self, name: str, classifier: Any, *, key: bytes) -> None:
        self._name = name
        self._classifier = classifier
        self._key = key
        self._n = 0
        self._positives = 0

    @property
    def name(self) -> str:
        return self._name

    @property
    def classifier(self) -> Any:
        """The River object."""
        return self._classifier

    def predict_proba_one(self, x: Mapping[str, float]) -> dict[bool, float]:
        """Return finite probabilities; where the model has none yet, the rate that was learned."""
        p = self._classifier.predict_proba_one(dict(x)).get(True)
        if p is None or not 0.0 <= p <= 1.0:  # NaN included; a model that saw one class leaves the other out
            p = (self._positives + 1) / (self._n + 2)
        p = min(max(float(p), _EDGE), 1.0 - _EDGE)
        return {False: 1.0 - p, True: p}

    def learn_one(self, x: Mapping[str, float], y: bool) -> None:
        self._classifier.learn_one(dict(x), y)
        self._n += 1
        self._positives += y

    def to_bytes(self) -> bytes:
        return signed_pickle.dumps((self._classifier, self._n, self._positives), key=self._key)

    def restore(self, blob: bytes) -> None:
        """Take up what `to_bytes` gave; raises BadRecord."""
        self._classifier, self._n, self._positives = signed_pickle.loads(blob, key=self._key)
