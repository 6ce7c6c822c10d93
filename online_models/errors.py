"""The error that a wrong declaration raises, with the place where it is wrong."""

from __future__ import annotations

from collections.abc import Iterable


class ConfigError(ValueError):
    """A declaration in the configuration is wrong.

    Attributes
    ----------
    path
        Keys and indices from the root of the configuration to the wrong value; used to find its line.
    message
        What was expected, what came, and what to do.
    """

    def __init__(self, path: Iterable[str | int], message: str) -> None:
        self.path: tuple[str | int, ...] = tuple(path)
        self.message = message
        place = ".".join(str(part) for part in self.path)
        super().__init__(f"{place}: {message}" if place else message)

    def under(self, *prefix: str | int) -> ConfigError:
        """Return the same error with `prefix` put before its path."""
        return ConfigError((*prefix, *self.path), self.message)
