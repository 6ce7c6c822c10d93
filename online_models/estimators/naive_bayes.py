"""Bernoulli naive Bayes on sparse dicts, at a cost that does not grow with the features it has met.

The model of River's ``BernoulliNB`` (to 1e-6, for River adds 1e-9 to each factor): a feature is there, with
a value above 0, or it is not, and what is not there counts as well. So a prediction is a sum over every
feature ever met; River computes it, which takes milliseconds where items are one-hots. Here it is put
together from the features that are there, and

    sum over all features of log(1 - p_f) = sum over m of h_m * log(n + alpha - m) - F * log(n + 2 * alpha),

with n examples of the class, F features, of which h_m were met m times. Few different m occur, and the sum
changes only when something of the class is learned. Sums are exact (`fsum`), so their order does not matter.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from math import fsum, log
from typing import Any

import msgspec
from msgspec import Struct
from river import base

from online_models.estimators.first_rate import more_of_the_common, rate_learned
from online_models.sums import sigmoid
from schemas.codec import UNDECODABLE, BadRecord, undecodable
from schemas.dead_letters import INVALID

FORMAT = 1
NAME = "naive_bayes"

# Features are no independent evidence, and a product of hundreds of them soon says 0 or 1; see `RiverModel`.
_EDGE = 1e-6


class _Saved(Struct, array_like=True):
    """A model as bytes: counts stand in the order of `names`, of negatives and of positives."""

    format: int
    parameters: dict[str, float]
    names: list[str]
    examples: tuple[int, int]
    counts: tuple[list[int], list[int]]


_pack = msgspec.msgpack.Encoder().encode
_unpack = msgspec.msgpack.Decoder(_Saved).decode


class _Class:
    """What is known of the positives, or of the negatives."""

    def __init__(self) -> None:
        self.examples = 0
        self.counts: list[int] = []
        self._met: Counter[int] = Counter()  # how many features were met so often
        self._absent: float | None = None

    def take_on(self) -> None:
        """Make room for another feature."""
        self.counts.append(0)
        self._met[0] += 1
        self._absent = None

    def meet(self, place: int) -> None:
        """Count a feature that is there."""
        count = self.counts[place]
        self.counts[place] = count + 1
        self._met[count + 1] += 1
        self._met[count] -= 1
        if not self._met[count]:
            del self._met[count]

    def seen(self) -> None:
        """Count an example."""
        self.examples += 1
        self._absent = None

    def set(self, examples: int, counts: list[int]) -> None:
        """Take up what was saved."""
        self.examples, self.counts = examples, counts
        self._met, self._absent = Counter(counts), None

    def log_absent(self, alpha: float) -> float:
        """Return the log probability that none of the features is there."""
        if self._absent is None:
            n = self.examples + alpha
            terms = [number * log(n - count) for count, number in self._met.items()]
            self._absent = fsum([*terms, -len(self.counts) * log(n + alpha)])
        return self._absent


class NaiveBayes(base.Classifier):
    """Binary classifier that takes features for independent evidence.

    Parameters
    ----------
    alpha
        Examples of each class in which every feature is taken to have been there, and not to.
    max_features
        A model that has met this many features takes on no further ones.
    prior
        The rate of positives that is expected: where it begins. No part of what is kept.

    Examples
    --------
    >>> model = NaiveBayes()
    >>> for x, y in [({"a": 1.0}, True), ({"b": 1.0}, False), ({"a": 1.0, "c": 1.0}, True)]:
    ...     model.learn_one(x, y)
    >>> round(model.predict_proba_one({"a": 1.0})[True], 3)
    0.884
    """

    name = NAME

    def __init__(self, alpha: float = 1.0, max_features: int = 1_000_000, prior: float = 0.5) -> None:
        for name, value in (("alpha", alpha), ("max_features", max_features)):
            if not value > 0:
                raise ValueError(f"Expected {name} > 0, got {value}")
        self.alpha = alpha
        self.max_features = max_features
        self.names: list[str] = []
        self._position: dict[str, int] = {}
        self.prior = prior
        # Beside those of a class that were learned; none at a prior of a half, as in River.
        self._beforehand = more_of_the_common(prior)
        self._classes = (_Class(), _Class())

    def __len__(self) -> int:
        return len(self.names)

    @property
    def most_features(self) -> int:
        """How many features it takes on at most."""
        return self.max_features

    def predict_proba_one(self, x: Mapping[Any, float], **_: Any) -> dict[Any, float]:
        """Return ``{False: 1 - p, True: p}``, p from 1e-6 to 1 - 1e-6; `rate_learned` until both classes were seen."""
        negatives, positives = self._classes
        if not negatives.examples or not positives.examples:
            p = rate_learned(positives.examples, negatives.examples + positives.examples, self.prior)
        else:
            position_of = self._position.get
            there = [place for name, value in x.items() if value > 0.0 and (place := position_of(name)) is not None]
            less, more = self._beforehand
            for_it = self._log_likelihood(positives, more, there)
            p = sigmoid(for_it - self._log_likelihood(negatives, less, there))
        p = min(max(p, _EDGE), 1.0 - _EDGE)
        return {False: 1.0 - p, True: p}

    def _log_likelihood(self, one: _Class, beforehand: float, there: list[int]) -> float:
        alpha, n, counts = self.alpha, one.examples, one.counts
        odds = [log((counts[place] + alpha) / (n + alpha - counts[place])) for place in there]
        return fsum([log(n + beforehand), one.log_absent(alpha), *odds])

    def learn_one(self, x: Mapping[Any, float], y: Any) -> None:
        """Learn one example."""
        known = self._classes[bool(y)]
        for name, value in x.items():
            place = self._position.get(name)
            if place is None:
                if len(self.names) >= self.max_features:
                    continue
                place = self._position[name] = len(self.names)
                self.names.append(name)
                for one in self._classes:
                    one.take_on()
            if value > 0.0:
                known.meet(place)
        known.seen()

    def parameters(self) -> dict[str, float]:
        """Return what a declaration may say of it."""
        return {"alpha": self.alpha, "max_features": self.max_features}

    def to_bytes(self) -> bytes:
        """Return all of the model; one restored from it goes on bit for bit the same."""
        negatives, positives = self._classes
        return _pack(
            _Saved(
                FORMAT,
                self.parameters(),
                self.names,
                (negatives.examples, positives.examples),
                (negatives.counts, positives.counts),
            )
        )

    def restore(self, blob: bytes) -> None:
        """Take up what `to_bytes` has saved of a model with the same parameters; raises BadRecord."""
        try:
            saved = _unpack(blob)
        except UNDECODABLE as error:
            raise BadRecord(INVALID, f"model: {undecodable(error)}") from None
        if saved.format != FORMAT:
            raise BadRecord(INVALID, f"model: expected format {FORMAT}, got {saved.format}")
        if saved.parameters != self.parameters():
            raise BadRecord(INVALID, f"model: expected the parameters {self.parameters()}, got {saved.parameters}")
        for examples, counts in zip(saved.examples, saved.counts, strict=True):
            if len(counts) != len(saved.names) or any(not 0 <= count <= examples for count in counts):
                raise BadRecord(INVALID, "model: expected a count of at most the examples for each name")
        self.names = saved.names
        self._position = {name: place for place, name in enumerate(saved.names)}
        for one, examples, counts in zip(self._classes, saved.examples, saved.counts, strict=True):
            one.set(examples, counts)
