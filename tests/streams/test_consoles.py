"""What commands print is data: no console takes a part of it for the name of an emoji or for markup of its own."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

CLI = Path(__file__).resolve().parents[2] / "streams" / "cli"
# rich would make a cat of `a:cat:b`, and swallow `[x]` in the description of what progresses.
SAYS_NO_TO = {"Console": "emoji", "TextColumn": "markup"}


def calls(path: Path) -> Iterator[ast.Call]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in SAYS_NO_TO:
            yield node


@pytest.mark.parametrize("path", sorted(CLI.glob("*.py")), ids=lambda path: path.stem)
def test_data_is_printed_as_it_is(path: Path) -> None:
    for call in calls(path):
        said = {one.arg: getattr(one.value, "value", None) for one in call.keywords}
        assert said.get(SAYS_NO_TO[call.func.id]) is False, f"{path.name}:{call.lineno}"  # type: ignore[attr-defined]


def test_there_are_consoles() -> None:
    assert sum(1 for path in CLI.glob("*.py") for _ in calls(path)) > 10
