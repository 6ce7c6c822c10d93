"""What a replay is told to read: `kafka://topic?from=…&to=…`, or the path of a file.

kafka://events                                             all that is kept, up to now
kafka://events?from=2026-11-01T00:00Z&to=2026-11-02T00:00Z by the records' Kafka timestamps
kafka://events?from=1000&to=5000                           by offsets, the same on every partition
kafka://events?from=0:1000,1:1200&partitions=0,1           by offsets, each partition its own
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple
from urllib.parse import parse_qsl, urlsplit

# A number above this is an epoch in milliseconds (1973), not an offset that a partition would reach.
_LARGEST_OFFSET = 10**11


class SpecError(ValueError):
    """The source cannot be understood; the message says what is."""


class ByTime(NamedTuple):
    """The first record with this Kafka timestamp (epoch ms) or a later one."""

    ts_ms: int


class ByOffset(NamedTuple):
    """An offset for each partition, or one for all (key None)."""

    offsets: Mapping[int | None, int]

    def of(self, partition: int) -> int | None:
        """Return the offset of a partition, None where nothing was said of it."""
        return self.offsets.get(partition, self.offsets.get(None))


Bound = ByTime | ByOffset


class TopicRange(NamedTuple):
    """A range of a topic; `start` included, `end` not. None: from the oldest record, or to now."""

    topic: str
    start: Bound | None = None
    end: Bound | None = None
    partitions: frozenset[int] | None = None

    def __str__(self) -> str:
        return f"kafka://{self.topic}"


class FileInput(NamedTuple):
    """A file of rows; ``-`` is standard input."""

    path: Path

    def __str__(self) -> str:
        return self.path.name


Spec = TopicRange | FileInput


def parse_spec(text: str) -> Spec:
    """Understand a source.

    Raises
    ------
    SpecError

    Examples
    --------
    >>> parse_spec("kafka://events?from=10&to=0:20,1:30").end.of(1)
    30
    >>> parse_spec("clicks.csv.gz")
    FileInput(path=PosixPath('clicks.csv.gz'))
    """
    if not re.match(r"[a-z]+://", text):
        return FileInput(Path(text))
    url = urlsplit(text)
    if url.scheme != "kafka":
        raise SpecError(f"Expected kafka://topic or the path of a file, got {url.scheme}://…")
    if not url.netloc or url.path.strip("/"):
        raise SpecError(f"Expected kafka://topic, the broker's address being in the configuration; got {text!r}")
    given = dict(parse_qsl(url.query, keep_blank_values=True))
    unknown = sorted(set(given) - {"from", "to", "partitions"})
    if unknown:
        raise SpecError(f"Unknown part {unknown[0]!r} of {text!r}; expected from, to and partitions")
    start, end = (_bound(name, given[name]) if name in given else None for name in ("from", "to"))
    if isinstance(start, ByTime) and isinstance(end, ByTime) and end.ts_ms <= start.ts_ms:
        raise SpecError(f"Expected `to` after `from` in {text!r}")
    if isinstance(start, ByOffset) and isinstance(end, ByOffset) and _backward(start, end):
        raise SpecError(f"Expected `to` above `from` in {text!r}")
    return TopicRange(url.netloc, start, end, _partitions(given.get("partitions")))


def _backward(start: ByOffset, end: ByOffset) -> bool:
    for one in {**start.offsets, **end.offsets}:
        first, last = (bound.offsets.get(one, bound.offsets.get(None)) for bound in (start, end))
        if first is not None and last is not None and last < first:
            return True
    return None in start.offsets and start == end


def _bound(name: str, text: str) -> Bound:
    if re.fullmatch(r"\d+", text):
        number = int(text)
        return ByTime(number) if number > _LARGEST_OFFSET else ByOffset({None: number})
    if re.fullmatch(r"\d+:\d+(,\d+:\d+)*", text):
        pairs = (pair.split(":") for pair in text.split(","))
        return ByOffset({int(partition): int(offset) for partition, offset in pairs})
    try:
        # A + in a query is a blank; in a time it can only have been an offset from UTC.
        when = datetime.fromisoformat(text.replace(" ", "+"))
    except ValueError:
        raise SpecError(
            f"Expected `{name}` to be a time such as 2026-11-01T00:00Z, an offset such as 1000, or an offset for "
            f"each partition such as 0:1000,1:1200; got {text!r}"
        ) from None
    if when.tzinfo is None:
        when = when.replace(tzinfo=UTC)
    return ByTime(round(when.timestamp() * 1000))


def _partitions(text: str | None) -> frozenset[int] | None:
    if text is None:
        return None
    if not re.fullmatch(r"\d+(,\d+)*", text):
        raise SpecError(f"Expected `partitions` to be numbers such as 0,2; got {text!r}")
    return frozenset(map(int, text.split(",")))
