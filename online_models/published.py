"""What an earlier life of a partition has published of its events: it stands, whatever would be said by now."""

from __future__ import annotations

from typing import TYPE_CHECKING

from schemas.events import EventBase
from schemas.scores import Score

if TYPE_CHECKING:
    from online_models.scoring import ScoringCore


def published_score(core: ScoringCore, score_id: str, event: EventBase) -> Score | None:
    """Return what was published of an event under this id."""
    score = core.published.get(score_id)
    # Another event at this offset: the topic was created anew meanwhile.
    return score if score is not None and score.event_id == event.event_id else None
