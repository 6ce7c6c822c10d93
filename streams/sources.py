"""Rows of a file, one at a time: CSV, TSV or JSON lines, gzip or not, from a path or standard input.

What a file is made of is told from its first bytes, never from its name, so standard input works
like a file. Memory is bounded: one row is held, and a line longer than `MAX_LINE_BYTES` is skipped
piece by piece. A bad row is noted in `Problems` with its line number, and the reading goes on.
"""

from __future__ import annotations

import csv
import gzip
import io
import sys
import threading
import time
import zlib
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Generic, NamedTuple, TypeVar

import orjson

Row = list[str] | dict[str, Any]
T = TypeVar("T")

# Sixteen times the largest event the engine takes; what is longer is no row.
MAX_LINE_BYTES = 1 << 20
_BUFFER_BYTES = 1 << 18
_GZIP_MAGIC = b"\x1f\x8b"
_SEPARATORS = "\t,;|"
# No field of an event is so long a text: behind more lines the quote was a stray one.
_MOST_LINES = 200


class SourceError(ValueError):
    """The input as a whole cannot be read; the message says what to do."""


class BadRow(ValueError):
    """A row is wrong and the policy is to stop.

    Attributes
    ----------
    line
        1-based line of the input on which the row ends.
    """

    def __init__(self, line: int, message: str) -> None:
        super().__init__(f"line {line}: {message}")
        self.line = line
        self.message = message


class Problem(NamedTuple):
    """What was wrong with one row; holds no value from it."""

    line: int
    message: str


class Problems:
    """Bad rows: counted, the first few kept, and by choice the end of the run.

    Attributes
    ----------
    ends
        Why nothing behind this line could be read; None: the file was read to its end.

    Parameters
    ----------
    stop
        Raise `BadRow` at the first bad row instead of skipping it.
    keep
        How many to remember in `first`, and what ends the file beside them; the rest is only counted.

    Examples
    --------
    >>> problems = Problems()
    >>> problems.note(17, "price: Expected a number")
    >>> problems.count, problems.first
    (1, [Problem(line=17, message='price: Expected a number')])
    """

    def __init__(self, *, stop: bool = False, keep: int = 20) -> None:
        self.count = 0
        self.first: list[Problem] = []
        self.ends: Problem | None = None
        self._stop = stop
        self._keep = keep

    def note(self, line: int, message: str, *, ends: bool = False) -> None:
        """Count one bad row, or what `ends` the file before its end; raises BadRow if the policy is to stop."""
        self.count += 1
        if ends:
            self.ends = Problem(line, message)
        if ends or len(self.first) < self._keep:
            self.first.append(Problem(line, message))
        if self._stop:
            raise BadRow(line, message)


class RawRecord(NamedTuple):
    """A record to be produced as it is, for input that is no event: tests of poison, redriven letters."""

    key: bytes | None
    value: bytes | None


class Source:
    """An opened input; iterate it once, close it or use it in a ``with``.

    Iterating gives ``(line, row)``: a list of strings in the order of `columns`, or a dict where the
    input is JSON lines.

    Attributes
    ----------
    columns
        Names from the header line; None for JSON lines, whose rows bring their own.
    size_bytes
        Size of the file as stored; None where it cannot be known.
    bytes_read
        Bytes taken from the file as stored, so that ``bytes_read / size_bytes`` is the progress.
    rows
        Rows handed out.
    problems
        Rows that could not be read.
    """

    def __init__(
        self, raw: io.RawIOBase, *, name: str, size_bytes: int | None, columns: Sequence[str] | None, problems: Problems
    ) -> None:
        self.name = name
        self.size_bytes = size_bytes
        self.problems = problems
        self.rows = 0
        self.line = 0
        self._raw = _Counted(raw)
        self._lines = self._open_lines()
        self._first = self._first_line()
        self._separator = _separator(self._first)
        self.columns = None if self._separator is None else self._header(columns)

    @property
    def bytes_read(self) -> int:
        return self._raw.count

    def __iter__(self) -> Iterator[tuple[int, Row]]:
        return self._json_rows() if self._separator is None else self._csv_rows(self._separator)

    def __enter__(self) -> Source:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file; standard input stays open."""
        self._raw.close()

    def _open_lines(self) -> io.BufferedReader:
        plain: io.BufferedReader = io.BufferedReader(self._raw, _BUFFER_BYTES)
        if not plain.peek(2).startswith(_GZIP_MAGIC):
            return plain
        return io.BufferedReader(_Unpacked(plain), _BUFFER_BYTES)

    def _first_line(self) -> bytes:
        for line in self._byte_lines():
            if line.strip(b"\xef\xbb\xbf \t\r\n"):
                return line
        raise SourceError(f"{self.name} holds no rows: {self._why_empty()}")

    def _why_empty(self) -> str:
        return self.problems.first[0].message if self.problems.first else "it is empty"

    def _header(self, columns: Sequence[str] | None) -> tuple[str, ...]:
        if columns is not None:
            return tuple(columns)
        text = self._first.decode("utf-8-sig")
        self._first = b""
        header = tuple(name.strip() for name in next(csv.reader([text], delimiter=self._separator or ",")))
        twice = sorted({name for name in header if header.count(name) > 1})
        if twice:
            raise SourceError(f"{self.name}: the header line names {', '.join(twice)} twice; rename one")
        return header

    def _byte_lines(self) -> Iterator[bytes]:
        """Yield lines and count them; a broken end of the file is noted, not raised."""
        readline = self._lines.readline
        while True:
            try:
                line = readline(MAX_LINE_BYTES)
                if not line:
                    return
                self.line += 1
                if len(line) == MAX_LINE_BYTES and not line.endswith(b"\n"):
                    while line and not line.endswith(b"\n"):
                        line = readline(MAX_LINE_BYTES)
                    self.problems.note(self.line, f"Expected at most {MAX_LINE_BYTES} bytes in a line; skipped")
                    continue
            except (EOFError, zlib.error, gzip.BadGzipFile):
                self.problems.note(self.line + 1, "The compressed file is cut off or damaged from here on", ends=True)
                return
            yield line

    def _all_lines(self) -> Iterator[bytes]:
        if self._first:
            yield self._first
        yield from self._byte_lines()

    def _text_lines(self) -> Iterator[str]:
        for line in self._all_lines():
            try:
                yield line.decode()
            except UnicodeDecodeError:
                self.problems.note(self.line, "Expected UTF-8 text; skipped")

    def _csv_rows(self, separator: str) -> Iterator[tuple[int, Row]]:
        assert self.columns is not None
        width = len(self.columns)
        lines = _Lines(self, self._text_lines())
        while True:
            reader = csv.reader(lines, delimiter=separator, strict=True)
            try:
                for row in reader:
                    if len(row) == width:
                        self.rows += 1
                        yield self.line, row
                    elif len(lines.held) > 1:
                        break
                    elif row:
                        self.problems.note(self.line, f"Expected {width} columns, got {len(row)}; skipped")
                    lines.held.clear()
                else:
                    return
                why = f"its quote ends {len(lines.held) - 1} lines on, with {len(row)} columns instead of {width}"
            except csv.Error as error:
                why = str(error)
            self.problems.note(lines.held[0][0], f"Not valid CSV: {why}; skipped")
            lines.read_again()

    def _json_rows(self) -> Iterator[tuple[int, Row]]:
        for line in self._all_lines():
            try:
                row = orjson.loads(line.removeprefix(b"\xef\xbb\xbf"))
            except orjson.JSONDecodeError as error:
                if line.strip():
                    self.problems.note(self.line, f"Not valid JSON: {error.msg}; skipped")
                continue
            if isinstance(row, dict):
                self.rows += 1
                yield self.line, row
            else:
                self.problems.note(self.line, "Expected a JSON object in each line; skipped")


class _Lines:
    """The lines of a CSV file for its reader; of what turns out to be no row, all but the first are read once more.

    A quote that somebody forgot would otherwise take all rows up to the next quote with it.

    Attributes
    ----------
    held
        Numbers and texts of the lines of the row at hand; to be cleared behind each row.
    """

    def __init__(self, source: Source, lines: Iterator[str]) -> None:
        self.held: list[tuple[int, str]] = []
        self._source = source
        self._lines = lines
        self._again: deque[tuple[int, str]] = deque()
        self._reached = 0

    def __iter__(self) -> Iterator[str]:
        """Yield lines; raises csv.Error where a row has too many."""
        source, held, again = self._source, self.held, self._again
        while again:
            held.append(again.popleft())
            source.line, text = held[-1]
            yield text
        source.line = max(source.line, self._reached)
        for text in self._lines:
            held.append((source.line, text))
            if len(held) > _MOST_LINES:
                raise csv.Error(f"a quote is not closed within {_MOST_LINES} lines")
            yield text

    def read_again(self) -> None:
        """Let the lines at hand, but the first, come before all others."""
        self._reached = max(self._reached, self._source.line)
        self._again.extendleft(reversed(self.held[1:]))
        self.held.clear()


def open_source(path: str | Path, *, columns: Sequence[str] | None = None, problems: Problems | None = None) -> Source:
    """Open a file, or standard input for ``-``.

    Parameters
    ----------
    path
        CSV (comma, tab, semicolon or bar) or JSON lines; gzip or not.
    columns
        Names of the columns where the file has no header line.
    problems
        Where bad rows are noted; by default they are skipped and counted.

    Raises
    ------
    SourceError
        No such file, no text, or no rows at all.
    """
    problems = problems if problems is not None else Problems()
    if str(path) == "-":
        raw = open(sys.stdin.fileno(), "rb", buffering=0, closefd=False)  # noqa: SIM115
        return Source(raw, name="standard input", size_bytes=None, columns=columns, problems=problems)
    path = Path(path)
    if path.is_dir():
        raise SourceError(f"{path} is a folder; name one file in it")
    try:
        raw = open(path, "rb", buffering=0)  # noqa: SIM115
    except OSError as error:
        raise SourceError(f"{path} cannot be read: {error.strerror}") from None
    try:
        size = path.stat().st_size if path.is_file() else None
        return Source(raw, name=str(path), size_bytes=size, columns=columns, problems=problems)
    except BaseException:
        raw.close()
        raise


def _separator(line: bytes) -> str | None:
    """Tell the separator from the first line; None for JSON lines."""
    try:
        text = line.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = "\0"
    if "\0" in text:
        raise SourceError("Expected UTF-8 text (CSV, TSV or JSON lines, gzip or not), got something else; convert it")
    if text.lstrip().startswith("{"):
        return None
    if text.lstrip().startswith("["):
        raise SourceError("Expected one JSON object in each line, got an array; convert it with `jq -c '.[]'`")
    return max(_SEPARATORS, key=lambda separator: (text.count(separator), separator == ","))


class _Counted(io.RawIOBase):
    """Counts the bytes that pass."""

    def __init__(self, raw: io.RawIOBase) -> None:
        self.count = 0
        self._raw = raw

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        n = self._raw.readinto(buffer)
        self.count += n or 0
        return n

    def close(self) -> None:
        self._raw.close()
        super().close()


class _Unpacked(io.RawIOBase):
    """Unpacks gzip piece by piece, so that all before a damaged place is read; GzipFile fills whole buffers."""

    def __init__(self, packed: io.BufferedReader) -> None:
        self._gzip = gzip.GzipFile(fileobj=packed)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        piece = self._gzip.read1(len(buffer))
        buffer[: len(piece)] = piece
        return len(piece)


class ReadAhead(Generic[T]):
    """Iterates in a thread, so that a pipe that is silent does not stop an event loop.

    Parameters
    ----------
    items
        Iterated in a daemon thread from now on.
    limit
        The thread rests while this many items wait.
    """

    def __init__(self, items: Iterable[T], *, limit: int = 20_000) -> None:
        self._items = items
        self._limit = limit
        self._waiting: deque[T] = deque()
        self._error: BaseException | None = None
        self._ended = False
        self._stopped = False
        threading.Thread(target=self._run, name="read-ahead", daemon=True).start()

    def take(self, most: int) -> list[T] | None:
        """Return up to `most` items that are there now; None after the last one.

        Raises
        ------
        Exception
            What the iteration raised, after all that came before it was taken.
        """
        ended = self._ended  # read first: what was put before the end is then seen below
        taken = [self._waiting.popleft() for _ in range(min(most, len(self._waiting)))]
        if taken or not ended:
            return taken
        if self._error is not None:
            raise self._error
        return None

    def stop(self) -> None:
        """Let the thread end at its next item."""
        self._stopped = True

    def _run(self) -> None:
        try:
            for item in self._items:
                self._waiting.append(item)
                while len(self._waiting) >= self._limit and not self._stopped:
                    time.sleep(0.005)
                if self._stopped:
                    break
        except BaseException as error:  # handed over to take()
            self._error = error
        finally:
            self._ended = True
