"""Layouts: how the positional fields of stored states are read, when the configuration has changed since.

The id of a layout tells its features, and nothing of the outcomes of the objectives: who reads a state beside a worker
knows by it whether the slots are those of today's features. Hence for one id there is one order of outcome types, which
only ever gains at its end: a type that objectives have no more keeps its place (and is noted on, so that going back
loses nothing), another one comes behind. A state with fewer times than types was stored before that, and what it has
is in its place. Only other features begin a layout anew.

Refused: an id that tells the outcomes as well. Each change of an outcome would make strangers of all visitors for those
who read beside a worker, and would take one of the layouts that are remembered.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from online_models.features import FeatureSet
from online_models.rest import wake
from schemas.user_state import FORM, Layout, UserState

# Users whose state is packed by a layout older than this many changes of the features start anew.
REMEMBERED_LAYOUTS = 8


class Layouts:
    """The layout by which states are written, and those by which stored ones may still be packed.

    Parameters
    ----------
    outcomes
        Event types that are an outcome of some objective.
    known
        What the store held for the partition, newest first.

    Attributes
    ----------
    now
        The layout of the states that a core works with.
    remembered
        What the store must hold, newest first.
    """

    def __init__(self, features: FeatureSet, outcomes: Iterable[str], known: Sequence[Layout] = ()) -> None:
        self._features = features
        self._by_id = {one.id: one for one in reversed(known)}
        types, least = tuple(sorted(set(outcomes))), -1
        before = self._by_id.get(features.layout)
        if before is not None:
            least = _least(before)
            types = *before.outcome_types, *(kind for kind in types if kind not in before.outcome_types)
        self.now = Layout(features.layout, tuple(features.slot_keys), types, len(types) if least < 0 else least)
        self._by_id[self.now.id] = self.now
        self.remembered = [self.now, *(one for one in known if one.id != self.now.id)][:REMEMBERED_LAYOUTS]

    def new_user(self) -> UserState:
        """Return the state of a visitor of whom nothing is known."""
        return UserState(
            layout=self.now.id,
            last_ts=0,
            recent_ids=b"",
            slots=[None] * len(self.now.slot_keys),
            outcome_ts=[0] * len(self.now.outcome_types),
            open=[],
            form=FORM,
        )

    def wake(self, user: UserState) -> None:
        """Put the accumulators of a visitor who has come back into their places, by the layout of now."""
        wake(user)
        self.fit(user)

    def fit(self, user: UserState) -> None:
        """Give a state of today's features, which is not at rest, a time for each outcome type of now."""
        if len(user.outcome_ts) != len(self.now.outcome_types):
            self._take_over(user, self.now)

    def move(self, user: UserState) -> None:
        """Bring a state of other features to the layout of now, in place; what it no longer knows starts empty."""
        wake(user)
        old = self._by_id.get(user.layout) or Layout(user.layout, (), ())
        user.slots = self._features.migrate(user.slots, list(old.slot_keys))
        self._take_over(user, old)
        user.layout = self.now.id

    def _take_over(self, user: UserState, old: Layout) -> None:
        times, types = user.outcome_ts, old.outcome_types
        # Otherwise of a version that took other types for the same layout: nobody knows whose times they are.
        is_told = _least(old) <= len(times) <= len(types)
        seen = dict(zip(types, times, strict=False)) if is_told else {}
        user.outcome_ts = [seen.get(kind, 0) for kind in self.now.outcome_types]


def _least(layout: Layout) -> int:
    """Return how many outcome times the states of a layout have at least."""
    return len(layout.outcome_types) if layout.began_with < 0 else layout.began_with
