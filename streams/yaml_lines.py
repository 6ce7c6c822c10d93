"""YAML with line numbers: an error in a configuration names the line to change."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from copy import copy
from typing import Any

import yaml

from online_models.errors import ConfigError


class _Loader(yaml.SafeLoader):
    """Reads plain words as YAML 1.2 does: `NO` is Norway, `on` a word, and `+10:00` no number to the base 60."""


_BOOL, _INT, _FLOAT = (f"tag:yaml.org,2002:{kind}" for kind in ("bool", "int", "float"))
_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag not in (_BOOL, _INT, _FLOAT)]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(_BOOL, re.compile(r"(true|True|TRUE|false|False|FALSE)$"), list("tTfF"))
_Loader.add_implicit_resolver(
    _INT, re.compile(r"[-+]?(0b[01_]+|0[0-7_]*|[1-9][0-9_]*|0x[0-9a-fA-F_]+)$"), list("-+0123456789")
)
_Loader.add_implicit_resolver(
    _FLOAT,
    re.compile(
        r"([-+]?([0-9][0-9_]*\.[0-9_]*|\.[0-9][0-9_]*)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN))$"
    ),
    list("-+0123456789."),
)


class Document:
    """A YAML mapping and where each of its keys stands.

    Parameters
    ----------
    such_as
        What a mapping looks like, to tell who has written none.

    Raises
    ------
    ConfigError
        The text is no YAML, no mapping at the top, or holds one key twice (YAML would silently keep
        the last), or something that holds itself.
    """

    def __init__(self, text: str, *, such_as: str = "`features: …` and `objectives: …`") -> None:
        try:
            node = yaml.compose(text, Loader=_Loader)
            value = yaml.load(text, Loader=_Loader)
        except yaml.MarkedYAMLError as error:
            line = error.problem_mark.line + 1 if error.problem_mark else 1
            raise ConfigError((), f"line {line}: not valid YAML: {error.problem}") from None
        except (yaml.YAMLError, ValueError) as error:  # ValueError: a date or number that there is none of
            raise ConfigError((), f"not valid YAML: {error}") from None
        if not isinstance(value, dict):
            raise ConfigError((), f"Expected a mapping at the top, such as {such_as}")
        self.value: dict[str, Any] = value
        self._roots = [node]
        try:
            twice = next(_repeated_keys(node, ()), None)
        except RecursionError:
            raise ConfigError((), "An alias stands for something that holds it, or the nesting has no end") from None
        if twice is not None:
            raise ConfigError(twice, "This key stands here twice; keep one")

    def line(self, path: tuple[str | int, ...]) -> int:
        """Return the 1-based line of the value at `path`, or of the deepest part of it that exists."""
        return max((_deepest(root, path) for root in self._roots), key=lambda found: found[0])[1]

    def overlaid(self, path: tuple[str, ...], *, depths: Mapping[str, int]) -> Document:
        """Return the document as the mapping at `path` changes it.

        Parameters
        ----------
        depths
            By top-level key: how many levels of mappings are merged key by key, 1 if it is not named.
            What lies deeper is replaced; null removes.
        """
        changes: Any = self.value
        node: yaml.Node | None = self._roots[0]
        for part in path:
            changes = changes[part]
            _, node = _child(node, part) or (0, None)
        other = copy(self)
        other.value = dict(self.value)
        for key, change in changes.items():
            _merge(other.value, key, change, depths.get(key, 1))
        other._roots = [*self._roots, node]
        return other


def _merge(into: dict[str, Any], key: str, change: Any, depth: int) -> None:
    if change is None:
        into.pop(key, None)
    elif depth and isinstance(change, dict) and isinstance(into.get(key), dict):
        into[key] = dict(into[key])
        for below, value in change.items():
            _merge(into[key], below, value, depth - 1)
    else:
        into[key] = change


def _deepest(node: yaml.Node | None, path: tuple[str | int, ...]) -> tuple[int, int]:
    """Return how many parts of a path are there, and the line of the last of them."""
    depth, line = 0, 1
    for depth, part in enumerate(path, 1):
        found = _child(node, part)
        if found is None:
            return depth - 1, line
        line, node = found
    return depth, line


def _child(node: yaml.Node | None, part: str | int) -> tuple[int, yaml.Node] | None:
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            if key.value == str(part):
                return key.start_mark.line + 1, value
    if isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
        return node.value[part].start_mark.line + 1, node.value[part]
    return None


def _repeated_keys(node: yaml.Node | None, path: tuple[str | int, ...]) -> Iterator[tuple[str | int, ...]]:
    if isinstance(node, yaml.MappingNode):
        seen: set[str] = set()
        for key, value in node.value:
            here = (*path, key.value)
            if key.value in seen:
                yield here
            seen.add(key.value)
            yield from _repeated_keys(value, here)
    elif isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            yield from _repeated_keys(value, (*path, index))
