"""Results built once and kept in a bounded cache."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

# Per feature. Names are up to 300 bytes; a site with more values than this builds some again.
MAX_NAMES = 32_768
# For keys that strangers write, such as urls and user agents: up to 2 kB each.
MAX_LONG = 4_096


class Memo(dict[Any, Any]):
    """Result by argument, made on first use. Full, it starts over: results follow from arguments alone."""

    def __init__(self, make: Callable[[Any], Any], limit: int) -> None:
        super().__init__()
        self._make = make
        self._limit = limit

    def __missing__(self, argument: Any) -> Any:
        if len(self) >= self._limit:
            self.clear()
        result = self[argument] = self._make(argument)
        return result
