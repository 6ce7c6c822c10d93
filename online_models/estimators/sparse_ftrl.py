"""Sparse FTRL-Proximal logistic regression: River's numbers at a fraction of River's cost.

It is McMahan et al., "Ad click prediction: a view from the trenches" (KDD 2013), in the order of
steps of River 0.26's ``LogisticRegression(optimizer=FTRLProximal(...), l2=0)``, so that either can
take the place of the other:

1. the gradient comes from the weights as they stand;
2. the intercept moves by plain SGD, outside of FTRL;
3. each weight of the vector is then computed from z and n *before* this example enters them; weights
   lag one step behind, and a feature's weight is still 0 after its first example;
4. where ``|z| <= l1`` the weight keeps its value (the paper would set it to 0).

Hence a weight that has left 0 never returns to it. Names map to objects with all that is known of a
feature: one look-up, and what is needed lies together in the processor's cache. What is done with all
features of an example stands in `online_models.plain_sums`, and is compiled where it can be.
"""

from __future__ import annotations

import sys
from array import array
from collections.abc import Iterable, Mapping, Sequence
from math import exp
from operator import attrgetter
from typing import Any

import msgspec
from msgspec import Struct
from river import base

from online_models.explain import Reasons
from online_models.sums import Coordinate, move, score_named, sigmoid, sum_up
from online_models.uncertainty import Uncertainty
from schemas.codec import UNDECODABLE, BadRecord, undecodable
from schemas.dead_letters import INVALID

FORMAT = 1
NAME = "ftrl"


class _Saved(Struct, array_like=True):
    """A model as bytes: doubles are little-endian and stand in the order of `names`."""

    format: int
    parameters: dict[str, float]
    intercept: float
    names: list[str]
    weights: bytes
    z: bytes
    n: bytes


_position_of = attrgetter("position")
_pack = msgspec.msgpack.Encoder().encode
_unpack = msgspec.msgpack.Decoder(_Saved).decode


class SparseFTRL(base.Classifier):
    """Logistic regression on sparse dicts, learned by FTRL-Proximal.

    Feature values must be finite, see `online_models.guard`.

    Parameters
    ----------
    alpha, beta
        Learning rate of a coordinate: ``alpha / (beta + sqrt(sum of squared gradients))``.
    l1, l2
        Regularization; a weight stays 0 until its ``|z|`` passes `l1`.
    intercept_init
        The logit of the base rate, if it is known, saves the first thousands of examples.
    intercept_lr
        Constant learning rate of the intercept; 0 keeps it as it is.
    clip_gradient
        Bound of the loss gradient's magnitude; matters for sample weights only.
    max_weights
        A model that has this many features takes on no further ones. A million of them need some
        200 MB in the learner, 300 where nothing is compiled.

    Examples
    --------
    >>> model = SparseFTRL(alpha=0.5)
    >>> for _ in range(100):
    ...     model.learn_one({"warm": 1.0}, True)
    ...     model.learn_one({"cold": 1.0}, False)
    >>> model.predict_proba_one({"warm": 1.0})[True] > 0.8
    True
    """

    name = NAME

    def __init__(
        self,
        alpha: float = 0.05,
        beta: float = 1.0,
        l1: float = 0.0,
        l2: float = 1.0,
        intercept_init: float = 0.0,
        intercept_lr: float = 0.01,
        clip_gradient: float = 1e12,
        max_weights: int = 1_000_000,
    ) -> None:
        for name, value in (("alpha", alpha), ("clip_gradient", clip_gradient), ("max_weights", max_weights)):
            if not value > 0:
                raise ValueError(f"Expected {name} > 0, got {value}")
        for name, value in (("beta", beta), ("l1", l1), ("l2", l2), ("intercept_lr", intercept_lr)):
            if not value >= 0:
                raise ValueError(f"Expected {name} >= 0, got {value}")
        if not beta / alpha + l2 > 0:
            raise ValueError("Expected beta > 0 or l2 > 0, got 0 for both")
        self.alpha = alpha
        self.beta = beta
        self.l1 = l1
        self.l2 = l2
        self.intercept_init = intercept_init
        self.intercept_lr = intercept_lr
        self.clip_gradient = clip_gradient
        self.max_weights = max_weights
        self.intercept = float(intercept_init)
        self.names: list[str] = []
        self._of: dict[str, Coordinate] = {}
        self._changed: list[Coordinate] = []

    def __len__(self) -> int:
        return len(self._of)

    @property
    def most_features(self) -> int:
        """How many features it takes on at most."""
        return self.max_weights

    @property
    def weights(self) -> dict[str, float]:
        """All weights that are not 0, by name."""
        return {name: one.w for name, one in self._of.items() if one.w}

    def weight_of(self, name: str) -> float | None:
        """Return a feature's weight; None if it is not known."""
        one = self._of.get(name)
        return None if one is None else one.w

    def weights_of(self, names: Sequence[str]) -> dict[str, float]:
        """Return the weights of some known features, without those that are 0."""
        of = self._of
        return {name: weight for name in names if (weight := of[name].w)}

    def information_of(self, names: Sequence[str]) -> dict[str, float]:
        """Return the sums of squared gradients of some known features, without those that are 0."""
        of = self._of
        return {name: squares for name in names if (squares := of[name].n)}

    @property
    def prior_precision(self) -> float:
        """How strongly a weight is pulled to 0 before anything is learned; > 0."""
        return self.beta / self.alpha + self.l2

    def uncertainty(self) -> Uncertainty:
        """Return what is known of the weights; it follows the model."""
        of = self._of

        def information_of(name: str) -> float:
            one = of.get(name)
            return 0.0 if one is None else one.n

        return Uncertainty(information_of, self.prior_precision)

    # ---------------------------------------------------------------- predicting

    def predict_proba_one(self, x: Mapping[Any, float], **_: Any) -> dict[Any, float]:
        """Return ``{False: 1 - p, True: p}``."""
        p = sigmoid(self._logit(x))
        return {False: 1.0 - p, True: p}

    def _logit(self, x: Mapping[str, float]) -> float:
        logit = self.intercept
        of = self._of.get
        for name, value in x.items():
            one = of(name)
            if one is not None:
                logit += one.w * value
        return logit

    def predict_with_contributions(self, x: Mapping[str, float], k: int) -> tuple[float, Reasons]:
        """Return (p, the k largest shares of the logit by magnitude)."""
        of = self._of
        weights = {name: of[name].w for name in x if name in of}
        return score_named(weights, [*x], [*x.values()], self.intercept, k)

    # ---------------------------------------------------------------- learning

    def learn_one(self, x: Mapping[Any, float], y: Any, w: float = 1.0) -> None:
        """Learn one example; `w` is its sample weight."""
        try:
            ones = [*map(self._of.__getitem__, x)]
        except KeyError:
            x, ones = self._take_on(x)
        values = [*x.values()]
        gradient = self._loss_gradient(sum_up(ones, values, self.intercept), y, w)
        self.intercept -= self.intercept_lr * gradient
        rate = 1.0 / self.alpha
        move(ones, values, self._changed, gradient, rate, self.beta * rate + self.l2, self.l1)

    def _loss_gradient(self, logit: float, y: Any, w: float) -> float:
        margin = logit if y else -logit
        if margin > 18.0:
            size = exp(-margin)
        elif margin < -18.0:
            size = 1.0
        else:
            size = 1.0 / (exp(margin) + 1.0)
        size *= w
        clip = self.clip_gradient
        if size > clip:
            size = clip
        elif size < -clip:
            size = -clip
        return -size if y else size

    def _take_on(self, x: Mapping[str, float]) -> tuple[Mapping[str, float], list[Coordinate]]:
        """Make room for unknown names; return what of `x` the model knows then, with what it knows of it."""
        of = self._of
        for name in x:
            if name not in of and len(of) < self.max_weights:
                of[name] = Coordinate(len(of))
                self.names.append(name)
        known = {name: value for name, value in x.items() if name in of}
        return known, [of[name] for name in known]

    def take_changed(self) -> list[str]:
        """Return the features that may have changed since the last call, and forget about them."""
        changed = sorted(self._changed, key=_position_of)
        for one in changed:
            one.changed = False
        self._changed = []
        return [self.names[one.position] for one in changed]

    # ---------------------------------------------------------------- saving

    def parameters(self) -> dict[str, float]:
        """Return the constructor's arguments."""
        return {
            "alpha": self.alpha,
            "beta": self.beta,
            "l1": self.l1,
            "l2": self.l2,
            "intercept_init": self.intercept_init,
            "intercept_lr": self.intercept_lr,
            "clip_gradient": self.clip_gradient,
            "max_weights": self.max_weights,
        }

    def to_bytes(self) -> bytes:
        """Return all of the model; one restored from it goes on bit for bit the same."""
        return _pack(
            _Saved(
                FORMAT,
                self.parameters(),
                self.intercept,
                self.names,
                *(_doubles_to_bytes(map(attrgetter(part), self._of.values())) for part in ("w", "z", "n")),
            )
        )

    @classmethod
    def from_bytes(cls, blob: bytes) -> SparseFTRL:
        """Return the model that `to_bytes` has saved; raises BadRecord."""
        saved = _decode(blob)
        parameters: dict[str, Any] = dict(saved.parameters)
        try:
            model = cls(**parameters | {"max_weights": int(parameters["max_weights"])})
        except (TypeError, ValueError, KeyError) as error:
            raise BadRecord(INVALID, f"model: {error}") from None
        model._adopt(saved)
        return model

    def restore(self, blob: bytes) -> None:
        """Take up what `to_bytes` has saved; raises BadRecord if other parameters than `intercept_init` differ."""
        saved = _decode(blob)
        if saved.parameters | {"intercept_init": self.intercept_init} != self.parameters():
            raise BadRecord(INVALID, f"model: expected the parameters {self.parameters()}, got {saved.parameters}")
        self._adopt(saved)

    def _adopt(self, saved: _Saved) -> None:
        w, z, n = (_doubles_from_bytes(doubles) for doubles in (saved.weights, saved.z, saved.n))
        if not len(saved.names) == len(w) == len(z) == len(n):
            raise BadRecord(INVALID, "model: expected as many weights as names")
        self.intercept = saved.intercept
        self.names = saved.names
        self._of = {name: Coordinate(i, w[i], z[i], n[i]) for i, name in enumerate(saved.names)}
        self._changed = []


def _decode(blob: bytes) -> _Saved:
    try:
        saved = _unpack(blob)
    except UNDECODABLE as error:
        raise BadRecord(INVALID, f"model: {undecodable(error)}") from None
    if saved.format != FORMAT:
        raise BadRecord(INVALID, f"model: expected format {FORMAT}, got {saved.format}")
    return saved


def _doubles_to_bytes(values: Iterable[float]) -> bytes:
    doubles = array("d", values)
    if sys.byteorder == "big":
        doubles.byteswap()
    return doubles.tobytes()


def _doubles_from_bytes(blob: bytes) -> list[float]:
    if len(blob) % 8:
        raise BadRecord(INVALID, f"model: expected a multiple of 8 bytes, got {len(blob)}")
    doubles = array("d", blob)
    if sys.byteorder == "big":
        doubles.byteswap()
    return doubles.tolist()
