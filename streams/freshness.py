"""Keeps scoring from outrunning learning while a backlog is worked off.

At the pace of visitors a model is behind by what came within a second. In a backlog the scorers would
race through hours of events with one old model, and the scores would be worse than they were live. So
before a full chunk, and only then, scoring waits until the model has learned all but the last few
examples that were published. A learner that is away holds nobody up twice: after one wait without any
progress the scoring goes on with the model it has. Nor does a model that is so far behind that it catches up beside
the others (`streams.catch_up`): that can take hours.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Protocol

# Publishing a version and its way to the scorers take some tens of milliseconds.
_LOOK_S = 0.002
# From here on a model is not waited for. Scorers that wait for it never let it fall behind so far.
FAR_BEHIND = 100_000


class Followed(Protocol):
    """A model as the scorers have it; see `online_models.replica.Follower`."""

    @property
    def version(self) -> int: ...
    @property
    def begun_at(self) -> int: ...


class Freshness:
    """Compares what the models have learned with what there is to learn.

    Parameters
    ----------
    replicas
        The scorers' models, by objective.
    most_behind
        Examples that a model may be behind before scoring waits for it.
    patience_s
        How long to wait for a learner that makes no progress.
    """

    def __init__(self, replicas: Mapping[str, Followed], *, most_behind: int, patience_s: float) -> None:
        self._replicas = replicas
        self._most_behind = most_behind
        self._patience_s = patience_s
        self._published: dict[str, int] = {}
        self._given_up: dict[str, int] = {}
        self._begun_at: dict[str, int] = {}

    def examples_published(self, objective: str, behind_last: int) -> None:
        """Note the offset behind the last example of an objective that was published here."""
        self._published[objective] = max(behind_last, self._published.get(objective, 0))

    def behind(self, objective: str) -> int:
        """Return how many published examples the scorers' model has not learned."""
        replica = self._replicas[objective]
        if replica.begun_at != self._begun_at.get(objective, 0):  # another log: its offsets begin anew
            self._begun_at[objective] = replica.begun_at
            self._published.pop(objective, None)
        return max(0, self._published.get(objective, 0) - (replica.version - replica.begun_at))

    async def wait(self) -> None:
        """Wait until no model is too far behind, or its learner shows no progress."""
        for objective in list(self._published):
            await self._wait_for(objective)

    async def _wait_for(self, objective: str) -> None:
        replica = self._replicas[objective]
        if self._given_up.get(objective) == replica.version:
            return
        loop = asyncio.get_running_loop()
        version, since = replica.version, loop.time()
        while self._most_behind < self.behind(objective) <= FAR_BEHIND:
            await asyncio.sleep(_LOOK_S)
            if replica.version != version:
                version, since = replica.version, loop.time()
            elif loop.time() - since > self._patience_s:
                self._given_up[objective] = version
                return
