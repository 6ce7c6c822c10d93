"""The rules of a mapping file: which event a row becomes, checked and compiled."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from online_models.errors import ConfigError
from schemas.codec import MAX_TS_MS
from schemas.events import EventBase
from streams.mapping_fields import (
    Columns,
    Get,
    Path,
    compile_field,
    compile_template,
    kinds_of,
    required_of,
    text_of,
    texts_of,
)
from streams.mapping_times import FORMATS, compile_clock, compile_time

_CLASSES: dict[str, type[EventBase]] = {cls.type: cls for cls in EventBase.__subclasses__()}
_RULE_KEYS = {"type", "when", "after_ms", "event_id", "fields", "properties"}
_TOP_KEYS = {"about", "strict", "nulls", "columns", "ignore", "identity", "events"}


class RowError(ValueError):
    """A row does not give a valid event; the message names the field, never the value."""


def check_top(declared: dict[str, Any]) -> None:
    identity = declared.get("identity", False)
    if not isinstance(identity, bool):
        raise ConfigError(("identity",), "Expected true or false")
    known = _TOP_KEYS if not identity else {"about", "identity"}
    known = known if identity else known | _RULE_KEYS
    for key in declared:
        if key not in known:
            raise ConfigError((key,), f"Unknown key; expected one of {', '.join(sorted(known))}")
    for key in ("columns", "ignore", "nulls"):
        if key in declared and not isinstance(declared[key], list):
            raise ConfigError((key,), "Expected a list")
    for index, null in enumerate(declared.get("nulls", ())):
        texts_of([null], ("nulls", index))
    _check_columns(declared.get("columns"))
    if not isinstance(declared.get("strict", False), bool):
        raise ConfigError(("strict",), "Expected true or false")


def _check_columns(columns: list[Any] | None) -> None:
    if columns is None:
        return
    for index, name in enumerate(columns):
        if not isinstance(name, str):
            raise ConfigError(("columns", index), "Expected a column's name; put a number in quotes")
        if name in columns[:index]:
            raise ConfigError(("columns", index), f"`{name}` stands here twice; rename one")


def collect_rules(declared: dict[str, Any]) -> list[tuple[Path, dict[str, Any]]]:
    """Return each rule with its path; what stands at the top holds for all of them."""
    shared = {key: declared[key] for key in _RULE_KEYS if key in declared}
    rules = declared.get("events")
    if rules is None:
        found: list[tuple[Path, dict[str, Any]]] = [((), shared)]
    elif isinstance(rules, list) and rules and all(isinstance(rule, dict) for rule in rules):
        found = [(("events", index), _merged(shared, rule)) for index, rule in enumerate(rules)]
    else:
        raise ConfigError(("events",), "Expected a list of rules, such as `- type: page_view`")
    for path, rule in found:
        _check_rule(rule, path, alone=len(found) == 1)
    return found


def _merged(shared: dict[str, Any], rule: dict[str, Any]) -> dict[str, Any]:
    merged = {**shared, **rule}
    for key in ("fields", "properties"):
        own, common = rule.get(key, {}), shared.get(key, {})
        if isinstance(own, dict) and isinstance(common, dict):
            merged[key] = {**common, **own}
    return merged


def _check_rule(rule: dict[str, Any], path: Path, *, alone: bool) -> None:
    for key in rule:
        if key not in _RULE_KEYS:
            raise ConfigError((*path, key), f"Unknown key; expected one of {', '.join(sorted(_RULE_KEYS))}")
    if not isinstance(rule.get("type"), str) or rule["type"] not in _CLASSES:
        raise ConfigError((*path, "type"), f"Expected an event type, one of {', '.join(sorted(_CLASSES))}")
    for key in ("fields", "properties", "when"):
        if not isinstance(rule.get(key, {}), dict):
            raise ConfigError((*path, key), "Expected a mapping such as `name: column`")
    for name in rule.get("properties", {}):
        if not isinstance(name, str):
            raise ConfigError((*path, "properties", name), "Expected a name; put a number in quotes")
    fields = rule.get("fields", {})
    cls = _CLASSES[rule["type"]]
    known = set(kinds_of(cls)) - {"event_id", "properties", "schema_version"}
    for name in fields:
        if name not in known:
            hint = "; use `properties` for what is your own" if name not in ("event_id", "properties") else ""
            raise ConfigError((*path, "fields", name), f"`{rule['type']}` has no such field{hint}")
    missing = [n for n in required_of(cls) if n != "event_id" and fields.get(n) is None]
    if missing:
        raise ConfigError((*path, "fields"), f"`{rule['type']}` needs {', '.join(missing)}")
    after_ms = rule.get("after_ms", 0)
    if isinstance(after_ms, bool) or not isinstance(after_ms, int) or not 0 <= after_ms <= MAX_TS_MS:
        raise ConfigError((*path, "after_ms"), "Expected whole milliseconds >= 0")
    event_id = rule.get("event_id")
    if event_id is not None and not (isinstance(event_id, str) and "{" in event_id):
        raise ConfigError((*path, "event_id"), "Expected a template, such as '{user_id}-{ts}-{line}'")
    if event_id is not None and not alone and "{type}" not in event_id:
        raise ConfigError((*path, "event_id"), "Several rules may apply to a row: put {type} into the id")


def compile_rule(
    located: tuple[Path, dict[str, Any]], columns: Columns, name: str, n_rules: int
) -> Callable[[Any, int], EventBase | None]:
    path, rule = located
    event_type: str = rule["type"]
    cls = _CLASSES[event_type]
    kinds = kinds_of(cls)
    applies = [_condition(c, v, columns, (*path, "when", c)) for c, v in rule.get("when", {}).items()]
    read_ts = _time(rule["fields"]["ts"], columns, (*path, "fields", "ts"))
    event_id = rule.get("event_id") or f"{name}-{{line}}" + ("-{type}" if n_rules > 1 else "")
    fields: dict[str, Get] = {
        "event_id": compile_template(event_id, columns, (*path, "event_id"), event_type=event_type, strict_nulls=False)
    }
    for field, spec in rule["fields"].items():
        if field != "ts" and spec is not None:
            fields[field] = compile_field(
                spec, columns, (*path, "fields", field), kind=kinds[field], event_type=event_type
            )
    properties = [
        (key, compile_field(spec, columns, (*path, "properties", key), kind=None, event_type=event_type))
        for key, spec in rule.get("properties", {}).items()
        if spec is not None
    ]
    getters, after_ms = list(fields.items()), rule.get("after_ms", 0)
    required = required_of(cls)

    def make(row: Any, line: int) -> EventBase | None:
        for holds in applies:
            if not holds(row):
                return None
        place = "ts"
        try:
            ts = read_ts(row, line) + after_ms
            values: dict[str, Any] = {"ts": ts}
            for place, get in getters:
                value = get(row, line, ts)
                if value is not None:
                    values[place] = value
            if properties:
                own = {}
                for place, get in properties:
                    value = get(row, line, ts)
                    if value is not None:
                        own[place] = value
                values["properties"] = own
        except ValueError as error:
            raise RowError(f"{place}: {error}") from None
        try:
            return msgspec.convert(values, cls)
        except msgspec.ValidationError as error:
            empty = [field for field in required if field not in values]
            raise RowError(f"{', '.join(empty)}: Expected a value, got none" if empty else str(error)) from None

    return make


def _time(spec: Any, columns: Columns, path: Path) -> Callable[[Any, int], int]:
    """Compile the declaration of ``ts``: a column of epoch ms, or column and format, or a clock."""
    if isinstance(spec, str):
        spec = {"column": spec}
    if isinstance(spec, dict) and set(spec) == {"clock"} and isinstance(spec["clock"], dict):
        clock = spec["clock"]
        if set(clock) != {"start", "step_ms"}:
            raise ConfigError((*path, "clock"), "Expected `start` and `step_ms`")
        try:
            at = compile_clock(clock["start"], clock["step_ms"])
        except ConfigError as error:
            raise error.under(*path, "clock") from None
        return lambda row, line: at(line)
    if not isinstance(spec, dict) or "column" not in spec or set(spec) - {"column", "format", "timezone"}:
        raise ConfigError(path, f"Expected `column` with `format` ({', '.join(FORMATS)} or a pattern), or `clock`")
    if not isinstance(spec["column"], str):
        raise ConfigError((*path, "column"), "Expected a column's name; put a number in quotes")
    access = columns.access(spec["column"], path)
    try:
        read = compile_time(str(spec.get("format", "epoch_ms")), spec.get("timezone"))
    except ConfigError as error:
        raise error.under(*path) from None

    def read_ts(row: Any, line: int) -> int:
        value = access(row)
        if value is None:
            raise ValueError("Expected a time, got none")
        return read(value)

    return read_ts


def _condition(name: str, wanted: Any, columns: Columns, path: Path) -> Callable[[Any], bool]:
    """Compile ``column: value``, ``column: [values]`` or ``column: {not: …}``; null means "no value"."""
    negated = isinstance(wanted, dict)
    if isinstance(wanted, dict):
        if set(wanted) != {"not"}:
            raise ConfigError(path, "Expected a value, a list of values or `{not: …}`")
        wanted = wanted["not"]
    options = wanted if isinstance(wanted, list) else [wanted]
    texts = texts_of(options, path)
    if True in [option is True for option in options]:
        texts |= {"True", "TRUE"}
    if True in [option is False for option in options]:
        texts |= {"False", "FALSE"}
    access = columns.access(str(name), path)
    return lambda row: (text_of(access(row)) in texts) is not negated
