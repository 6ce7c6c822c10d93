"""The families of features. A family is one file; this list makes it known.

A family file has ``FAMILIES``: the key that names the family in a declaration -> the function that reads the rest of
the declaration from `Options` and returns a `Reading`.
"""

from __future__ import annotations

from collections import ChainMap

from online_models.features import (
    affinity,
    basket,
    context,
    counts,
    crowd,
    dwell,
    history,
    rates,
    recency,
    referrer,
    scroll,
    segments,
    sessions,
    sums,
    useragent,
)
from online_models.features.plan import FamilyBuilder

FAMILIES: ChainMap[str, FamilyBuilder] = ChainMap(
    counts.FAMILIES,
    recency.FAMILIES,
    sessions.FAMILIES,
    dwell.FAMILIES,
    scroll.FAMILIES,
    basket.FAMILIES,
    affinity.FAMILIES,
    rates.FAMILIES,
    sums.FAMILIES,
    history.FAMILIES,
    crowd.FAMILIES,
    segments.FAMILIES,
    context.FAMILIES,
    referrer.FAMILIES,
    useragent.FAMILIES,
)
