"""Compares two sets of scores, of examples, or of bids, message by message.

The two sides are joined by their ids, in a file on disk, so any order and any length will do. What
crashes have repeated counts as it came first. Where both sides come in nearly the same order, as a
replay and its log do, what has met its partner is dropped at once and the file stays small.
"""

from __future__ import annotations

import math
import sqlite3
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import msgspec
import numpy as np
from msgspec import Struct

from online_models.bidding.market import MARKET
from online_models.crowd import CROWD
from schemas.bids import Bid
from schemas.codec import UNDECODABLE, BadRecord, decode_bid, decode_example, decode_score, undecodable
from schemas.examples import Example
from schemas.scores import Score

Message = Score | Example | Bid

# One of the sides only.
MISSING_LEFT, MISSING_RIGHT = "missing in A", "missing in B"
_SHOWN = 5
_EDGES = [0.0, *(10.0**power for power in range(-15, 1))]


class Unreadable(ValueError):
    """A line or a record is no score, no example and no bid."""


class _Id(Struct):
    """As much of a message as it takes to know which one it is: examples have a label, bids a `bid_id`."""

    score_id: str = ""
    bid_id: str = ""
    label: bool | None = None
    use: str = "both"
    objective: str = ""
    seq: int = 0

    @property
    def key(self) -> str:
        if self.label is None:
            return self.bid_id or self.score_id
        # A fake negative and the positive that follows it are two examples of one score.
        key = f"{self.score_id}/{self.use}/{self.label}"
        # Of crowd and market, each thing that one event tells is an example.
        return f"{key}/{self.seq}" if self.objective in (CROWD, MARKET) else key


_read_id = msgspec.json.Decoder(_Id).decode


def _id(value: bytes) -> _Id:
    try:
        found = _read_id(value)
    except UNDECODABLE as error:
        raise Unreadable(f"Expected a score, an example or a bid in each line: {undecodable(error)}") from None
    if not (found.score_id or found.bid_id):
        raise Unreadable("Expected a score, an example or a bid in each line, got neither `score_id` nor `bid_id`")
    return found


def decode(value: bytes) -> Message:
    """Decode a score, an example or a bid, told apart by the fields that they have; raises Unreadable."""
    found = _id(value)
    try:
        if found.label is not None:
            return decode_example(value)
        return decode_bid(value) if found.bid_id else decode_score(value)
    except BadRecord as bad:
        raise Unreadable(bad.detail) from None


class Difference(NamedTuple):
    """Two messages of one id that are not the same; None: there is none on that side."""

    id: str
    fields: tuple[str, ...]
    left: dict[str, Any] | None
    right: dict[str, Any] | None


class Comparison(Struct):
    """What a comparison has found.

    Attributes
    ----------
    kind
        "scores", "examples" or "bids".
    left, right
        Messages of each side, repeats not counted.
    repeated
        Messages whose id had come before, on either side.
    same
        Ids whose messages agree in every field, bit for bit; ``tolerated`` agree within the tolerance.
    fields
        How many pairs differ in a field, beyond the tolerance.
    largest, mean
        Absolute difference of the scores of pairs, of bids the prices; None without pairs.
    histogram
        (upper bound, pairs): absolute differences up to that bound, above the one before.
    first
        The first differences, by partition and offset.
    """

    kind: str
    left: int = 0
    right: int = 0
    repeated: int = 0
    same: int = 0
    tolerated: int = 0
    fields: dict[str, int] = {}
    largest: float | None = None
    mean: float | None = None
    histogram: list[tuple[float, int]] = []
    first: list[Difference] = []

    @property
    def different(self) -> bool:
        """Whether anything differs beyond the tolerance."""
        return bool(self.fields)


class _Side:
    """Messages of a side that have not met their partner."""

    def __init__(self, db: sqlite3.Connection, name: str) -> None:
        self._db = db
        self._name = name
        db.execute(f"CREATE TABLE {name} (id TEXT PRIMARY KEY, value BLOB) WITHOUT ROWID")

    def take(self, key: str) -> bytes | None:
        row = self._db.execute(f"DELETE FROM {self._name} WHERE id = ? RETURNING value", (key,)).fetchone()
        return row[0] if row else None

    def put(self, key: str, value: bytes) -> bool:
        return self._db.execute(f"INSERT OR IGNORE INTO {self._name} VALUES (?, ?)", (key, value)).rowcount > 0

    def __iter__(self) -> Iterator[tuple[str, bytes]]:
        yield from self._db.execute(f"SELECT id, value FROM {self._name} ORDER BY id")


class Differ:
    """Compares two sides of one kind.

    Parameters
    ----------
    kind
        "scores", "examples" or "bids".
    tolerance
        Largest absolute difference of a score, a price, a share of a reason, or a feature's value that still
        counts as the same.
    """

    def __init__(self, kind: str, *, tolerance: float = 0.0) -> None:
        self.kind = kind
        self._tolerance = tolerance
        self._db = sqlite3.connect("", isolation_level=None)
        self._db.executescript("PRAGMA synchronous = OFF; PRAGMA journal_mode = OFF;")
        self._db.execute("CREATE TABLE met (id TEXT PRIMARY KEY) WITHOUT ROWID")
        self._waiting = [_Side(self._db, "a"), _Side(self._db, "b")]
        self._counts = [0, 0]
        self._repeated = self._same = self._tolerated = 0
        self._fields: Counter[str] = Counter()
        self._histogram = np.zeros(len(_EDGES) + 1, dtype=np.int64)
        self._sum = self._largest = 0.0
        self._pairs = 0
        self._first: list[tuple[tuple[Any, ...], Difference]] = []

    def put(self, side: int, values: Iterable[bytes]) -> None:
        """Take in messages of side 0 or 1; raises Unreadable."""
        own, other = self._waiting[side], self._waiting[1 - side]
        self._db.execute("BEGIN")
        try:
            for value in values:
                key = _id(value).key
                if self._db.execute("SELECT 1 FROM met WHERE id = ?", (key,)).fetchone():
                    self._repeated += 1
                    continue
                partner = other.take(key)
                if partner is None:
                    if own.put(key, value):
                        self._counts[side] += 1
                    else:
                        self._repeated += 1
                    continue
                self._counts[side] += 1
                self._db.execute("INSERT INTO met VALUES (?)", (key,))
                pair = (partner, value) if side else (value, partner)
                self._compare(key, *pair)
        finally:
            self._db.execute("COMMIT")

    def _compare(self, key: str, left: bytes, right: bytes) -> None:
        self._pairs += 1
        if left == right:
            decode(left)  # what is unreadable on both sides is not the same
            self._histogram[0] += 1
            self._same += 1
            return
        a, b = decode(left), decode(right)
        difference = abs(_number(a) - _number(b))
        self._sum += difference
        self._largest = max(self._largest, difference)
        self._histogram[int(np.searchsorted(_EDGES, difference))] += 1
        if a == b and type(a) is type(b):
            self._same += 1
            return
        fields = tuple(differing(a, b, self._tolerance))
        if not fields:
            self._tolerated += 1
            return
        self._fields.update(fields)
        self._note(a, Difference(key, fields, _plain(a), _plain(b)))

    def _note(self, message: Message, difference: Difference) -> None:
        self._first.append((_position(message), difference))
        if len(self._first) > 50 * _SHOWN:
            self._first = sorted(self._first, key=lambda one: one[0])[:_SHOWN]

    def result(self) -> Comparison:
        """Return what was found; call it once, at the end."""
        for side, what in ((0, MISSING_RIGHT), (1, MISSING_LEFT)):
            for key, value in self._waiting[side]:
                message = decode(value)
                self._fields[what] += 1
                plain = _plain(message)
                self._note(
                    message, Difference(key, (what,), plain if side == 0 else None, plain if side == 1 else None)
                )
        first = [difference for _, difference in sorted(self._first, key=lambda one: one[0])[:_SHOWN]]
        bounds = [*_EDGES, math.inf]
        return Comparison(
            kind=self.kind,
            left=self._counts[0],
            right=self._counts[1],
            repeated=self._repeated,
            same=self._same,
            tolerated=self._tolerated,
            fields=dict(self._fields.most_common()),
            largest=self._largest if self._pairs else None,
            mean=self._sum / self._pairs if self._pairs else None,
            histogram=[(bound, int(count)) for bound, count in zip(bounds, self._histogram, strict=True) if count],
            first=first,
        )

    def close(self) -> None:
        """Remove the file."""
        self._db.close()


def _position(message: Message) -> tuple[Any, ...]:
    return message.topic, message.partition, message.offset, "" if isinstance(message, Bid) else message.score_id


def _number(message: Message) -> float:
    return message.price if isinstance(message, Bid) else message.score


def _plain(message: Message) -> dict[str, Any]:
    found: dict[str, Any] = msgspec.to_builtins(message)
    return found


def differing(a: Message, b: Message, tolerance: float) -> Iterator[str]:
    """Yield the names of the fields in which two messages of one id differ by more than the tolerance."""
    if type(a) is not type(b):
        yield "kind"
        return
    for name in a.__struct_fields__:
        left, right = getattr(a, name), getattr(b, name)
        if left != right and not _close(left, right, tolerance) and not (name == "crowd_hash" and not (left and right)):
            yield name  # a hash that one side lacks is of a version before, which did not tell it


def _close(left: Any, right: Any, tolerance: float) -> bool:
    """Tell whether numbers, or collections of numbers under the same names, are the same but for the tolerance."""
    if not tolerance:
        return False
    if isinstance(left, float | int) and isinstance(right, float | int):
        return isinstance(left, float) and abs(left - right) <= tolerance
    if isinstance(left, dict) and isinstance(right, dict):
        return left.keys() == right.keys() and all(_close_or_same(left[name], right[name], tolerance) for name in left)
    if isinstance(left, list | tuple) and isinstance(right, list | tuple):
        return len(left) == len(right) and all(map(_close_or_same, left, right, [tolerance] * len(left)))
    return False


def _close_or_same(left: Any, right: Any, tolerance: float) -> bool:
    return bool(left == right) or _close(left, right, tolerance)
