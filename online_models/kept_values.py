"""Which feature values of a trigger are kept until its label: those that the objective's models see, and no others.

An objective mostly sees half of the features or fewer, and what waits is the larger part of the state of a visitor who
is there. A mask beside the values says which they are, so that triggers outlive a change of `features:` or
`challengers:` under an objective; states of before, which hold all values without a mask, are read as well.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from operator import itemgetter
from typing import Any

from msgspec import Raw

from schemas.codec import pack_values, unpack_values

NOTHING: frozenset[int] = frozenset()


class KeptValues:
    """Packs and unpacks the feature values of an objective's open triggers.

    Parameters
    ----------
    positions
        Of the values that the objective needs when a trigger gets its label.
    count
        How many base features there are.

    Attributes
    ----------
    pack
        ``pack(values)`` packs what is needed of compact feature values, see `FeatureSet.extract`.
    """

    def __init__(self, positions: Iterable[int], count: int) -> None:
        wanted = sorted(set(positions))
        self._count = count
        self._mask = _mask_of(wanted)
        self._take = _picker(wanted)
        self._spread = _spreader(wanted, count)
        # As it is looked up for each trigger: without a detour where all is kept.
        self.pack: Callable[[Sequence[Any]], Raw] = pack_values if len(wanted) == count else self._pack_some

    def _pack_some(self, values: Sequence[Any]) -> Raw:
        return pack_values((self._mask, *self._take(values)))

    def unpack(self, packed: Raw) -> tuple[Sequence[Any], frozenset[int]]:
        """Return the values, None where they were not kept.

        Returns
        -------
        sequence, frozenset of int
            The values, and the positions of those that another configuration has not kept, although this one needs
            them; it is empty unless the configuration has changed while the trigger waited.
        """
        found = unpack_values(packed)
        mask = found[0] if found else None
        if not isinstance(mask, bytes):
            return found, NOTHING
        found.append(None)
        if mask == self._mask:
            return self._spread(found), NOTHING
        there = _positions_of(mask)
        return _spreader(there, self._count)(found), frozenset(_positions_of(self._mask)).difference(there)


def _picker(positions: Sequence[int]) -> Callable[[Sequence[Any]], tuple[Any, ...]]:
    """Return what takes the values at some positions.

    >>> _picker([2, 0])("abc"), _picker([1])("abc"), _picker([])("abc")
    (('c', 'a'), ('b',), ())
    """
    if len(positions) > 1:  # of one alone itemgetter returns the value, not a tuple of it
        return itemgetter(*positions)
    return lambda values: tuple(values[position] for position in positions)


def _spreader(positions: Sequence[int], count: int) -> Callable[[Sequence[Any]], tuple[Any, ...]]:
    """Return what puts [mask, the values of these positions …, None] into their places.

    >>> _spreader([0, 2], 3)([b"", "a", "c", None])
    ('a', None, 'c')
    """
    place_of = {position: place for place, position in enumerate(positions, 1)}
    return _picker([place_of.get(position, -1) for position in range(count)])


def _mask_of(positions: Iterable[int]) -> bytes:
    """Return a bit for each position, the lowest first.

    >>> _mask_of([0, 2, 9]).hex()
    '0502'
    """
    bits = sum(1 << position for position in positions)
    return bits.to_bytes((bits.bit_length() + 7) // 8, "little")


@lru_cache(maxsize=1024)
def _positions_of(mask: bytes) -> tuple[int, ...]:
    bits = int.from_bytes(mask, "little")
    return tuple(position for position in range(bits.bit_length()) if bits >> position & 1)
