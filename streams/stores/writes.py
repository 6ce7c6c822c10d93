"""Names of writes, by which a writer recognizes that a write whose answer was lost has been done."""

from __future__ import annotations

import itertools
import uuid


class WriteNames:
    """Gives every write a name of its own, and a repeated one the name that it had.

    A write counts as repeated only while its answer is outstanding: the same writer comes with the
    same content again. Another session of this process that stands at the same place with other
    content gets another name, and is refused like any other writer.
    """

    def __init__(self) -> None:
        self._writer = uuid.uuid4().hex[:12]
        self._numbers = itertools.count(1)
        self._outstanding: dict[str, tuple[object, str]] = {}

    def name(self, place: str, content: object) -> str:
        """Return the name of a write to `place` that is about to be sent."""
        content_then, name = self._outstanding.get(place, (None, ""))
        if not name or content_then != content:
            name = f"{self._writer}-{next(self._numbers)}"
            self._outstanding[place] = (content, name)
        return name

    def answered(self, place: str) -> None:
        """Note that the outcome of the last write to `place` is known."""
        self._outstanding.pop(place, None)
