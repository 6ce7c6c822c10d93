"""The demo's live view."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from streams.cli.screen import Screen


@pytest.mark.parametrize(
    "pages", [{}, {"dashboard": "http://127.0.0.1:4711/", "a shop that reacts": "http://127.0.0.1:4711/site"}]
)
def test_the_foot_says_what_else_there_is_to_look_at_and_how_to_end_it(pages: dict[str, str]) -> None:
    shown = io.StringIO()

    Console(file=shown, width=80).print(Screen("a label", pages=pages).render(None))

    assert "Ctrl-C ends it" in shown.getvalue()
    for what, address in pages.items():
        assert f"{what:<18} {address}" in shown.getvalue()
