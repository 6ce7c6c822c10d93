"""Small charts as SVG, drawn by hand: no script, no network, sharp on paper, coloured by the page's own variables.

Under every plot stand its figures as a table, for those who cannot see it, or want to copy them. Bars are
a table of their own, so that labels and figures keep their size on a telephone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from html import escape
from math import ceil, floor, log10
from typing import NamedTuple

WIDTH, HEIGHT = 640, 260
_LEFT, _RIGHT, _TOP, _BOTTOM = 52, 12, 10, 30


class Series(NamedTuple):
    """A line: (x, y) with gaps where y is None; `style` is a class of the page's style sheet."""

    name: str
    points: Sequence[tuple[float, float | None]]
    style: str
    dots: bool = False


def ticks(low: float, high: float, wanted: int = 5) -> list[float]:
    """Return round numbers from `low` to `high`.

    >>> ticks(0.55, 0.71)
    [0.55, 0.6, 0.65, 0.7]
    """
    if not high > low:
        return [low]
    rough = (high - low) / wanted
    power = 10.0 ** floor(log10(rough))
    step = next(size * power for size in (1.0, 2.0, 5.0, 10.0) if size * power >= rough)
    first = ceil(low / step - 1e-9)
    last = floor(high / step + 1e-9)
    digits = max(0, -floor(log10(step) + 1e-9))
    return [round(number * step, digits) for number in range(first, last + 1)]


class _Scale:
    """From values to places on the canvas."""

    def __init__(self, low: float, high: float, start: float, end: float) -> None:
        self.low, self.high = low, high
        self._start = start
        self._slope = (end - start) / (high - low) if high > low else 0.0

    def __call__(self, value: float) -> float:
        return self._start + (min(max(value, self.low), self.high) - self.low) * self._slope


def _bounds(values: Sequence[float]) -> tuple[float, float]:
    low, high = min(values), max(values)
    margin = (high - low) * 0.06 or abs(high) * 0.05 or 1.0
    return low - margin, high + margin


def line_chart(
    series: Sequence[Series],
    *,
    title: str,
    x_text: Callable[[float], str],
    y_text: Callable[[float], str] = "{:g}".format,
    square: bool = False,
) -> str:
    """Draw lines over a common axis.

    Parameters
    ----------
    square
        Both axes from 0 to the largest value, with the diagonal: a calibration plot.
    """
    xs = [x for one in series for x, y in one.points if y is not None]
    ys = [y for one in series for _, y in one.points if y is not None]
    if not xs:
        return f'<p class="empty">{escape(title)}: nothing to show</p>'
    if square:
        top = max(*xs, *ys) * 1.05 or 1.0
        x_range = y_range = (0.0, top)
    else:
        x_range, y_range = (min(xs), max(xs)), _bounds(ys)
    x_scale = _Scale(*x_range, _LEFT, WIDTH - _RIGHT)
    y_scale = _Scale(*y_range, HEIGHT - _BOTTOM, _TOP)
    x_ticks = ticks(*x_range) if square else [x_range[0] + (x_range[1] - x_range[0]) * part / 4 for part in range(5)]
    parts = [*_grid(x_scale, y_scale, x_ticks, x_text, y_text)]
    if square:
        parts.append(
            f'<line class="ideal" x1="{x_scale(0):.1f}" y1="{y_scale(0):.1f}" '
            f'x2="{x_scale(x_range[1]):.1f}" y2="{y_scale(x_range[1]):.1f}"/>'
        )
    for one in series:
        parts += _line(one, x_scale, y_scale)
    legend = "".join(f'<li class="{one.style}">{escape(one.name)}</li>' for one in series)
    return (
        f'<figure><figcaption>{escape(title)}</figcaption><ul class="legend">{legend}</ul>'
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(title)}">{"".join(parts)}</svg>'
        f"{_figures(series, x_text, y_text)}</figure>"
    )


def _figures(series: Sequence[Series], x_text: Callable[[float], str], y_text: Callable[[float], str]) -> str:
    """Return what is drawn as a table, closed at first: a column for each line, or a row for each point."""

    def shown(value: float | None) -> str:
        return "-" if value is None else y_text(value)

    places = [[x for x, _ in one.points] for one in series]
    if all(one == places[0] for one in places):
        head = ["", *(one.name for one in series)]
        rows = [[x_text(x), *(shown(one.points[number][1]) for one in series)] for number, x in enumerate(places[0])]
    else:
        head = ["", "", ""]
        rows = [[one.name, x_text(x), shown(y)] for one in series for x, y in one.points]
    titles = "".join(f'<th scope="col">{escape(one)}</th>' for one in head)
    body = "".join(
        f'<tr><th scope="row">{escape(first)}</th>' + "".join(f"<td>{escape(one)}</td>" for one in rest) + "</tr>"
        for first, *rest in rows
    )
    return (
        '<details><summary>Figures</summary><div class="scroll" tabindex="0" role="region" aria-label="Figures">'
        f"<table><thead><tr>{titles}</tr></thead><tbody>{body}</tbody></table></div></details>"
    )


def _grid(
    x_scale: _Scale,
    y_scale: _Scale,
    x_ticks: Sequence[float],
    x_text: Callable[[float], str],
    y_text: Callable[[float], str],
) -> list[str]:
    parts = []
    for value in ticks(y_scale.low, y_scale.high):
        at = y_scale(value)
        parts.append(f'<line class="grid" x1="{_LEFT}" y1="{at:.1f}" x2="{WIDTH - _RIGHT}" y2="{at:.1f}"/>')
        parts.append(f'<text x="{_LEFT - 6}" y="{at + 4:.1f}" text-anchor="end">{escape(y_text(value))}</text>')
    for number, value in enumerate(x_ticks):
        at = x_scale(value)
        anchor = "start" if at < _LEFT + 1 else "end" if at > WIDTH - _RIGHT - 30 else "middle"
        style = ' class="minor"' if number % 2 else ""
        parts.append(
            f'<text{style} x="{at:.1f}" y="{HEIGHT - 8}" text-anchor="{anchor}">{escape(x_text(value))}</text>'
        )
    return parts


def _line(one: Series, x_scale: _Scale, y_scale: _Scale) -> list[str]:
    parts: list[str] = []
    run: list[str] = []
    for x, y in [*one.points, (0.0, None)]:
        if y is not None:
            run.append(f"{x_scale(x):.1f},{y_scale(y):.1f}")
        elif run:
            parts.append(f'<polyline class="{one.style}" points="{" ".join(run)}"/>')
            run = []
    if one.dots or len(one.points) == 1:
        parts += [
            f'<circle class="{one.style}" cx="{x_scale(x):.1f}" cy="{y_scale(y):.1f}" r="3"/>'
            for x, y in one.points
            if y is not None
        ]
    return parts


def bar_chart(bars: Sequence[tuple[str, float, str]], *, title: str, text: Callable[[float], str]) -> str:
    """Draw horizontal bars to the left and right of 0: (label, value, class)."""
    if not bars:
        return ""
    low, high = min(0.0, *(value for _, value, _ in bars)), max(0.0, *(value for _, value, _ in bars))
    scale = _Scale(low, high if high > low else low + 1.0, 0.0, 100.0)
    zero = scale(0.0)
    rows = []
    for label, value, style in bars:
        end = scale(value)
        start, length = min(zero, end), max(0.3, abs(end - zero))
        rows.append(
            f'<tr><th scope="row">{escape(label)}</th><td class="bar">'
            '<svg viewBox="0 0 100 10" preserveAspectRatio="none" aria-hidden="true">'
            f'<rect class="{style}" x="{start:.2f}" y="0" width="{length:.2f}" height="10"/>'
            f"</svg></td><td>{escape(text(value))}</td></tr>"
        )
    return (
        f'<figure><figcaption>{escape(title)}</figcaption><table class="bars"><tbody>{"".join(rows)}</tbody></table>'
        "</figure>"
    )
