"""One value of an event, as a mapping file declares it, compiled to a function of the row.

A declaration is a column's name, a template (text with ``{column}`` in it), or a mapping with one of
``column``, ``template`` or ``const`` and, by choice, ``cast``, ``scale``, ``map`` and ``default``.
"""

from __future__ import annotations

import fnmatch
import math
import re
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any

import msgspec
from msgspec import inspect

from online_models.errors import ConfigError

Path = tuple[str | int, ...]
Access = Callable[[Any], Any]  # row -> value, None for a null
Get = Callable[[Any, int, int], Any]  # (row, line, ts) -> value, None for a null

BUILT_IN = ("line", "ts", "type")
_PLACE = re.compile(r"\{([^{}]+)\}")
_KEYS = {"column", "template", "const", "cast", "scale", "map", "default", "separator"}


class Columns:
    """The columns of one input: how to reach them, and which of them the mapping speaks of.

    Parameters
    ----------
    header
        Names of the columns; None for JSON lines, where each row is a dict and ``a.b`` reaches into
        nested objects.
    nulls
        Texts that mean "no value".
    """

    def __init__(self, header: Sequence[str] | None, nulls: Collection[str]) -> None:
        self.header = header
        self.nulls = frozenset(nulls)
        self.used: set[str] = set()

    def access(self, name: str, path: Path) -> Access:
        """Return a function that takes the value of column `name` from a row; raises ConfigError."""
        self.used.add(name)
        nulls = self.nulls
        if self.header is None:
            return _json_access(name, nulls)
        if name not in self.header:
            raise ConfigError(path, f"The input has no column `{name}`; it has {', '.join(self.header)}")
        index = list(self.header).index(name)

        def access(row: list[str]) -> str | None:
            value = row[index]
            return None if value in nulls else value

        return access

    def unknown(self, names: Collection[str], ignored: Sequence[str]) -> list[str]:
        """Return those of `names` that are neither used nor ignored."""
        roots = {name.partition(".")[0] for name in self.used} | self.used
        return [n for n in names if n not in roots and not any(fnmatch.fnmatchcase(n, p) for p in ignored)]


def _json_access(name: str, nulls: frozenset[str]) -> Access:
    parts = name.split(".")

    def access(row: dict[str, Any]) -> Any:
        value = row.get(name)
        if value is None and len(parts) > 1:
            value = _reach(row, parts)
        return None if value.__class__ is str and value in nulls else value

    return access


def _reach(row: Any, parts: list[str]) -> Any:
    for part in parts:
        if not isinstance(row, dict):
            return None
        row = row.get(part)
    return row


def compile_field(spec: Any, columns: Columns, path: Path, *, kind: str | None, event_type: str) -> Get:
    """Compile one declared value.

    Parameters
    ----------
    kind
        What the event's field holds (``str``, ``int``, ``float``, ``bool``, ``list``); None for a
        property, which is kept as it comes unless ``cast`` says otherwise.

    Raises
    ------
    ConfigError
        With the path of the wrong part.
    """
    spec = _normal(spec, path)
    unknown = [key for key in spec if key not in _KEYS]
    if unknown:
        raise ConfigError((*path, unknown[0]), f"Expected one of {', '.join(sorted(_KEYS))}")
    sources = [key for key in ("column", "template", "const") if key in spec]
    if len(sources) != 1:
        raise ConfigError(path, "Expected one of `column`, `template` or `const`")
    get = _source(sources[0], spec, columns, path, event_type)
    for step in _steps(spec, path, kind):
        get = _then(get, step)
    if "default" in spec:
        get = _or_default(get, _steps_of_constant(spec["default"], path, kind))
    return get


def compile_template(text: str, columns: Columns, path: Path, *, event_type: str, strict_nulls: bool = True) -> Get:
    """Compile ``"{user_id}-{line}"``; a null makes the whole value null, or empty text in its place.

    ``{line}``, ``{ts}`` and ``{type}`` stand for the line's number, the event's time in ms and its
    type, unless a column has that name.
    """
    getters: list[Get] = []
    for name in _PLACE.findall(text):
        in_row = name in (columns.header or ())
        getters.append(_built_in(name, event_type) if name in BUILT_IN and not in_row else _column(name, columns, path))
    pattern = _PLACE.sub("%s", text.replace("%", "%%"))
    if "{" in pattern or "}" in pattern:
        raise ConfigError(path, f"Expected column names in {{}}, got `{text}`")

    def get(row: Any, line: int, ts: int) -> str | None:
        values = [getter(row, line, ts) for getter in getters]
        if None in values:
            if strict_nulls:
                return None
            values = ["" if value is None else value for value in values]
        return pattern % tuple(values)

    return get


def kinds_of(event_class: type[msgspec.Struct]) -> dict[str, str]:
    """Return what each field of an event class holds, read from its annotations."""
    found = inspect.type_info(event_class)
    assert isinstance(found, inspect.StructType)
    return {field.name: _kind(field.type) for field in found.fields}


def required_of(event_class: type[msgspec.Struct]) -> list[str]:
    """Return the fields without which an event class cannot be built."""
    found = inspect.type_info(event_class)
    assert isinstance(found, inspect.StructType)
    return [field.name for field in found.fields if field.required]


def text_of(value: Any) -> str | None:
    """Return a value as the text it has in a CSV file, so that 1, 1.0 and "1" are one."""
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    if isinstance(value, int | float):
        return str(value)
    raise ValueError("Expected text or a number, got an array or object")


def texts_of(values: Iterable[Any], path: Path) -> set[str | None]:
    """Return declared values as `text_of` has them; raises ConfigError."""
    try:
        return {text_of(value) for value in values}
    except ValueError:
        raise ConfigError(path, "Expected texts or numbers; put a date in quotes") from None


def _normal(spec: Any, path: Path) -> dict[str, Any]:
    if isinstance(spec, str):
        return {"template": spec} if "{" in spec else {"column": spec}
    if isinstance(spec, dict):
        return spec
    raise ConfigError(path, "Expected a column's name, a template or `{const: …}`")


def _source(key: str, spec: dict[str, Any], columns: Columns, path: Path, event_type: str) -> Get:
    value = spec[key]
    if key == "const":
        return lambda row, line, ts: value
    if not isinstance(value, str):
        raise ConfigError((*path, key), "Expected text")
    if key == "template":
        return compile_template(value, columns, path, event_type=event_type)
    return _column(value, columns, path)


def _column(name: str, columns: Columns, path: Path) -> Get:
    access = columns.access(name, path)
    return lambda row, line, ts: access(row)


def _built_in(name: str, event_type: str) -> Get:
    return {
        "line": lambda row, line, ts: line,
        "ts": lambda row, line, ts: ts,
        "type": lambda row, line, ts: event_type,
    }[name]


def _steps(spec: dict[str, Any], path: Path, kind: str | None) -> list[Callable[[Any], Any]]:
    steps: list[Callable[[Any], Any]] = []
    if "map" in spec:
        renamed = spec["map"]
        if not isinstance(renamed, dict):
            raise ConfigError((*path, "map"), "Expected a mapping such as `{1: mobile, 2: desktop}`")
        texts_of(renamed, (*path, "map"))
        table = {text_of(old): new for old, new in renamed.items()}
        steps.append(lambda value: table.get(text_of(value), value))
    cast = spec.get("cast", "float" if "scale" in spec and kind is None else kind)
    if kind is not None and "cast" in spec and cast != kind:
        raise ConfigError((*path, "cast"), f"This field holds {kind}; remove the cast")
    if "scale" in spec:
        scale = spec["scale"]
        if isinstance(scale, bool) or not isinstance(scale, int | float) or not _finite(scale):
            raise ConfigError((*path, "scale"), "Expected a number to multiply by")
        steps.append(lambda value: to_float(value) * scale)
    if cast is not None:
        if not isinstance(cast, str) or cast not in _CASTS:
            raise ConfigError((*path, "cast"), f"Expected one of {', '.join(_CASTS)}")
        separator = spec.get("separator", ",")
        if not isinstance(separator, str) or not separator:
            raise ConfigError((*path, "separator"), "Expected the text between two parts, such as ';'")
        steps.append(lambda value: _split(value, separator)) if cast == "list" else steps.append(_CASTS[cast])
    return steps


def _steps_of_constant(value: Any, path: Path, kind: str | None) -> Any:
    try:
        return _CASTS[kind](value) if kind in _CASTS and kind != "list" else value
    except ValueError as error:
        raise ConfigError((*path, "default"), str(error)) from None


def _then(get: Get, step: Callable[[Any], Any]) -> Get:
    if step is text_of:  # nearly every value of a CSV file is text already

        def text(row: Any, line: int, ts: int) -> Any:
            value = get(row, line, ts)
            return value if value.__class__ is str else text_of(value)

        return text

    def stepped(row: Any, line: int, ts: int) -> Any:
        value = get(row, line, ts)
        return None if value is None else step(value)

    return stepped


def _or_default(get: Get, default: Any) -> Get:
    def with_default(row: Any, line: int, ts: int) -> Any:
        value = get(row, line, ts)
        return default if value is None else value

    return with_default


def _finite(number: float) -> bool:
    try:
        return math.isfinite(number)
    except OverflowError:  # an int that no float holds
        return False


def to_float(value: Any) -> float:
    """Return a finite float; raises ValueError."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        raise ValueError("Expected a number") from None
    except OverflowError:
        raise ValueError("Expected a finite number") from None
    if not math.isfinite(number):
        raise ValueError("Expected a finite number")
    return number


def to_int(value: Any) -> int:
    """Return a whole number, also from "3.0"; raises ValueError."""
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    try:
        return int(value) if isinstance(value, str) else _whole(value)
    except ValueError:
        return _whole(value)


def _whole(value: Any) -> int:
    number = to_float(value)
    if not number.is_integer():
        raise ValueError("Expected a whole number")
    return int(number)


_TRUE, _FALSE = ("true", "1", "yes", "t", "y"), ("false", "0", "no", "f", "n")


def to_bool(value: Any) -> bool:
    """Return True for true, 1, yes; False for false, 0, no; raises ValueError for anything else."""
    text = (text_of(value) or "").lower()
    if text in _TRUE:
        return True
    if text in _FALSE:
        return False
    raise ValueError("Expected true or false, 1 or 0, yes or no")


def _split(value: Any, separator: str) -> list[str]:
    parts = value if isinstance(value, list) else str(value).split(separator)
    return [text for part in parts if (text := text_of(part))]


_CASTS: dict[str, Callable[[Any], Any]] = {
    "str": text_of,
    "int": to_int,
    "float": to_float,
    "bool": to_bool,
    "list": lambda value: _split(value, ","),
}


def _kind(annotation: inspect.Type) -> str:
    if isinstance(annotation, inspect.Metadata):
        return _kind(annotation.type)
    if isinstance(annotation, inspect.UnionType):
        return next(kind for kind in map(_kind, annotation.types) if kind != "none")
    return {
        inspect.StrType: "str",
        inspect.IntType: "int",
        inspect.FloatType: "float",
        inspect.BoolType: "bool",
        inspect.ListType: "list",
        inspect.NoneType: "none",
    }.get(type(annotation), "other")
