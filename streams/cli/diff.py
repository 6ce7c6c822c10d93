"""`streamscore diff`: are two sets of scores, examples or bids the same?"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import typer
from rich.console import Console

from streams.cli.errors import UserError, friendly
from streams.cli.options import ConfigOption, settings_of

if TYPE_CHECKING:
    from streams.replay.diff import Comparison
    from streams.replay.spec import Spec
    from streams.settings import Settings

_UNUSABLE = 2


def diff(
    a: Annotated[
        str, typer.Argument(help="A file of scores, examples or bids, a replay's folder, `kafka://topic`, or `live`.")
    ],
    b: Annotated[str, typer.Argument(help="What to compare it with.")],
    config: ConfigOption = None,
    tolerance: Annotated[
        float, typer.Option(min=0, help="Numbers that differ by no more than this are the same.")
    ] = 0.0,
    json: Annotated[bool, typer.Option("--json", help="One JSON object on standard output.")] = False,
) -> None:
    """Compare two sets of scores, of the examples behind them, and of bids, message by message.

    Ends with status 0 if they are the same within the tolerance, 1 if not, and 2 if a side cannot be read.
    `live` is what the configured topics hold: scores, examples and bids.
    """
    with friendly(_UNUSABLE):
        found = asyncio.run(_diff(a, b, settings_of(config), tolerance))
    if json:
        print(msgspec.json.encode(found).decode())
    else:
        for one in found:
            _show(one, tolerance)
    if any(one.different for one in found):
        raise typer.Exit(1)


async def _diff(a: str, b: str, settings: Settings, tolerance: float) -> list[Comparison]:
    from streams.reading import TopicMissing
    from streams.replay.diff import Unreadable
    from streams.replay.sides import SideError, parts_of
    from streams.replay.spec import SpecError

    try:
        left, right = parts_of(a, settings), parts_of(b, settings)
        found = [
            await _compare(kind, one, other, settings, tolerance, names=(a, b))
            for kind, one, other in _paired(left, right, a, b)
        ]
        held = [one for one in found if one.left]  # of what neither side has, there is nothing to say
        if not held:
            raise SideError(f"{a} holds no {found[0].kind}")
        return held
    except (SideError, SpecError, TopicMissing, Unreadable) as error:
        raise UserError(str(error)) from None


def _paired(left: Mapping[str, Spec], right: Mapping[str, Spec], a: str, b: str) -> list[tuple[str, Spec, Spec]]:
    """Match what the sides consist of; a single file meets the scores of a folder or of `live`."""
    if "" in left or "" in right:
        return [("", left.get("") or left["scores"], right.get("") or right["scores"])]
    kinds = [kind for kind in left if kind in right]
    if not kinds:
        raise UserError(f"{a} holds {' and '.join(left)}, {b} holds {' and '.join(right)}: nothing to compare")
    return [(kind, left[kind], right[kind]) for kind in kinds]


async def _compare(
    kind: str, left: Spec, right: Spec, settings: Settings, tolerance: float, *, names: tuple[str, str]
) -> Comparison:
    from streams.replay.diff import Differ
    from streams.replay.sides import SideError, values

    differ = Differ(kind or "messages", tolerance=tolerance)
    try:
        sides = [values(left, settings), values(right, settings)]
        going = [0, 1]
        while going:  # in turn: both sides stand in nearly the same order, and little has to wait
            for side in list(going):
                some = await anext(sides[side], None)
                if some is None:
                    going.remove(side)
                else:
                    differ.put(side, some)
        found = differ.result()
    finally:
        differ.close()
    for name, count in zip(names, (found.left, found.right), strict=True):
        if not count and (found.left or found.right):
            raise SideError(f"{name} holds no {found.kind}")
    return found


def _show(one: Comparison, tolerance: float) -> None:
    console = Console(emoji=False, highlight=False)
    verdict = (
        "differ" if one.different else "are the same" + (f" within {tolerance:g}" if tolerance else ", bit for bit")
    )
    console.print(
        f"{one.kind}: A {one.left:,}, B {one.right:,}; they {verdict}", style="bold red" if one.different else "bold"
    )
    if one.repeated:
        console.print(f"    repeated messages, of which the first counts: {one.repeated:,}")
    for name, count in one.fields.items():
        console.print(f"    {name}: {count:,}", markup=False)
    if one.largest:
        what = "prices" if one.kind == "bids" else "scores"
        console.print(f"    difference of the {what}: largest {one.largest:.3g}, mean {one.mean:.3g}; pairs by size:")
        for bound, count in one.histogram:
            console.print(f"        up to {bound:g}: {count:,}")
    for number, difference in enumerate(one.first):
        if number == 0:
            console.print("first difference:")
        console.print(f"    {difference.id}: {', '.join(difference.fields)}", markup=False)
        if number == 0:
            for name, side in (("A", difference.left), ("B", difference.right)):
                console.print(f"        {name}: {_chosen(side, difference.fields)}", markup=False, soft_wrap=True)


def _chosen(message: dict[str, Any] | None, fields: tuple[str, ...]) -> str:
    if message is None:
        return "-"
    shown = {name: message[name] for name in fields if name in message} or {
        name: message[name] for name in ("ts", "score", "reason", "price") if name in message
    }
    return ", ".join(f"{name} {value}" for name, value in shown.items())
