"""What the HTTP API knows about visitors in groups: segments, and who is like whom."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from itertools import islice

from online_models.crowd import CrowdView
from online_models.features import FeatureSet
from online_models.features.segments import Description, Segments
from online_models.lookalikes import SeedGroup
from online_models.segments import described, population
from schemas.api import Lookalike, LookalikesAnswer, SegmentsAnswer
from schemas.events import PageView
from schemas.user_state import UserState
from streams.stores import Unavailable

Load = Callable[[Sequence[str]], Awaitable[Mapping[str, UserState]]]
# Visitors that are read and described at a stretch: some milliseconds, in which a worker does nothing else.
_AT_ONCE = 200


class NoSegments(ValueError):
    """Nothing is declared that would describe a visitor."""


class Audience:
    """Visitors of one configuration.

    Parameters
    ----------
    load
        Returns the stored states of those who are known; raises Unavailable.
    """

    def __init__(self, features: FeatureSet, crowd: CrowdView, load: Load) -> None:
        self._segments = features.segments
        self._crowd = crowd
        self._load = load

    def segments(self) -> SegmentsAnswer:
        """Return the segments as this worker has them."""
        found = described(self._segments, self._crowd.weights)
        return SegmentsAnswer(crowd_version=self._crowd.version, segments=found)

    async def lookalikes(self, seed: Sequence[str], users: Sequence[str]) -> LookalikesAnswer:
        """Return how much visitors are like a seed group.

        Raises
        ------
        NoSegments
        Unavailable
            The store is away, or nobody was described yet.
        """
        segments = self._segments
        if segments is None:
            raise NoSegments("Expected `segments:` in the configuration: it says which features describe a visitor")
        everybody = population(segments, self._crowd.weights)
        if everybody is None:
            raise Unavailable("no visit was described yet")
        seeds = await self._described(segments, dict.fromkeys(seed))
        asked = await self._described(segments, dict.fromkeys(users))
        if not seeds:
            return LookalikesAnswer(seed_known=0, users=[Lookalike(user_id=one, score=None) for one in users])
        group = SeedGroup(segments.of, everybody, [description for description, _ in seeds.values()])
        found = []
        for user_id in users:
            if user_id not in asked:
                found.append(Lookalike(user_id=user_id, score=None))
                continue
            description, segment = asked[user_id]
            score, reasons = group.likeness(description)
            found.append(Lookalike(user_id=user_id, score=score, reasons=reasons, segment=segment))
        return LookalikesAnswer(seed_known=len(seeds), users=found)

    async def _described(
        self, segments: Segments, user_ids: Mapping[str, None]
    ) -> dict[str, tuple[Description, str | None]]:
        """Return description and segment of those who are known, as of their last event, as visits are described."""
        found = {}
        left = iter(user_ids)
        while some := list(islice(left, _AT_ONCE)):
            for user_id, user in (await self._load(some)).items():
                last = PageView(event_id="", user_id=user_id, ts=user.last_ts)
                segment = segments.read(user.slots, last, user.last_ts, self._crowd.weights)
                found[user_id] = segments.describe(user.slots, last), segment
        return found
