"""Mistakes in mapping files end in a sentence that names the line, never in a traceback."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import pytest

from streams.mapping import Mapping, MappingError
from streams.mapping_times import compile_time
from streams.sources import SourceError, open_source

TOP = "type: page_view\nfields: {user_id: u, ts: t}\n"
TIME = "type: page_view\nfields:\n  user_id: u\n  ts: {%s}\n"
HUGE = "1" + "0" * 400


@pytest.mark.parametrize(
    ("mapping", "message"),
    [
        ("type: [x]\nfields: {user_id: u, ts: t}", "line 1: type: Expected an event type, one of add_to_cart"),
        (TIME % "column: [t]", "line 4: fields.ts.column: Expected a column's name"),
        (TIME % "column: 5", "line 4: fields.ts.column: Expected a column's name; put a number in quotes"),
        (TIME % "column: t, format: '%Y-%Q'", "line 4: fields.ts.format: .*'Q' is a bad directive"),
        (TIME % "column: t, format: '%d.%d.%Y'", "line 4: fields.ts.format: .*redefinition of group name"),
        (TIME % "clock: {start: 1999-12-31T00:00:00Z, step_ms: 1}", "line 4: fields.ts.clock.start: .* 2000 to 2100"),
        (TIME % "clock: {start: 2024-13-01T00:00:00Z, step_ms: 1}", "not valid YAML: month must be in 1..12"),
        (TOP + "nulls:\n  - ''\n  - [a]", "line 5: nulls.1: Expected texts or numbers"),
        (TOP + "when: {t: [[1]]}", "line 3: when.t: Expected texts or numbers"),
        (TOP + "when: {t: {not: 2024-01-01}}", "line 3: when.t: Expected texts or numbers; put a date in quotes"),
        (TOP + "columns: [1, 2]", "line 3: columns.0: Expected a column's name; put a number in quotes"),
        (TOP + "columns: [u, t, u]", "line 3: columns.2: `u` stands here twice"),
        (TOP + "after_ms: " + HUGE, "line 3: after_ms: Expected whole milliseconds"),
        (TOP + "properties: {1: t}", "line 3: properties.1: Expected a name; put a number in quotes"),
        (TOP + "properties: {p: {column: t, cast: [x]}}", "line 3: properties.p.cast: Expected one of str"),
        (TOP + "properties: {p: {column: t, 5: 1, a: 2}}", "line 3: properties.p.5: Expected one of cast"),
        (TOP + "properties: {p: {column: t, cast: list, separator: 5}}", "properties.p.separator: Expected the text"),
        (TOP + "properties: {p: {column: t, cast: list, separator: ''}}", "properties.p.separator: Expected the text"),
        (TOP + "properties: {p: {column: t, map: {2024-01-01: x}}}", "line 3: properties.p.map: Expected texts or num"),
        (TOP + f"properties: {{p: {{column: t, scale: {HUGE}}}}}", "properties.p.scale: Expected a number to multiply"),
        (TOP + "properties: {p: {column: t, scale: .nan}}", "properties.p.scale: Expected a number to multiply by"),
        ("identity: no", "line 1: identity: Expected true or false"),
        ("about: 0b_", "not valid YAML"),
        ("- type: click", "Expected a mapping at the top, such as `type: …` and `fields: …`"),
    ],
)
def test_a_value_of_the_wrong_kind_is_refused_with_its_line(mapping: str, message: str) -> None:
    with pytest.raises(MappingError, match=message):
        Mapping(mapping, "mine").bind(["u", "t"])


@pytest.mark.parametrize("zone", ["600", "+0530", "true", "[a]", "''", "1.5", "+1:99", "+5:-3", "2024-01-01", "+99:00"])
def test_a_zone_that_is_none_is_refused(zone: str) -> None:
    mapping = TIME % f"column: t, format: iso, timezone: {zone}"

    with pytest.raises(MappingError, match=r"line 4: fields\.ts\.timezone: Expected an offset such as \+02:00"):
        Mapping(mapping, "mine").bind(["u", "t"])


@pytest.mark.parametrize(
    ("zone", "offset"),
    [
        *(("+10:00", "+10:00"), ("-03:30", "-03:30"), ("'+02:00'", "+02:00"), ("+9:30", "+09:30")),
        *(("+1", "+01:00"), ("-5", "-05:00"), ("10", "+10:00"), ("+09", "+09:00"), ("utc", "+00:00")),
    ],
)
def test_an_offset_may_be_written_with_quotes_or_without(zone: str, offset: str, tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text("u,t\nu1,2024-03-05 12:00:00\n")
    mapping = Mapping(TIME % f"column: t, format: iso, timezone: {zone}", "mine")

    with open_source(path) as source:
        (event,) = mapping.events(source)

    assert event.ts == datetime.fromisoformat(f"2024-03-05T12:00:00{offset}").timestamp() * 1000


@pytest.mark.parametrize("pattern", ["%d.%m.%y %H:%M", "%Y-%m-%dT%H:%M:%S.%f%z", "%d/%b/%Y:%H:%M:%S %z", "%c", "%j %Y"])
def test_a_pattern_that_can_be_read_is_taken(pattern: str) -> None:
    compile_time(pattern, None)


def test_a_clock_ends_with_what_can_be_an_event(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text("u\nu1\nu2\n")
    mapping = Mapping(TIME % "clock: {start: 2099-01-01T00:00:00Z, step_ms: 15000000000}", "mine")

    with open_source(path) as source:
        events = list(mapping.events(source))

    assert [event.user_id for event in events] == ["u1"]
    assert [problem.line for problem in source.problems.first] == [3]
    assert "ts: the clock has come to the year 2100" in source.problems.first[0].message


def test_lines_that_end_in_cr_are_refused_with_what_to_do(tmp_path: Path) -> None:
    path = tmp_path / "old.csv"
    path.write_bytes(b"user,item\ru1,i1\ru2,i2\r")

    with pytest.raises(SourceError, match=r"old\.csv: .* its lines end in CR, convert it with `tr"):
        open_source(path)
