"""How crowd counts travel: as weights do, but counters may vanish.

A counter that was forgotten is sent once more, with the height `GONE`, and from then on its block comes without it. A
scorer that has met every delta drops it then; one that has not needs blocks, and takes a block for all there was in it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

from online_models.crowd import GONE, NAME
from online_models.distribution import MAX_WEIGHTS_BYTES, WeightDistributor
from online_models.features.leaders import Leaders
from online_models.features.plan import CrowdTable
from online_models.replica import Gathered, LinearReplica, Values
from schemas.models import BLOCKS, ModelBlock, ModelDelta, block_of


class Counters(Protocol):
    """Numbers by name, some of which may be forgotten: crowd counts, or the market."""

    @property
    def weights(self) -> Mapping[str, float]: ...
    def take_changed(self) -> list[str]: ...
    def weights_of(self, names: Iterable[str]) -> dict[str, float]: ...


class CrowdDistributor(WeightDistributor):
    """Sends changed counters, and the blocks in turn; see `WeightDistributor`."""

    def __init__(
        self,
        objective: str,
        *,
        lineage: str,
        counts: Counters,
        blocks: int = BLOCKS,
        max_bytes: int = MAX_WEIGHTS_BYTES,
    ) -> None:
        self._counts = counts
        model: Any = counts  # in the place of one; what it cannot tell, its names in order, the methods below do
        super().__init__(objective, lineage=lineage, model=model, blocks=blocks, max_bytes=max_bytes)

    def _start(self, *, origin: int) -> None:
        super()._start(origin=origin)
        self._counts.take_changed()
        self._dealt = _dealt(self._counts.weights, self._blocks)

    def _take_changed(self) -> Sequence[str]:
        changed, weights = self._counts.take_changed(), self._counts.weights
        for name in changed:
            dealt = self._dealt[block_of(name, self._blocks)]
            if name in weights:
                dealt[name] = weights[name]
            else:
                dealt.pop(name, None)
        return changed

    def _names_of(self, block: int) -> Sequence[str]:
        return list(self._dealt[block])


class CrowdReplica(LinearReplica):
    """Crowd counts of the version at hand, as its `weights`; the next version may come in another dict.

    Attributes
    ----------
    leaders
        The leaders of the same version.
    """

    def __init__(
        self, tables: Mapping[str, CrowdTable], *, lineage: str, name: str = NAME, blocks: int = BLOCKS
    ) -> None:
        self.leaders = Leaders(tables)
        super().__init__(lineage=lineage, name=name, prior=0.0, blocks=blocks)

    def _nothing(self, origin: int) -> Gathered:
        return Gathered(origin, _Counters(self._blocks, self.leaders), None)


class _Counters(Values):
    """Keeps what came one by one: a counter may be there in one record and gone in the next."""

    def __init__(self, blocks: int, leaders: Leaders) -> None:
        super().__init__(blocks)
        self._leaders = leaders
        self._taken: list[tuple[int | None, dict[str, float]]] = []

    def _take(self, record: ModelDelta | ModelBlock, parts: Iterable[dict[str, float]]) -> None:
        block = None if isinstance(record, ModelDelta) else record.block
        self._taken.append((block, {name: height for part in parts for name, height in part.items()}))

    def on_top_of(self, own: dict[str, float] | None, own_version: int) -> dict[str, float]:
        if own is not None and self.led_to(own_version) == self.reach(own_version):
            for block, heights in self._taken:
                if block is None:
                    self._move(own, heights)
            return own
        dealt = _dealt(own or {}, len(self._blocks))
        for block, heights in self._taken:
            if block is not None:
                dealt[block] = heights
                continue
            for name, height in heights.items():
                _put(dealt[block_of(name, len(dealt))], name, height)
        found = {name: height for some in dealt for name, height in some.items()}
        self._leaders.look_through(found)
        return found

    def _move(self, own: dict[str, float], heights: Mapping[str, float]) -> None:
        for name, height in heights.items():
            before = own.get(name)
            _put(own, name, height)
            self._leaders.moved(name, before, own.get(name), own)


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
