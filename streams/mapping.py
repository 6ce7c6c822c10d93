"""Mapping files: how the rows of any CSV or JSON-lines file become events.

A mapping is a small YAML file (reference: docs/mappings.md). It is checked when it is loaded and
again when it meets an input's columns; then each row costs a few microseconds. Every event made is
validated by the same types that the worker decodes with, so what is fed is what can be scored.

A wrong declaration raises `MappingError` with the file's line; a wrong row is noted in the input's
`Problems` with the row's line, without the values it holds.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator, Sequence
from importlib import resources
from itertools import count
from pathlib import Path as FilePath
from typing import Any

import msgspec

from online_models.errors import ConfigError
from schemas.codec import epoch_ms
from schemas.events import SYSTEM_EVENTS, Event, EventBase, SystemEvent, VisitorEvent
from streams.mapping_fields import Columns, text_of
from streams.mapping_rules import RowError, check_top, collect_rules, compile_rule
from streams.mapping_times import check_range
from streams.sources import Row, Source
from streams.yaml_lines import Document

MakeEvents = Callable[[Any, int], list[EventBase]]

# Not "NA": it is a country.
_DEFAULT_NULLS = ("", "null", "NULL", "nan", "NaN")


class MappingError(ValueError):
    """The mapping file is wrong or does not fit the input; the message names the line to change."""


class Mapping:
    """A checked mapping file.

    Use `Mapping.load`, then `events` on an opened source.

    Attributes
    ----------
    name
        The file's name without its ending.
    text
        What stands in the file.
    about
        What the file says about itself.
    columns
        Names of the columns for files without a header line; None if the file brings them.
    """

    def __init__(self, text: str, name: str) -> None:
        self.name = name
        self.text = text
        try:
            self._document = Document(text)
        except ConfigError as error:
            raise MappingError(f"mapping {name}: {error}") from None
        declared = self._document.value
        self.about: str = str(declared.get("about", "")).strip()
        self.columns: list[str] | None = declared.get("columns")
        self._strict = declared.get("strict", False)
        try:
            check_top(declared)
            self._rules = [] if declared.get("identity") else collect_rules(declared)
        except ConfigError as error:
            raise self._located(error) from None

    @classmethod
    def load(cls, name_or_path: str) -> Mapping:
        """Load a shipped mapping by name, or a mapping file by its path.

        Raises
        ------
        MappingError
            No such mapping, or its declaration is wrong.
        """
        path = FilePath(name_or_path)
        if path.suffix in (".yaml", ".yml") or path.name != name_or_path:
            try:
                return cls(path.read_text(encoding="utf-8"), path.stem)
            except (OSError, UnicodeDecodeError) as error:
                raise MappingError(f"mapping {path} cannot be read: {error}") from None
        shipped = _folder().joinpath(f"{name_or_path}.yaml")
        if not shipped.is_file():
            raise MappingError(
                f"no mapping is called `{name_or_path}`: expected {', '.join(shipped_mappings())} "
                "or the path of a .yaml file"
            )
        return cls(shipped.read_text(encoding="utf-8"), name_or_path)

    def bind(self, header: Sequence[str] | None, *, strict: bool | None = None) -> MakeEvents:
        """Compile the mapping for one input.

        Parameters
        ----------
        header
            Names of the columns in their order; None for JSON lines.
        strict
            Refuse columns that the mapping neither uses nor ignores; by default as the file says.

        Returns
        -------
        callable
            ``(row, line) -> events``; raises RowError for a row that is wrong.

        Raises
        ------
        MappingError
            The mapping does not fit these columns.
        """
        strict = self._strict if strict is None else strict
        declared = self._document.value
        if declared.get("identity"):
            if header is not None:
                raise MappingError(f"mapping {self.name} takes JSON lines, one event in each; this input is CSV")
            return _identity
        columns = Columns(header, [text_of(null) or "" for null in declared.get("nulls", _DEFAULT_NULLS)])
        ignored = [str(name) for name in declared.get("ignore", [])]
        try:
            makers = [compile_rule(rule, columns, self.name, len(self._rules)) for rule in self._rules]
        except ConfigError as error:
            raise self._located(error) from None
        if strict and header is not None and (unknown := columns.unknown(header, ignored)):
            raise MappingError(
                f"mapping {self.name} is strict and does not speak of the columns {', '.join(unknown)}: "
                "map them or add them to `ignore`"
            )

        def make(row: Any, line: int) -> list[EventBase]:
            if strict and header is None and (unknown := columns.unknown(row, ignored)):
                raise RowError(f"Expected only known keys (the mapping is strict), got {len(unknown)} others")
            return [event for maker in makers if (event := maker(row, line)) is not None]

        return make

    def events(self, source: Source, *, strict: bool | None = None, lines_before: int = 0) -> MappedEvents:
        """Map an opened source; raises MappingError if its columns do not fit.

        Parameters
        ----------
        lines_before
            Lines of other inputs that come before this one: clocks and `{line}` go on from them.
        """
        delays = any(rule.get("after_ms") for _, rule in self._rules)
        make = self.bind(source.columns, strict=strict)
        return MappedEvents(source, make, in_time_order=delays, lines_before=lines_before)

    def _located(self, error: ConfigError) -> MappingError:
        return MappingError(f"mapping {self.name}, line {self._document.line(error.path)}: {error}")


class MappedEvents:
    """The events of a source; iterate it once.

    Attributes
    ----------
    source
        Where the rows come from; holds the counts of rows and problems.
    rows_without_event
        Rows to which no rule applied.
    """

    def __init__(self, source: Source, make: MakeEvents, *, in_time_order: bool, lines_before: int = 0) -> None:
        self.source = source
        self.rows_without_event = 0
        self._make = make
        self._lines_before = lines_before
        self._in_time_order = in_time_order

    def __iter__(self) -> Iterator[EventBase]:
        return _in_time_order(self._batches()) if self._in_time_order else self._as_they_come()

    def _as_they_come(self) -> Iterator[EventBase]:
        for events in self._batches():
            yield from events

    def _batches(self) -> Iterator[list[EventBase]]:
        make, problems, before = self._make, self.source.problems, self._lines_before
        for line, row in self.source:
            try:
                events = make(row, before + line)
            except RowError as error:
                problems.note(line, str(error))
                continue
            if events:
                yield events
            else:
                self.rows_without_event += 1


def shipped_mappings() -> list[str]:
    """Return the names of the mappings that come with the package."""
    return sorted(f.name.removesuffix(".yaml") for f in _folder().iterdir() if f.name.endswith(".yaml"))


def _folder() -> Any:
    return resources.files("streams").joinpath("mappings")


def _in_time_order(batches: Iterator[list[EventBase]]) -> Iterator[EventBase]:
    """Hold back what happens `after_ms` until the rows have come that far."""
    waiting: list[tuple[int, int, EventBase]] = []
    number = count()
    for events in batches:
        now = _ts(events[0])
        while waiting and waiting[0][0] <= now:
            yield heapq.heappop(waiting)[2]
        for event in events:
            if _ts(event) <= now:
                yield event
            else:
                heapq.heappush(waiting, (_ts(event), next(number), event))
    while waiting:
        yield heapq.heappop(waiting)[2]


def _ts(event: EventBase) -> int:
    assert isinstance(event.ts, int)
    return event.ts


def _identity(row: Row, line: int) -> list[EventBase]:
    """Take a row that is an event already; what workers wrote belongs to its own topic and is left out."""
    try:
        event: VisitorEvent | SystemEvent = msgspec.convert(row, Event)
        if isinstance(event, SYSTEM_EVENTS):
            return []
        event.ts = check_range(event.ts if isinstance(event.ts, int) else epoch_ms(event.ts))
    except msgspec.ValidationError as error:
        raise RowError(str(error)) from None
    except ValueError as error:
        raise RowError(f"ts: {error}") from None
    return [event]
