"""Files that a command writes at its end: looked at before it begins, since what comes between may take hours."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

from streams.cli.errors import UserError


def check_files(*paths: Path | None) -> None:
    """Refuse files that cannot be written; ``-`` is standard output, None is none. Nothing is left behind.

    Raises
    ------
    UserError
    """
    named = [path for path in paths if path is not None]
    if len(set(named)) < len(named):
        raise UserError(f"{named[0]} is named twice; one would overwrite the other")
    for path in named:
        if str(path) == "-":
            continue
        try:
            if path.is_dir():
                raise UserError(f"{path} is a folder; name a file in it")
            if path.is_file():
                path.open("ab").close()
            elif not path.exists():  # neither a device nor a pipe: opening one would tell its reader
                _try_in(path.parent)
        except OSError as error:
            raise UserError(f"{path} cannot be written: {error.strerror}") from None


def check_folder(path: Path) -> None:
    """Refuse a folder that cannot be made or written into; raises UserError. Nothing is left behind."""
    try:
        if path.exists() and not path.is_dir():
            raise UserError(f"{path} is a file; name a folder, or `kafka://topic`")
        _try_in(path)
    except OSError as error:
        raise UserError(f"{path} cannot be written: {error.strerror}") from None


def write_files(contents: Mapping[Path, Callable[[], bytes]]) -> None:
    """Write files, the rest too where one cannot be written; ``-`` is standard output.

    Raises
    ------
    UserError
        With all that could not be written.
    """
    failed = []
    for path, content in contents.items():
        if str(path) == "-":
            sys.stdout.buffer.write(content())
            sys.stdout.buffer.flush()
            continue
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content())
        except OSError as error:
            failed.append(f"{path} cannot be written: {error.strerror}")
    if failed:
        raise UserError("; ".join(failed))


def _try_in(folder: Path) -> None:
    """Make something in a folder, or in what there is of its path, and take it away again; raises OSError."""
    while not folder.exists():
        folder = folder.parent
    with tempfile.TemporaryDirectory(dir=folder):
        pass
