"""A small neural net on sparse dicts: what features mean together, without declaring crosses.

One hidden layer of rectified units beside a linear path (Cheng et al., "Wide & deep learning for
recommender systems", DLRS 2016), learned by AdaGrad (Duchi, Hazan, Singer, JMLR 12, 2011):

    s = sum of x_i * W_i          W_i: a row of `units` + 1 numbers for each feature
    p = sigmoid(b + s_last + sum of v_j * max(0, s_j + c_j))

- A feature's row is drawn from a hash of its name, so neither the order of features nor the process matters.
- Values beyond 1 are squashed, 1 + log(x): counts and prices need no scaling, and nothing overflows.
- A step of AdaGrad is at most the learning rate, whatever the gradient: weights stay finite.
- The same numbers on any machine: sums go row by row or are exact (`fsum`), and of numpy only operations
  are used whose results IEEE 754 fixes. A dot product's order of summation depends on the processor.
"""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import shake_128
from math import copysign, fsum, log, sqrt
from typing import Any

import msgspec
import numpy as np
from msgspec import Struct
from numpy.typing import NDArray
from river import base

from online_models.sums import sigmoid
from schemas.codec import UNDECODABLE, BadRecord, undecodable
from schemas.dead_letters import INVALID

FORMAT = 1
NAME = "neural_net"

Floats = NDArray[np.float64]

_FIRST_ROWS = 256
# Where AdaGrad's sums of squares begin, so that first steps are no larger than later ones.
_SQUARES_BEGIN = 1.0


class _Saved(Struct, array_like=True):
    """A model as bytes: doubles are little-endian; rows stand in the order of `names`."""

    format: int
    parameters: dict[str, float]
    names: list[str]
    rows: bytes
    row_squares: bytes
    head: bytes
    head_squares: bytes


_pack = msgspec.msgpack.Encoder().encode
_unpack = msgspec.msgpack.Decoder(_Saved).decode


class NeuralNet(base.Classifier):
    """Binary classifier with one hidden layer and a linear path.

    Feature values must be finite, see `online_models.guard`.

    Parameters
    ----------
    units
        Width of the hidden layer.
    lr
        Largest step of a weight.
    init_scale
        First weights into the hidden layer are uniform within plus and minus this.
    intercept_init
        The logit of the base rate, if it is known.
    max_features
        A model that has this many features takes on no further ones; one needs 0.3 kB with 16 units.
    seed
        Another one draws other first weights.

    Examples
    --------
    What a linear model cannot learn: positive if exactly one of two features is there.

    >>> net = NeuralNet(lr=0.2)
    >>> for _ in range(300):
    ...     for x, y in [({}, 0), ({"a": 1.0}, 1), ({"b": 1.0}, 1), ({"a": 1.0, "b": 1.0}, 0)]:
    ...         net.learn_one(x, y)
    >>> net.predict_proba_one({"a": 1.0})[True] > 0.8, net.predict_proba_one({"a": 1.0, "b": 1.0})[True] < 0.2
    (True, True)
    """

    name = NAME

    def __init__(
        self,
        units: int = 16,
        lr: float = 0.05,
        init_scale: float = 0.1,
        intercept_init: float = 0.0,
        max_features: int = 200_000,
        seed: int = 7,
    ) -> None:
        if not 1 <= units <= 1024:
            raise ValueError(f"Expected units from 1 to 1024, got {units}")
        for name, value in (("lr", lr), ("init_scale", init_scale), ("max_features", max_features)):
            if not value > 0:
                raise ValueError(f"Expected {name} > 0, got {value}")
        self.units = units
        self.lr = lr
        self.init_scale = init_scale
        self.intercept_init = intercept_init
        self.max_features = max_features
        self.seed = seed
        self.names: list[str] = []
        self._position: dict[str, int] = {}
        self._rows: Floats = np.zeros((_FIRST_ROWS, units + 1))
        self._row_squares: Floats = np.full((_FIRST_ROWS, units + 1), _SQUARES_BEGIN)
        # v, c and b in one vector; the signs of v alternate, or no unit could speak against the outcome at first.
        size = 1.0 / sqrt(units)
        signs = [size if unit % 2 == 0 else -size for unit in range(units)]
        self._head: Floats = np.array([*signs, *[0.0] * units, float(intercept_init)])
        self._head_squares: Floats = np.full(2 * units + 1, _SQUARES_BEGIN)

    def __len__(self) -> int:
        return len(self.names)

    @property
    def most_features(self) -> int:
        """How many features it takes on at most."""
        return self.max_features

    # ---------------------------------------------------------------- predicting

    def predict_proba_one(self, x: Mapping[Any, float], **_: Any) -> dict[Any, float]:
        """Return ``{False: 1 - p, True: p}``; features that were never learned are passed over."""
        logit, _hidden = self._forward(*self._known(x))
        p = sigmoid(logit)
        return {False: 1.0 - p, True: p}

    def _known(self, x: Mapping[str, float]) -> tuple[list[int], Floats]:
        """Return the rows of the features that are known, and their values."""
        position_of = self._position.get
        positions, values = [], []
        for name, value in x.items():
            position = position_of(name)
            if position is not None:
                positions.append(position)
                values.append(value if -1.0 <= value <= 1.0 else copysign(1.0 + log(abs(value)), value))
        return positions, np.array(values)

    def _forward(self, positions: list[int], values: Floats) -> tuple[float, Floats]:
        """Return the logit and what the hidden units hold, 0 where they are silent."""
        units, head = self.units, self._head
        if positions:
            summed = np.add.reduce(self._rows[positions] * values[:, None], axis=0)
            hidden = np.maximum(summed[:units] + head[units:-1], 0.0)
            wide = float(summed[units])
        else:
            hidden = np.maximum(head[units:-1], 0.0)
            wide = 0.0
        return fsum([*(head[:units] * hidden).tolist(), wide, float(head[-1])]), hidden

    # ---------------------------------------------------------------- learning

    def learn_one(self, x: Mapping[Any, float], y: Any) -> None:
        """Learn one example."""
        self._take_on(x)
        positions, values = self._known(x)
        logit, hidden = self._forward(positions, values)
        error = sigmoid(logit) - (1.0 if y else 0.0)
        units, head = self.units, self._head
        gradient = np.empty(2 * units + 1)
        gradient[:units] = error * hidden
        gradient[units:-1] = np.where(hidden > 0.0, error * head[:units], 0.0)
        gradient[-1] = error
        if positions:
            rows = values[:, None] * np.append(gradient[units:-1], error)
            squares = self._row_squares[positions] + rows * rows
            self._row_squares[positions] = squares
            self._rows[positions] -= self.lr * rows / np.sqrt(squares)
        self._head_squares += gradient * gradient
        head -= self.lr * gradient / np.sqrt(self._head_squares)

    def _take_on(self, x: Mapping[str, float]) -> None:
        """Make room for unknown names, as long as there may be more."""
        for name in x:
            if name not in self._position and len(self.names) < self.max_features:
                place = len(self.names)
                if place == len(self._rows):
                    more = np.zeros_like(self._rows)
                    self._rows = np.concatenate([self._rows, more])
                    self._row_squares = np.concatenate([self._row_squares, more + _SQUARES_BEGIN])
                self._rows[place, :-1] = self._first_weights(name)
                self._position[name] = place
                self.names.append(name)

    def _first_weights(self, name: str) -> Floats:
        drawn = np.frombuffer(shake_128(f"{self.seed}\0{name}".encode()).digest(4 * self.units), dtype="<u4")
        weights: Floats = (drawn * (2.0 / 2**32) - 1.0) * self.init_scale
        return weights

    # ---------------------------------------------------------------- saving

    def parameters(self) -> dict[str, float]:
        """Return the constructor's arguments."""
        return {
            "units": self.units,
            "lr": self.lr,
            "init_scale": self.init_scale,
            "intercept_init": self.intercept_init,
            "max_features": self.max_features,
            "seed": self.seed,
        }

    def to_bytes(self) -> bytes:
        """Return all of the model; one restored from it goes on bit for bit the same."""
        used = len(self.names)
        return _pack(
            _Saved(
                FORMAT,
                self.parameters(),
                self.names,
                *(
                    one.astype("<f8").tobytes()
                    for one in (self._rows[:used], self._row_squares[:used], self._head, self._head_squares)
                ),
            )
        )

    def restore(self, blob: bytes) -> None:
        """Take up what `to_bytes` has saved; raises BadRecord if other parameters than `intercept_init` differ."""
        try:
            saved = _unpack(blob)
        except UNDECODABLE as error:
            raise BadRecord(INVALID, f"model: {undecodable(error)}") from None
        if saved.format != FORMAT:
            raise BadRecord(INVALID, f"model: expected format {FORMAT}, got {saved.format}")
        if saved.parameters | {"intercept_init": self.intercept_init} != self.parameters():
            raise BadRecord(INVALID, f"model: expected the parameters {self.parameters()}, got {saved.parameters}")
        shape = (len(saved.names), self.units + 1)
        rows, row_squares = (_doubles(blob, shape) for blob in (saved.rows, saved.row_squares))
        head, head_squares = (_doubles(blob, (2 * self.units + 1,)) for blob in (saved.head, saved.head_squares))
        room = max(0, _FIRST_ROWS - len(saved.names))
        self.names = saved.names
        self._position = {name: place for place, name in enumerate(saved.names)}
        self._rows = np.concatenate([rows, np.zeros((room, self.units + 1))])
        self._row_squares = np.concatenate([row_squares, np.full((room, self.units + 1), _SQUARES_BEGIN)])
        self._head, self._head_squares = head, head_squares


def _doubles(blob: bytes, shape: tuple[int, ...]) -> Floats:
    expected = 8 * int(np.prod(shape))
    if len(blob) != expected:
        raise BadRecord(INVALID, f"model: expected {expected} bytes of weights, got {len(blob)}")
    return np.frombuffer(blob, dtype="<f8").astype(np.float64).reshape(shape)
