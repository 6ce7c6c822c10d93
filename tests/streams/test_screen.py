"""The demo's live view."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from streams.cli.screen import Screen


@pytest.mark.parametrize(
    ("site", "foot"),
    [
        ("http://127.0.0.1:4711/site", "a shop that reacts: http://127.0.0.1:4711/site · Ctrl-C ends it"),
        (None, "Ctrl-C ends it"),
    ],
)
def test_the_foot_says_where_the_shop_is_and_how_to_end_it(site: str | None, foot: str) -> None:
    shown = io.StringIO()

    Console(file=shown, width=120).print(Screen("a label", site=site).render(None))

    assert foot in shown.getvalue()
    assert ("shop" in shown.getvalue()) == (site is not None)
