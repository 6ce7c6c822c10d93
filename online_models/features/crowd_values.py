"""Crowd values: what the features that need the crowd said of an event, as messages carry it.

They come back in published scores and bids, and in requests that were answered over HTTP. By then the configuration may
be another one, and a value of another feature would end the core, or teach it wrong things; so they go with a hash
of what they mean.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from hashlib import blake2b
from typing import Any

from online_models.features.options import Options
from online_models.features.plan import Feature, Value

_Fits = Callable[[Value], bool]

# Not in the values: it is applied on the way to the model.
_NOT_IN_VALUES = frozenset({"transform"})


def meaning_of(family: str, options: Options) -> list[Any]:
    """Return what decides what the values of a compiled feature mean; its name does not."""
    declared = {key: value for key, value in options.canonical.items() if key not in _NOT_IN_VALUES}
    return [family, declared, options.rests_on]


def hash_of(meanings: Sequence[list[Any]], version: int) -> str:
    """Return 8 hex digits that tell apart what crowd values mean; empty if there are none."""
    if not meanings:
        return ""
    return blake2b(json.dumps([version, *meanings], sort_keys=True).encode(), digest_size=4).hexdigest()


class CrowdValues:
    """Which of a set's values need the crowd, and whether those of a message may stand for them.

    Parameters
    ----------
    features
        All base features, in order.
    hash_
        As of `hash_of`.
    segments
        How many segments there are; 0: none.

    Attributes
    ----------
    positions
        Where the values stand in what extract returns.
    """

    def __init__(self, features: Sequence[Feature], hash_: str, segments: int) -> None:
        self.hash = hash_
        self.positions = [index for index, one in enumerate(features) if one.reading.read_crowd]
        self._fits = [_fits(features[index], segments) for index in self.positions]

    def may_stand(self, crowd_values: Sequence[Value], crowd_hash: str) -> bool:
        """Tell whether values of a message mean what they would mean here; of none there is nothing to tell.

        Versions before told no hash: theirs are taken if they could be values of these features.
        """
        if crowd_hash and crowd_hash != self.hash:
            return False
        if len(crowd_values) != len(self.positions):
            return False
        return all(fits(value) for fits, value in zip(self._fits, crowd_values, strict=True))


def _fits(feature: Feature, segments: int) -> _Fits:
    fits = _category_fits(feature, segments) if feature.kind == "category" else _number_fits(feature)
    return lambda value: not feature.always if value is None else fits(value)


def _category_fits(feature: Feature, segments: int) -> _Fits:
    if feature.labels is None:
        numbers = frozenset(str(number) for number in range(1, segments + 1))
        return lambda value: value in numbers
    count = len(feature.labels)
    return lambda value: type(value) is int and 0 <= value < count


def _number_fits(feature: Feature) -> _Fits:
    low, high = feature.clip or (None if feature.reading.signed else 0.0, None)

    def fits(value: Any) -> bool:
        if type(value) is not float and type(value) is not int:
            return False
        within = (low is None or value >= low) and (high is None or value <= high)
        return within or value == feature.default

    return fits
