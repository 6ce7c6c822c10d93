"""What a command shall write at its end is looked at before it begins, and what it has found is never lost."""

from __future__ import annotations

import os
from itertools import islice
from pathlib import Path

import pytest
from typer.testing import CliRunner

from schemas.codec import encode_json
from streams.cli.errors import UserError
from streams.cli.main import app
from streams.cli.writing import check_files, check_folder, write_files
from streams.simulate import Shop

AUCTIONS = ["simulate-auctions", "--market", "sparse", "--auctions", "20000", "--budgets", "1/4"]


def entries(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*"))


@pytest.fixture(scope="module")
def events(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("events") / "events.jsonl"
    path.write_bytes(b"\n".join(encode_json(event) for event in islice(Shop(seed=5, visitors=50).events(), 300)))
    return path


@pytest.fixture
def full(tmp_path: Path) -> Path:
    """A folder with a file in it."""
    (tmp_path / "file").write_text("mine")
    return tmp_path


def test_files_that_can_be_written_are_taken_and_left_as_they_are(full: Path) -> None:
    before = entries(full)

    check_files(full / "file", full / "new", full / "a" / "b" / "new", Path("-"), None, Path(os.devnull))
    check_folder(full)
    check_folder(full / "a" / "b")

    assert entries(full) == before
    assert (full / "file").read_text() == "mine"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (".", "is a folder; name a file in it"),
        ("file/new", "file/new cannot be written: Not a directory"),
        ("a" * 300, "cannot be written: File name too long"),
        ("/proc/none/of/it", "/proc/none/of/it cannot be written: "),
    ],
)
def test_a_file_that_cannot_be_written_is_refused(full: Path, name: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        check_files(full / name)


def test_a_file_that_would_be_written_twice_is_refused(full: Path) -> None:
    with pytest.raises(UserError, match="file is named twice"):
        check_files(full / "file", full / "file")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("file", "file is a file; name a folder, or `kafka://topic`"),
        ("file/below", "file/below cannot be written: Not a directory"),
        ("/proc/none/of/it", "/proc/none/of/it cannot be written: "),
    ],
)
def test_a_folder_that_cannot_be_written_into_is_refused(full: Path, name: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        check_folder(full / name)


def test_what_cannot_be_written_keeps_nothing_else_from_being_written(full: Path) -> None:
    with pytest.raises(UserError, match=r"file/x cannot be written: .*; .* cannot be written: Is a directory"):
        write_files({full / "file" / "x": lambda: b"1", full / "y" / "z": lambda: b"2", full: lambda: b"3"})

    assert (full / "y" / "z").read_bytes() == b"2"


@pytest.mark.parametrize(
    ("option", "name", "message"),
    [
        ("--json", ".", "is a folder"),
        ("--report", "file/x.html", "Not a directory"),
        ("--to", "file", "is a file; name a folder"),
        ("--to", "/proc/none", "/proc/none cannot be written"),
    ],
)
def test_a_replay_that_could_not_write_does_not_begin(
    events: Path, full: Path, option: str, name: str, message: str
) -> None:
    before = entries(full)

    done = CliRunner().invoke(app, ["replay", str(events), "-c", "shop", option, str(full / name)])

    assert isinstance(done.exception, UserError)
    assert message in str(done.exception)
    assert "events" not in done.stderr  # no progress
    assert entries(full) == before


def test_a_candidates_folder_is_looked_at_too(events: Path, full: Path) -> None:
    (full / "out").mkdir()
    (full / "out" / "ads").write_text("")

    done = CliRunner().invoke(app, ["replay", str(events), "-c", "shop", "-c", "ads", "--to", str(full / "out")])

    assert isinstance(done.exception, UserError)
    assert "out/ads is a file" in str(done.exception)


@pytest.mark.parametrize("option", ["--json", "--html"])
@pytest.mark.parametrize(("name", "message"), [(".", "is a folder"), ("/proc/x/y", "cannot be written")])
def test_a_simulation_that_could_not_write_does_not_begin(full: Path, option: str, name: str, message: str) -> None:
    done = CliRunner().invoke(app, [*AUCTIONS, option, str(full / name)])

    assert isinstance(done.exception, UserError)
    assert message in str(done.exception)
    assert done.stdout == ""


def test_the_table_is_shown_and_the_rest_is_written_where_a_disk_is_full(full: Path) -> None:
    page = full / "page.html"

    done = CliRunner().invoke(app, [*AUCTIONS, "--json", "/dev/full", "--html", str(page)])

    assert isinstance(done.exception, UserError)
    assert str(done.exception) == "/dev/full cannot be written: No space left on device"
    assert "paced dual" in done.stdout
    assert page.read_text().count("<svg") == 1


def test_a_replays_table_is_shown_where_a_disk_is_full(events: Path, full: Path) -> None:
    page = full / "new" / "page.html"

    done = CliRunner().invoke(app, ["replay", str(events), "-c", "shop", "--json", "/dev/full", "--report", str(page)])

    assert isinstance(done.exception, UserError)
    assert "log loss" in done.stdout
    assert "<html" in page.read_text()
