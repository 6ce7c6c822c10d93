"""What an earlier life of a partition has published of its events: it stands, whatever would be said by now."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from online_models.bound import BoundObjective
from online_models.open_triggers import score_id_of
from schemas.events import EventBase
from schemas.scores import Score

if TYPE_CHECKING:
    from online_models.scoring import ScoringCore

# Below no offset is it known what was not published.
NEVER = sys.maxsize


def published_score(core: ScoringCore, score_id: str, event: EventBase) -> Score | None:
    """Return what was published of an event under this id."""
    score = core.published.get(score_id)
    if score is None or score.event_id == event.event_id:
        return score
    # Another event at this offset: the topic was created anew meanwhile, and what has no score there says nothing.
    core.published_from = NEVER
    return None


def is_scored(
    core: ScoringCore, bound: BoundObjective, event: EventBase, values: Sequence[Any], offset: int, place: int = 0
) -> bool:
    """Tell whether an event is scored for an objective: as it was before, else by the objective's conditions.

    What visitors did is the same when it is read again; what all of them did has gone on meanwhile.

    Parameters
    ----------
    values
        Compact feature values of the event.
    place
        Of an item in a ranking, from 1.
    """
    if not core.published and core.published_to <= offset:
        return bound.applies(values)
    if published_score(core, score_id_of(core.id_prefix, offset, bound.name, place), event) is not None:
        return True
    if bound.asks_the_crowd and core.published_from <= offset < core.published_to:
        return False
    return bound.applies(values)
