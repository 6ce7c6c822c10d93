"""Crosses: what two or three features say together.

Categories cross by value (``a=x*b=y`` -> 1), numbers multiply (``price*b=y`` -> the price as the model sees
it). Nothing of a cross is stored: it follows from its members. It is missing where one of them is.
"""

from __future__ import annotations

from collections.abc import Collection

from online_models.features.options import Options
from online_models.features.plan import Cross

MAX_MEMBERS = 3


def cross(options: Options, features: Collection[str], crosses: Collection[str]) -> Cross:
    """``{cross: [A, B]}`` or three.

    Parameters
    ----------
    features, crosses
        Names of the declared base features and of the crosses.
    """
    declared = options.raw("cross")
    if not isinstance(declared, list) or not 2 <= len(declared) <= MAX_MEMBERS:
        raise options.error(f"Expected a list of 2 to {MAX_MEMBERS} features, got {declared!r}", "cross")
    for index, one in enumerate(declared):
        if one in crosses:
            raise options.error(f"{one!r} is a cross itself; name its members instead", "cross", index)
        if one not in features:
            raise options.error(f"No feature is called {one!r}; expected: {', '.join(features)}", "cross", index)
        if one in declared[:index]:
            raise options.error(f"{one!r} stands here twice", "cross", index)
    options.canonical["cross"] = declared
    options.refuse_unknown()
    return Cross(options.name, tuple(declared))
