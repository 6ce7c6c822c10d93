"""Reads auction logs: CSV, gzip or not, with `click`, `win_price` (CPM), `pctr`, and the time."""

from __future__ import annotations

import csv
import gzip
import zlib
from collections import Counter
from collections.abc import Sequence
from itertools import islice, pairwise
from pathlib import Path

import numpy as np

from streams.simulate.auctions.market import Market

HOUR_MS = 3_600_000
_NEEDED = ("click", "win_price", "pctr")
_TIMES = ("ts_ms", "hour_idx")
# With fewer there is nothing to tune on.
_FEWEST = 100


class InvalidAuctions(ValueError):
    """A file does not hold what an auction log needs; the message says where and what was expected."""


def read_auctions(path: Path, *, campaign: str | None = None, limit: int | None = None) -> Market:
    """Read a log of second-price auctions.

    Parameters
    ----------
    path
        Columns `click` (0 or 1), `win_price` (CPM), `pctr` (0 to 1) and either `ts_ms` (epoch milliseconds) or
        `hour_idx` (whole hours), in the order of time; other columns are passed over.
    campaign
        What the market is called; default: the file's name.
    limit
        Only the first so many auctions.

    Raises
    ------
    InvalidAuctions
        With the line and the column.
    """
    try:
        columns, time = _read(path, limit)
    except (EOFError, zlib.error, gzip.BadGzipFile):
        raise InvalidAuctions(f"{path} is cut off or damaged; get it once more") from None
    except csv.Error as error:
        raise InvalidAuctions(f"{path} is not valid CSV: {error}") from None
    if len(columns["click"]) < _FEWEST:
        raise InvalidAuctions(f"{path}: expected at least {_FEWEST} auctions, got {len(columns['click'])}")
    at_ms = columns["ts_ms"] if time == "ts_ms" else spread_over_hours([int(hour) for hour in columns["hour_idx"]])
    if any(after < before for before, after in pairwise(at_ms)):
        raise InvalidAuctions(f"{path}: expected auctions in the order of {time}")
    return Market(
        name=campaign or path.name.split(".")[0],
        at_ms=np.array(at_ms, dtype=np.int64),
        pctr=np.array(columns["pctr"]),
        price=np.array(columns["win_price"]) / 1000.0,
        clicked=np.array(columns["click"]) > 0.0,
    )


def _read(path: Path, limit: int | None) -> tuple[dict[str, list[float]], str]:
    """Return the columns, and the name of the one that holds the time."""
    columns: dict[str, list[float]] = {name: [] for name in (*_NEEDED, *_TIMES)}
    opened = gzip.open if path.suffix == ".gz" else open
    with opened(path, "rt", encoding="utf-8-sig", newline="") as lines:
        reader = csv.DictReader(lines)
        names = _columns_of(reader.fieldnames or (), path)
        for row in islice(reader, limit):
            for name in names:
                columns[name].append(_number(row[name], name, reader.line_num, path))
    return columns, names[-1]


def spread_over_hours(hours: Sequence[int]) -> list[int]:
    """Return times for auctions of which only the hour is known: evenly over the hour.

    The last hour may break off anywhere. If it has fewer auctions than the one before, it is taken to run at the pace
    of that, and the log to end within the hour.

    Examples
    --------
    >>> [at_ms // 60_000 for at_ms in spread_over_hours([0, 0, 1, 1, 1, 2])]
    [0, 30, 60, 80, 100, 120]
    """
    counts = Counter(hours)
    paces = dict(counts)
    ordered = sorted(counts)
    if len(ordered) > 1:
        paces[ordered[-1]] = max(counts[ordered[-1]], counts[ordered[-2]])
    seen: Counter[int] = Counter()
    at_ms = []
    for hour in hours:
        at_ms.append(hour * HOUR_MS + HOUR_MS * seen[hour] // paces[hour])
        seen[hour] += 1
    return at_ms


def _columns_of(found: Sequence[str], path: Path) -> list[str]:
    time = next((name for name in _TIMES if name in found), None)
    missing = [name for name in _NEEDED if name not in found]
    if missing or time is None:
        wanted = ", ".join([*missing, *([] if time else ["ts_ms or hour_idx"])])
        raise InvalidAuctions(f"{path}: expected the columns {wanted}; got {', '.join(found) or 'none'}")
    return [*_NEEDED, time]


def _number(text: str | None, name: str, line: int, path: Path) -> float:
    try:
        value = float(text or "")
    except ValueError:
        value = -1.0
    most = {"click": 1.0, "pctr": 1.0}.get(name, 1e15)
    if not 0.0 <= value <= most:
        raise InvalidAuctions(f"{path}, line {line}: expected a number from 0 to {most:g} for {name}, got {text!r}")
    return value
