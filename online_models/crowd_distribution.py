"""How crowd counts travel: as weights do, but counters may vanish.

A counter that was forgotten is sent once more, with the height `GONE`, and from then on its block comes without it. A
scorer that has met every delta drops it then; one that has not needs blocks, and takes a block for all there was in it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from online_models.crowd import GONE, NAME, CrowdCounts
from online_models.distribution import MAX_WEIGHTS_BYTES, WeightDistributor
from online_models.features.leaders import Leaders
from online_models.features.plan import CrowdTable
from online_models.replica import MISSING, Gathered, LinearReplica
from schemas.models import BLOCKS, ModelManifest, block_of


class CrowdDistributor(WeightDistributor):
    """Sends changed counters, and the blocks in turn; see `WeightDistributor`."""

    def __init__(
        self,
        objective: str,
        *,
        lineage: str,
        counts: CrowdCounts,
        blocks: int = BLOCKS,
        max_bytes: int = MAX_WEIGHTS_BYTES,
    ) -> None:
        self._counts = counts
        model: Any = counts  # read by the two methods below alone
        super().__init__(objective, lineage=lineage, model=model, blocks=blocks, max_bytes=max_bytes)

    def _start(self, *, origin: int) -> None:
        super()._start(origin=origin)
        self._counts.take_changed()
        self._dealt = _dealt(self._counts.weights, self._blocks)

    def _take_changed(self) -> dict[str, float]:
        changed = self._counts.take_changed()
        for name, height in changed.items():
            _put(self._dealt[block_of(name, self._blocks)], name, height)
        return changed

    def _weights_of(self, block: int) -> dict[str, float]:
        return self._dealt[block]


class CrowdReplica(LinearReplica):
    """Crowd counts of the version at hand, as its `weights`; the next version may come in another dict.

    Attributes
    ----------
    leaders
        The leaders of the same version.
    """

    def __init__(self, tables: Mapping[str, CrowdTable], *, lineage: str, blocks: int = BLOCKS) -> None:
        super().__init__(lineage=lineage, name=NAME, prior=0.0, blocks=blocks)
        self.leaders = Leaders(tables)

    def _new_gathered(self, origin: int) -> Gathered:
        return _GatheredCounts(origin, self._blocks)

    def _take_up(self, gathered: Gathered, manifest: ModelManifest, own_version: int) -> None:
        assert isinstance(gathered, _GatheredCounts)
        if own_version != MISSING and gathered.leads(own_version, manifest.version):
            for block, weights in gathered.taken:
                if block is None:
                    for name, height in weights.items():
                        before = self.weights.get(name)
                        _put(self.weights, name, height)
                        self.leaders.moved(name, before, self.weights.get(name), self.weights)
            return
        dealt = _dealt({} if own_version == MISSING else self.weights, self._blocks)
        for block, weights in gathered.taken:
            if block is not None:
                dealt[block] = weights
                continue
            for name, height in weights.items():
                _put(dealt[block_of(name, self._blocks)], name, height)
        self.weights = {name: height for some in dealt for name, height in some.items()}
        self.leaders.look_through(self.weights)


class _GatheredCounts(Gathered):
    """Keeps what came one by one: a counter may be there in one record and gone in the next."""

    def __init__(self, origin: int, blocks: int) -> None:
        super().__init__(origin, blocks)
        self.taken: list[tuple[int | None, dict[str, float]]] = []

    def take(self, block: int | None, weights: dict[str, float]) -> None:
        self.taken.append((block, weights))


def _dealt(heights: Mapping[str, float], blocks: int) -> list[dict[str, float]]:
    dealt: list[dict[str, float]] = [{} for _ in range(blocks)]
    for name, height in heights.items():
        dealt[block_of(name, blocks)][name] = height
    return dealt


def _put(heights: dict[str, float], name: str, height: float) -> None:
    if height == GONE:
        heights.pop(name, None)
    else:
        heights[name] = height
