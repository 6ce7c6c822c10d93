"""Since when triggers get their labels as their objective is declared now.

A trigger keeps the key by which it was to be matched. Where `match` has changed since, no outcome has that key any
more, and what came before is not known by the other one: it would count as a negative, whatever the visitor does. Where
`labels` has changed, it would be learned twice, or never. And while its objective was gone nobody heard its outcomes.
Such a trigger goes without a label.

It is known by its offset, not by a mark of its own, since there are millions of them: those below the first one that
was opened as declared now.

Refused: the same for another `outcome`: what has come stays, and most windows lie before or after the change.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from msgspec.structs import replace

from online_models.objectives import Objective
from schemas.user_state import Labelling, OpenAttribution

CHANGED, GONE = "objective_changed", "objective_gone"
# Above every offset: none was opened so far.
_NONE_YET = (1 << 63) - 1


class Labellings:
    """How the objectives are matched and labelled, and which triggers were opened before that.

    Parameters
    ----------
    known
        What the store held; None: nothing, or of a version before, and the present declaration counts for all.

    Attributes
    ----------
    now
        What the store must hold, by objective.
    since
        Of the objectives of which triggers of before may wait, the offset from which on they are as declared now.
    """

    def __init__(self, objectives: Iterable[Objective], known: Mapping[str, Labelling] | None) -> None:
        self.now = {one.name: _labelling(one, known) for one in objectives}
        self.since = {name: one.since for name, one in self.now.items() if one.since}
        self.none_yet = {name for name, since in self.since.items() if since == _NONE_YET}

    def opened(self, objective: str, offset: int) -> None:
        """Note the first trigger of an objective that is in `none_yet`."""
        self.none_yet.discard(objective)
        self.since[objective] = offset
        self.now[objective] = replace(self.now[objective], since=offset)

    def is_of_before(self, one: OpenAttribution) -> bool:
        """Tell whether a trigger was opened under another declaration, and can have no label."""
        return one.offset < self.since.get(one.objective, 0)


def _labelling(objective: Objective, known: Mapping[str, Labelling] | None) -> Labelling:
    match, immediate = objective.match, objective.labels == "immediate"
    if known is None:
        return Labelling(match, immediate)
    before = known.get(objective.name)
    if before is None:
        return Labelling(match, immediate, _NONE_YET, was_gone=True)
    if (before.match, before.immediate) == (match, immediate):
        return before
    return Labelling(match, immediate, _NONE_YET)
