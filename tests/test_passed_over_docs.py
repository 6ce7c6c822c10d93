"""docs/messages.md and docs/production.md explain everything that is counted of events, triggers and bids."""

from __future__ import annotations

import ast
import importlib
import re
from collections.abc import Iterator
from pathlib import Path

from online_models.bidding.desk import NOTICES
from schemas.events import SYSTEM_EVENTS

ROOT = Path(__file__).resolve().parent.parent
MESSAGES = (ROOT / "docs" / "messages.md").read_text().partition("## What is passed over")[2].partition("\n## ")[0]
NOTICES_ROW = re.search(r"^\| `streamscore_bid_notices_total` .*$", (ROOT / "docs/production.md").read_text(), re.M)
OWN = {one.type for one in SYSTEM_EVENTS}


def counted(name: str) -> set[str]:
    """Return the words under which the core counts in ``out.ignored`` or ``out.notes``."""
    found: set[str] = set()
    for path in sorted((ROOT / "online_models").rglob("*.py")):
        module = ".".join(path.relative_to(ROOT).with_suffix("").parts)
        for node in ast.walk(ast.parse(path.read_text())):
            is_ours = isinstance(node, ast.Subscript) and ast.unparse(node.value) == f"out.{name}"
            if is_ours and isinstance(node, ast.Subscript) and isinstance(node.ctx, ast.Store):
                found.update(words(node.slice, module))
    return found


def words(node: ast.expr, module: str) -> Iterator[str]:
    if isinstance(node, ast.IfExp):
        yield from words(node.body, module)
        yield from words(node.orelse, module)
    elif isinstance(node, ast.Name):
        yield getattr(importlib.import_module(module), node.id)
    elif ast.unparse(node) == "event.type":  # only of the worker's own events
        yield from OWN
    else:
        yield ast.literal_eval(node)


def explained(heading: str) -> set[str]:
    table = MESSAGES.partition(f"| {heading} |")[2].partition("\n\n")[0]
    return {word for row in table.splitlines() for word in re.findall(r"`(\w+)`", "|".join(row.split("|")[:2]))}


def test_every_rule_that_passes_events_over_is_explained() -> None:
    assert explained("rule") == counted("ignored")


def test_every_cause_for_a_trigger_without_a_label_is_explained() -> None:
    assert explained("cause") == counted("notes") - set(NOTICES)


def test_everything_that_becomes_of_bids_is_named() -> None:
    assert NOTICES_ROW is not None

    assert [one for one in NOTICES if f"`{one}`" not in NOTICES_ROW[0]] == []
    assert set(NOTICES) <= counted("notes")
