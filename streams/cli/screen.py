"""The demo's live view."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import Any

from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from streams.presenting import reasons_text

_RATE_OVER_S = 5.0
_SHOWN_SCORES = 6


class Screen:
    """Renders a worker's `/status`, with rates over the last seconds.

    Parameters
    ----------
    label
        Where the events come from.
    pages
        Pages to look at meanwhile: what they are, and their addresses.
    """

    def __init__(self, label: str, *, pages: Mapping[str, str]) -> None:
        self._label = label
        self._pages = pages
        self._seen: deque[tuple[float, int, int]] = deque()

    def note(self, status: dict[str, Any] | None, now_s: float) -> None:
        """Remember totals, to tell rates."""
        if status is None:
            return
        self._seen.append((now_s, status["totals"]["events"], status["totals"]["scores"]))
        while now_s - self._seen[0][0] > _RATE_OVER_S:
            self._seen.popleft()

    def _rates(self) -> tuple[float, float]:
        (first_s, events, scores), (last_s, events_now, scores_now) = self._seen[0], self._seen[-1]
        seconds = last_s - first_s
        if seconds <= 0:
            return 0.0, 0.0
        return (events_now - events) / seconds, (scores_now - scores) / seconds

    def render(self, status: dict[str, Any] | None) -> RenderableType:
        """Return the view; None: the worker has not answered yet."""
        title = Text.assemble(("streamscore", "bold"), f"  {self._label}")
        parts: list[RenderableType] = [Text("waiting for the worker …")]
        if status is not None:
            parts = [self._flow(status), _quality(status), _scores(status)]
        parts.append(Text("\n".join(f"{what:<18} {address}" for what, address in self._pages.items()), style="bold"))
        return Panel(Group(*parts), title=title, title_align="left", subtitle="Ctrl-C ends it", subtitle_align="right")

    def _flow(self, status: dict[str, Any]) -> Table:
        events, scores = self._rates()
        totals, latency = status["totals"], status["latency_ms"]
        table = Table.grid(padding=(0, 3))
        table.add_row(
            f"[bold]{events:,.0f}[/] events/s",
            f"[bold]{scores:,.0f}[/] scores/s",
            f"lag [bold]{status['lag']:,}[/]",
            "latency -" if latency is None else f"latency p50 {latency['p50']:,.0f} ms, p99 {latency['p99']:,.0f} ms",
        )
        table.add_row(
            f"{totals['events']:,} events",
            f"{totals['scores']:,} scores",
            f"{totals['dead']:,} dead letters",
            f"{totals['learned']:,} examples learned, {status['open_attributions']:,} triggers wait for their label",
        )
        return table


def _quality(status: dict[str, Any]) -> Table:
    table = Table("objective", "model", "judged", "base rate", "log loss", "of base rate", "AUC", "no model", box=None)
    for name, model in status["models"].items():
        found = status["objectives"].get(name)
        if not found or not found["n"]:
            table.add_row(name, f"{model['name']} v{model['version']}", "0", *["-"] * 5)
            continue
        table.add_row(
            name,
            f"{model['name']} v{model['version']}",
            f"{found['n']:,}",
            f"{found['positives'] / found['n']:.1%}",
            f"{found['log_loss']:.4f}",
            f"{found['base_log_loss']:.4f}",
            "-" if found["auc"] is None else f"[bold]{found['auc']:.3f}[/]",
            "0.500",
        )
    return table


def _scores(status: dict[str, Any]) -> Table:
    table = Table("last scores", "", "", "because", box=None, expand=True)
    for score in status["recent_scores"][-_SHOWN_SCORES:]:
        what = f"user {score['user_id']}" + (f" item {score['item_id']}" if score["item_id"] else "")
        why = reasons_text(score["reasons"]) or "nothing learned yet"
        table.add_row(
            score["objective"], f"{score['score']:.1%}", Text(what), Text(why, overflow="ellipsis", no_wrap=True)
        )
    return table
