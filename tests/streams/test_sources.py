"""Reading files: every shape that a file may have, and every way in which it may be broken."""

from __future__ import annotations

import gzip
import io
import json
import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streams.sources import MAX_LINE_BYTES, BadRow, Problem, Problems, ReadAhead, SourceError, open_source

CSV = b"user,item\nu1,i1\nu2,i2\n"


def read(path: Path, **options: object) -> tuple[list[object], list[Problem]]:
    problems = Problems()
    with open_source(path, problems=problems, **options) as source:  # type: ignore[arg-type]
        rows = list(source)
    return rows, problems.first


@pytest.mark.parametrize("pack", [bytes, gzip.compress], ids=["plain", "gzip"])
@pytest.mark.parametrize("separator", [b",", b"\t", b";", b"|"])
def test_the_shape_is_told_from_the_first_bytes_and_not_from_the_name(
    tmp_path: Path, pack: Callable[[bytes], bytes], separator: bytes
) -> None:
    path = tmp_path / "some.file"
    path.write_bytes(pack(CSV.replace(b",", separator)))

    with open_source(path) as source:
        rows = list(source)

    assert source.columns == ("user", "item")
    assert rows == [(2, ["u1", "i1"]), (3, ["u2", "i2"])]
    assert source.bytes_read == source.size_bytes == path.stat().st_size
    assert source.rows == 2


def test_json_lines_give_dicts_and_have_no_columns(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    path.write_bytes(b'{"user": "u1"}\n\n{"user": "u2", "n": 1}\n')

    with open_source(path) as source:
        rows = list(source)

    assert source.columns is None
    assert rows == [(1, {"user": "u1"}), (3, {"user": "u2", "n": 1})]
    assert source.problems.count == 0


def test_bom_crlf_quotes_and_blank_lines_are_read_through(tmp_path: Path) -> None:
    path = tmp_path / "excel.csv"
    path.write_bytes(b'\xef\xbb\xbf"user",item\r\nu1,"a, ""b""\r\nc"\r\n\r\nu2,\xc3\xa9\r\n')

    rows, problems = read(path)

    assert rows == [(3, ["u1", 'a, "b"\r\nc']), (5, ["u2", "é"])]
    assert problems == []


def test_a_bad_row_is_named_by_its_line_and_the_others_are_read(tmp_path: Path) -> None:
    path = tmp_path / "bad.csv"
    long = b"u3," + b"x" * MAX_LINE_BYTES
    path.write_bytes(b"user,item\nu1\nu2,\xff\n" + long + b"\nu4,i4,i5\nu6,i6\n")

    rows, problems = read(path)

    assert rows == [(6, ["u6", "i6"])]
    assert [(problem.line, problem.message.partition(",")[0]) for problem in problems] == [
        (2, "Expected 2 columns"),
        (3, "Expected UTF-8 text; skipped"),
        (4, f"Expected at most {MAX_LINE_BYTES} bytes in a line; skipped"),
        (5, "Expected 2 columns"),
    ]


def test_a_quote_that_never_closes_does_not_swallow_the_rest(tmp_path: Path) -> None:
    path = tmp_path / "quote.csv"
    path.write_bytes(b'user,item\nu1,"i1\n' + b"u2,i2\n" * 40_000)

    rows, problems = read(path)

    assert len(rows) > 10_000
    assert "Not valid CSV" in problems[0].message


def test_a_stray_quote_costs_its_own_line_and_no_other(tmp_path: Path) -> None:
    rows = [f"u{n},i{n},{n}\n" for n in range(1000)]
    path = tmp_path / "stray.csv"
    for at, until_the_next in ((3, False), (3, True), (999, False), (998, False)):
        broken = list(rows)
        broken[at] = f'u{at},"i{at},{at}\n'
        if until_the_next:
            broken[50] = 'u50,"i, 50",50\n'
        path.write_text("user,item,n\n" + "".join(broken))

        read_rows, problems = read(path)

        assert [line for line, _ in read_rows] == [n + 2 for n in range(1000) if n != at]
        assert [problem.line for problem in problems] == [at + 2]
        assert "Not valid CSV" in problems[0].message


def test_a_quote_in_the_last_column_that_never_closes_takes_no_row_as_its_value(tmp_path: Path) -> None:
    path = tmp_path / "last.csv"
    path.write_bytes(b'user,item\nu1,i1\nu2,"i2\nu3,i3\nu4,i4\n')

    rows, problems = read(path)

    assert rows == [(2, ["u1", "i1"]), (4, ["u3", "i3"]), (5, ["u4", "i4"])]
    assert problems == [Problem(3, "Not valid CSV: unexpected end of data; skipped")]


def test_lines_are_counted_on_behind_those_that_were_read_again(tmp_path: Path) -> None:
    path = tmp_path / "again.csv"
    path.write_bytes(b'user,item\n"u1,i1\nu2,"i2\nu3,"i\n3"\n\xff\nu4,i4\n')

    rows, problems = read(path)

    assert rows == [(5, ["u3", "i\n3"]), (7, ["u4", "i4"])]
    assert sorted(problem.line for problem in problems) == [2, 3, 6]


def test_where_a_file_is_cut_off_is_told_however_many_rows_were_bad_before(tmp_path: Path) -> None:
    path = tmp_path / "cut.csv.gz"
    packed = gzip.compress(b"user,item\n" + b"".join(b"%s\n" % os.urandom(20).hex().encode() for _ in range(5000)))
    path.write_bytes(packed[: len(packed) // 2])
    problems = Problems(keep=3)

    with open_source(path, problems=problems) as source:
        assert list(source) == []

    assert problems.ends == Problem(problems.count + 1, "The compressed file is cut off or damaged from here on")
    assert problems.first[3:] == [problems.ends]


def test_broken_json_lines_are_skipped(tmp_path: Path) -> None:
    path = tmp_path / "bad.jsonl"
    path.write_bytes(b'{"a": 1}\n{"a": \n[1]\n{"a": NaN}\n' + b'{"a":' * 2000 + b'\n{"a": 2}\n')

    rows, problems = read(path)

    assert rows == [(1, {"a": 1}), (6, {"a": 2})]
    assert [problem.line for problem in problems] == [2, 3, 4, 5]


def test_a_compressed_file_that_is_cut_off_gives_what_is_there(tmp_path: Path) -> None:
    path = tmp_path / "cut.csv.gz"
    packed = gzip.compress(
        b"user,item\n" + b"".join(b"u%d,%s\n" % (n, os.urandom(20).hex().encode()) for n in range(5000))
    )
    path.write_bytes(packed[: len(packed) // 2])

    rows, problems = read(path)

    assert 1000 < len(rows) < 4000
    assert len(problems) == 1
    assert "cut off or damaged" in problems[0].message


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "holds no rows"),
        (b"\n\n", "holds no rows"),
        (b"PK\x03\x04\x00\x00", "got something else"),
        ("user,item\n".encode("utf-16"), "got something else"),
        (b'[{"a": 1}]', "jq -c"),
        (b"a,b,a\n1,2,3\n", "names a twice"),
    ],
)
def test_a_wrong_file_is_refused_with_what_to_do(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "wrong"
    path.write_bytes(content)

    with pytest.raises(SourceError, match=message):
        open_source(path)


def test_a_missing_file_or_a_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="No such file"):
        open_source(tmp_path / "missing.csv")
    with pytest.raises(SourceError, match="is a folder"):
        open_source(tmp_path)


def test_the_policy_stop_ends_at_the_first_bad_row(tmp_path: Path) -> None:
    path = tmp_path / "bad.csv"
    path.write_bytes(b"user,item\nu1,i1\nu2\nu3,i3\n")

    with open_source(path, problems=Problems(stop=True)) as source:
        rows = iter(source)
        assert next(rows) == (2, ["u1", "i1"])
        with pytest.raises(BadRow, match="line 3: Expected 2 columns, got 1"):
            next(rows)


def test_columns_can_be_named_for_files_without_a_header(tmp_path: Path) -> None:
    path = tmp_path / "bare.csv"
    path.write_bytes(b"u1,i1\nu2,i2\n")

    rows, _ = read(path, columns=["user", "item"])

    assert rows == [(1, ["u1", "i1"]), (2, ["u2", "i2"])]


def test_standard_input_is_read_like_a_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    path = tmp_path / "piped"
    path.write_bytes(gzip.compress(CSV))

    with open(path, "rb") as piped:
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(piped))
        source = open_source("-")
        rows = list(source)
        assert source.size_bytes is None
        assert source.bytes_read == path.stat().st_size
        assert rows == [(2, ["u1", "i1"]), (3, ["u2", "i2"])]


@settings(max_examples=50, deadline=None)
@given(
    st.lists(
        st.dictionaries(st.text(max_size=5), st.one_of(st.text(max_size=20), st.integers(-(2**53), 2**53)), max_size=4),
        min_size=1,
        max_size=20,
    )
)
def test_json_lines_come_back_as_they_were_written(
    tmp_path_factory: pytest.TempPathFactory, rows: list[dict[str, object]]
) -> None:
    path = tmp_path_factory.mktemp("json") / "rows.jsonl.gz"
    path.write_bytes(gzip.compress("".join(json.dumps(row) + "\n" for row in rows).encode()))

    with open_source(path) as source:
        assert [row for _, row in source] == rows


def test_reading_ahead_gives_everything_in_order_and_then_the_error() -> None:
    def broken() -> object:
        yield from range(50_000)
        raise BadRow(7, "wrong")

    ahead: ReadAhead[int] = ReadAhead(broken(), limit=5_000)  # type: ignore[arg-type]
    seen: list[int] = []

    def take_all() -> None:
        while (taken := ahead.take(64)) is not None:
            seen.extend(taken)

    with pytest.raises(BadRow, match="line 7"):
        take_all()
    assert seen == list(range(50_000))


def test_reading_ahead_can_be_stopped() -> None:
    given_out: list[int] = []

    def endless() -> object:
        number = 0
        while True:
            given_out.append(number)
            yield number
            number += 1

    ahead: ReadAhead[int] = ReadAhead(endless(), limit=10)  # type: ignore[arg-type]
    ahead.stop()
    deadline = time.monotonic() + 5
    while ahead.take(1_000) is not None:
        assert time.monotonic() < deadline
    assert len(given_out) < 1_000_000
