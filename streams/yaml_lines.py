"""YAML with line numbers: an error in a configuration names the line to change."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import yaml

from online_models.errors import ConfigError


class Document:
    """A YAML mapping and where each of its keys stands.

    Raises
    ------
    ConfigError
        The text is no YAML, no mapping at the top, or holds one key twice (YAML would silently keep
        the last).
    """

    def __init__(self, text: str) -> None:
        try:
            node = yaml.compose(text, Loader=yaml.SafeLoader)
            value = yaml.safe_load(text)
        except yaml.MarkedYAMLError as error:
            line = error.problem_mark.line + 1 if error.problem_mark else 1
            raise ConfigError((), f"line {line}: not valid YAML: {error.problem}") from None
        except yaml.YAMLError as error:
            raise ConfigError((), f"not valid YAML: {error}") from None
        if not isinstance(value, dict):
            raise ConfigError((), "Expected a mapping at the top, such as `features: …` and `objectives: …`")
        self.value: dict[str, Any] = value
        self._root = node
        for twice in _repeated_keys(node, ()):
            raise ConfigError(twice, "This key stands here twice; keep one")

    def line(self, path: tuple[str | int, ...]) -> int:
        """Return the 1-based line of the value at `path`, or of the deepest part of it that exists."""
        node, line = self._root, 1
        for part in path:
            found = _child(node, part)
            if found is None:
                break
            line, node = found
        return line


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
