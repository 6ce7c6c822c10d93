"""Reads the sections of scoring.yaml about a process's surroundings, and what the environment says instead."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from online_models.errors import ConfigError
from streams.sections import (
    KafkaSettings,
    LearningSettings,
    RedisSettings,
    Section,
    Topics,
    WorkerSettings,
)
from streams.yaml_lines import Document

PREFIX = "STREAMSCORE_"
SECTIONS: dict[str, type[Section]] = {
    "kafka": KafkaSettings,
    "redis": RedisSettings,
    "topics": Topics,
    "learning": LearningSettings,
    "worker": WorkerSettings,
}
_FROM_ENVIRONMENT_ONLY = {
    ("kafka", "sasl_username"),
    ("kafka", "sasl_password"),
    ("redis", "username"),
    ("redis", "password"),
    ("worker", "http_tokens"),
}
# As YAML 1.1 had it, where nothing else can be meant.
_SWITCHES = {"yes": True, "on": True, "no": False, "off": False}
# What Kubernetes puts into each container for a service named `streamscore…`.
_SERVICE_LINK = re.compile(r"(.+_)?(SERVICE_HOST|SERVICE_PORT(_.+)?|PORT_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)")
_SERVICE_URL = re.compile(r"(tcp|udp|sctp)://")
# Read elsewhere: signs models that only pickle can carry; the tests' own switches.
_OTHER_VARIABLES = {"MODEL_KEY", "REQUIRE_KAFKA", "CONFIG", "DELIVERY", "FAILPOINT"}


def read_sections(
    document: Document, environment: Mapping[str, str]
) -> tuple[dict[str, Section | None], list[ConfigError]]:
    """Return the sections by name, None for those that are wrong, and every error found."""
    errors: list[ConfigError] = []
    found = {name: _section(document, environment, name, kind, errors) for name, kind in SECTIONS.items()}
    known = {f"{section.upper()}_{key.upper()}" for section, kind in SECTIONS.items() for key in kind.__struct_fields__}
    errors += [
        ConfigError((), f"The environment variable {variable} is not known; is it misspelt?")
        for variable, value in environment.items()
        if variable.startswith(PREFIX)
        and variable[len(PREFIX) :] not in known | _OTHER_VARIABLES
        and not _is_service_link(variable[len(PREFIX) :], value)
    ]
    return found, errors


def _is_service_link(name: str, value: str) -> bool:
    """Tell a variable of Kubernetes from a misspelt one of ours; `…_PORT` could be either, but for its value."""
    if _SERVICE_LINK.fullmatch(name):
        return True
    return f"_{name}".endswith("_PORT") and _SERVICE_URL.match(value) is not None


def _section(
    document: Document, environment: Mapping[str, str], name: str, kind: type[Section], errors: list[ConfigError]
) -> Section | None:
    declared = document.value.get(name) or {}
    if not isinstance(declared, dict):
        errors.append(ConfigError((name,), "Expected a mapping"))
        return None
    values: dict[str, Any] = dict(declared)
    errors += [
        ConfigError((name, key), f"Set {PREFIX}{name.upper()}_{key.upper()} instead; secrets stay out of files")
        for key in declared
        if (name, key) in _FROM_ENVIRONMENT_ONLY
    ]
    for key, text in _overrides(environment, name, kind):
        given = values.get(key)  # a topic is named by it, and keeps what else is declared of it
        values[key] = {**given, "name": text} if kind is Topics and isinstance(given, dict) else text
    if kind is Topics:
        values = {key: _whole_topic(value, key) for key, value in values.items()}
    fields = msgspec.structs.fields(kind)
    for key in {field.name for field in fields if field.type is bool} & set(values):
        values[key] = _SWITCHES.get(str(values[key]).lower(), values[key])
    texts = {field.name for field in fields if field.type is str}
    for key in texts & set(values):
        if isinstance(values[key], int | float):  # `5` where `5s` was meant: let the duration's own error say so
            values[key] = str(values[key])
    try:
        return msgspec.convert(values, kind, strict=False)
    except msgspec.ValidationError as error:
        errors.append(_from_msgspec(name, error))
        return None


def _overrides(environment: Mapping[str, str], name: str, kind: type[Section]) -> Iterator[tuple[str, str]]:
    for key in kind.__struct_fields__:
        variable = f"{name.upper()}_{key.upper()}"
        value = environment.get(PREFIX + variable)
        if value is not None and not _is_service_link(variable, value):
            yield key, value


def _whole_topic(value: object, key: str) -> object:
    """Let `events: clicks` stand for `events: {name: clicks}`, and what is missing be this topic's default."""
    if isinstance(value, str):
        value = {"name": value}
    default = getattr(Topics(), key, None)
    if isinstance(value, dict) and default is not None:
        return {"name": default.name, "partitions": default.partitions, **value}
    return value


def _from_msgspec(section: str, error: msgspec.ValidationError) -> ConfigError:
    """Turn msgspec's ``… - at `$.a[0].b` `` into a path."""
    message, _, place = str(error).partition(" - at `$")
    path = [int(part) if part.isdigit() else part for part in re.findall(r"[^.\[\]`]+", place)]
    unknown = re.search(r"unknown field `([^`]+)`", message)
    if unknown:
        return ConfigError((section, *path, unknown[1]), "Unknown key")
    key = re.match(r"(\w+): ", message)
    return ConfigError((section, *path, *([key[1]] if key and not path else [])), message.strip(" `"))
